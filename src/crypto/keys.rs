//! All keys of a repository that are used more than once.

use std::sync::Arc;

use crate::base::chance::Chance;
use crate::base::hash::{IdHasher, derive_key, keyed_hash};
use crate::base::secret::SecretKey;
use crate::crypto::Keyring;
use crate::format::codec::DecodeError;
use crate::format::epoch::KeyEpoch;

/// Purposes of keys. The format page lists them.
const IDS: &str = "backstop.1 chunk ids";
const MARKS: &str = "backstop.1 marks of entries";
const NAMES: &str = "backstop.1 names of locks";
const HEADS: &str = "backstop.1 heads of entries";
const SLICES: &str = "backstop.1 slices";
const TABLES: &str = "backstop.1 tables of packs";
const PAGES: &str = "backstop.1 pages of segments";
const OBJECTS: &str = "backstop.1 small objects";

/// The keys of one repository.
pub(super) struct Keys {
    pub(super) ids: IdHasher,
    pub(super) marks: SecretKey,
    pub(super) names: SecretKey,
    epochs: Vec<EpochKeys>,
    chance: Arc<dyn Chance>,
}

/// The keys of one epoch, by what they seal.
pub(super) struct EpochKeys {
    pub(super) heads: SecretKey,
    pub(super) slices: SecretKey,
    pub(super) tables: SecretKey,
    pub(super) pages: SecretKey,
    pub(super) objects: SecretKey,
}

impl Keys {
    pub(super) fn new(keyring: &Keyring, chance: Arc<dyn Chance>) -> Self {
        let of_epoch = |key: &SecretKey| EpochKeys {
            heads: derive_key(HEADS, key),
            slices: derive_key(SLICES, key),
            tables: derive_key(TABLES, key),
            pages: derive_key(PAGES, key),
            objects: derive_key(OBJECTS, key),
        };
        Self {
            ids: IdHasher::keyed(derive_key(IDS, keyring.root())),
            marks: derive_key(MARKS, keyring.root()),
            names: derive_key(NAMES, keyring.root()),
            epochs: keyring.epochs().iter().map(of_epoch).collect(),
            chance,
        }
    }

    /// The keys that seal what is written.
    pub(super) fn newest(&self) -> (KeyEpoch, &EpochKeys) {
        let position = self.epochs.len() - 1;
        (KeyEpoch::nth(position), &self.epochs[position])
    }

    /// The keys of an epoch.
    pub(super) fn of(&self, epoch: KeyEpoch) -> Result<&EpochKeys, DecodeError> {
        self.epochs.get(epoch.position()).ok_or_else(|| {
            DecodeError::newer(format!(
                "it was sealed with keys of epoch {epoch}, and this key slot holds {} of them: \
                 unlock with one that was made after the keys were rotated",
                self.epochs.len()
            ))
        })
    }

    /// Random bytes that make a key one of its own.
    pub(super) fn salt<const N: usize>(&self) -> [u8; N] {
        self.chance.bytes()
    }
}

/// A key that is used for one object only.
pub(super) fn object_key(of: &SecretKey, parts: &[&[u8]]) -> SecretKey {
    SecretKey::new(keyed_hash(of, parts))
}
