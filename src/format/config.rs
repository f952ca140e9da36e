//! `config.0` to `config.2`: what a repository is. Three equal copies; any one is enough.

use serde::{Deserialize, Serialize};

use crate::base::clock::UtcTime;
use crate::base::id::RepoId;
use crate::base::limits::{CHUNK_BYTES, SLICE_BYTES};
use crate::format::codec::{DecodeError, excerpt};
use crate::format::envelope::{SmallObject, open, seal};

/// Number of copies of the configuration.
pub const CONFIG_COPIES: u8 = 3;

/// What a repository is, fixed when it is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// The name of this repository among all.
    pub repo: RepoId,
    /// When it was made.
    pub created: UtcTime,
    /// Release that made it.
    pub created_by: String,
    /// Length of a chunk in bytes; the same in every repository, written for readers to come.
    pub chunk_bytes: usize,
    /// Length of a slice, in bytes.
    pub slice_bytes: usize,
    /// Names of features that a reader must know to read anything at all.
    pub required_features: Vec<String>,
}

/// Packs have parity: whoever writes one writes that, too, and whoever deletes one deletes it.
const PARITY: &str = "parity";
/// Everything but the configuration, the key slots and parity is sealed with keys.
const ENCRYPTION: &str = "encryption";
/// Features that this release knows.
const FEATURES_KNOWN: &[&str] = &[PARITY, ENCRYPTION];

impl Config {
    /// The configuration of a new repository.
    #[must_use]
    pub fn new(repo: RepoId, created: UtcTime, created_by: &str) -> Self {
        Self {
            repo,
            created,
            created_by: created_by.to_owned(),
            chunk_bytes: CHUNK_BYTES,
            slice_bytes: SLICE_BYTES,
            required_features: Vec::new(),
        }
    }

    /// The same for a repository whose packs have parity.
    #[must_use]
    pub fn with_parity(mut self) -> Self {
        self.required_features.push(PARITY.to_owned());
        self
    }

    /// Whether packs have parity.
    #[must_use]
    pub fn has_parity(&self) -> bool {
        self.required_features.iter().any(|feature| feature == PARITY)
    }

    /// The same for a repository that is encrypted.
    #[must_use]
    pub fn with_encryption(mut self) -> Self {
        self.required_features.push(ENCRYPTION.to_owned());
        self
    }

    /// Whether it is encrypted.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        self.required_features.iter().any(|feature| feature == ENCRYPTION)
    }

    /// The bytes of the object.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        seal(SmallObject::Config, self)
    }

    /// Reads a copy. Fails on a feature that this release does not know.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let config: Self = open(SmallObject::Config, bytes)?;
        let unknown = |name: &&String| !FEATURES_KNOWN.contains(&name.as_str());
        if let Some(name) = config.required_features.iter().find(unknown) {
            let name = excerpt(name);
            let what =
                format!("the repository needs the feature {name:?}, newer than this release");
            return Err(DecodeError::newer(what));
        }
        let lengths = (config.chunk_bytes, config.slice_bytes);
        if lengths != (CHUNK_BYTES, SLICE_BYTES) {
            let what = format!(
                "another build made the repository: it has chunks of {} bytes in slices of {}, \
                 where this one has {CHUNK_BYTES} and {SLICE_BYTES}",
                lengths.0, lengths.1
            );
            return Err(DecodeError::newer(what));
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feature_of_a_newer_release_is_refused_by_name() {
        let mut config = Config::new(RepoId::from_bytes([7; 16]), UtcTime::EPOCH, "test");
        assert_eq!(Config::decode(&config.encode()), Ok(config.clone()));
        config.required_features.push("holograms".to_owned());
        let error = Config::decode(&config.encode()).unwrap_err();
        assert!(error.is_newer() && error.to_string().contains("holograms"));
    }

    #[test]
    fn other_lengths_of_slices_are_refused_with_both_and_are_no_damage() {
        let mut config = Config::new(RepoId::from_bytes([7; 16]), UtcTime::EPOCH, "test");
        config.slice_bytes = 2 * SLICE_BYTES;
        let error = Config::decode(&config.encode()).unwrap_err();
        assert!(error.is_newer() && error.to_string().contains("131072"), "{error}");
    }
}
