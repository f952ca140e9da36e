//! The keyring: the random keys that all others are made of.

use crate::base::chance::Chance;
use crate::base::secret::{Secret, SecretKey};
use crate::format::codec::{DecodeError, require};
use crate::format::epoch::KeyEpoch;

const VERSION_WRITTEN: u16 = 1;
const HEAD_LEN: usize = 4;
const KEY_LEN: usize = 32;

/// Most epochs of a keyring.
pub const KEYRING_EPOCHS_MAX: usize = 1024;

/// The random keys of a repository: one that stays for its whole life, of which chunk ids are
/// made, and one for each epoch. A rotation adds an epoch; the last one seals what is written.
pub struct Keyring {
    root: SecretKey,
    epochs: Vec<SecretKey>,
}

impl Keyring {
    /// The keys of a new repository.
    #[must_use]
    pub fn generate(chance: &dyn Chance) -> Self {
        Self { root: random(chance), epochs: vec![random(chance)] }
    }

    /// The same keys and one epoch more; none if there are [`KEYRING_EPOCHS_MAX`] already.
    #[must_use]
    pub fn with_new_epoch(&self, chance: &dyn Chance) -> Option<Self> {
        let mut epochs: Vec<_> = self.epochs.iter().map(copy).collect();
        epochs.push(random(chance));
        (epochs.len() <= KEYRING_EPOCHS_MAX).then(|| Self { root: copy(&self.root), epochs })
    }

    /// The epoch that seals what is written: the newest.
    #[must_use]
    pub fn newest_epoch(&self) -> KeyEpoch {
        KeyEpoch::nth(self.epochs.len() - 1)
    }

    /// The bytes that a key slot wraps.
    #[must_use]
    pub fn encode(&self) -> Secret {
        let mut out = Secret::with_capacity(HEAD_LEN + KEY_LEN * (1 + self.epochs.len()));
        out.push(&VERSION_WRITTEN.to_le_bytes());
        out.push(&(self.epochs.len() as u16).to_le_bytes());
        for key in std::iter::once(&self.root).chain(&self.epochs) {
            out.push(key.expose());
        }
        out
    }

    /// Reads what a key slot wrapped.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let (head, keys) = bytes
            .split_first_chunk::<HEAD_LEN>()
            .ok_or_else(|| DecodeError::damaged("the keyring is cut short"))?;
        let version = u16::from_le_bytes([head[0], head[1]]);
        if version != VERSION_WRITTEN {
            let what = format!("the keyring has format version {version}, newer than this release");
            return Err(DecodeError::newer(what));
        }
        let count = usize::from(u16::from_le_bytes([head[2], head[3]]));
        require((1..=KEYRING_EPOCHS_MAX).contains(&count), "the keyring has no epochs")?;
        require(keys.len() == KEY_LEN * (1 + count), "the keyring has the wrong length")?;
        let (keys, _) = keys.as_chunks::<KEY_LEN>();
        let mut keys = keys.iter().map(|key| SecretKey::new(*key));
        match keys.next() {
            Some(root) => Ok(Self { root, epochs: keys.collect() }),
            None => Err(DecodeError::damaged("the keyring is empty")),
        }
    }

    pub(super) fn root(&self) -> &SecretKey {
        &self.root
    }

    pub(super) fn epochs(&self) -> &[SecretKey] {
        &self.epochs
    }
}

fn random(chance: &dyn Chance) -> SecretKey {
    SecretKey::new(chance.bytes())
}

fn copy(key: &SecretKey) -> SecretKey {
    SecretKey::new(*key.expose())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::chance::SystemChance;

    #[test]
    fn a_keyring_reads_back_with_every_epoch_and_at_no_other_length() {
        let first = Keyring::generate(&SystemChance);
        let second = first.with_new_epoch(&SystemChance).unwrap();
        let bytes = second.encode();
        let read = Keyring::decode(bytes.expose()).unwrap();
        assert_eq!(read.root().expose(), first.root().expose());
        assert_eq!(read.epochs()[0].expose(), first.epochs()[0].expose());
        assert_eq!(read.newest_epoch(), KeyEpoch::nth(1));
        for len in 0..bytes.expose().len() {
            assert!(Keyring::decode(&bytes.expose()[..len]).is_err(), "length {len}");
        }
    }
}
