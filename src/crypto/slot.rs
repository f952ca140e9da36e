//! Wraps a keyring into a key slot with one secret, and takes it out again.
//!
//! AES-GCM does not commit to its key: one text can be made that opens under many. So a slot also
//! holds a hash of its header under a second key of the same secret, which is compared first.

use crate::base::chance::Chance;
use crate::base::clock::UtcTime;
use crate::base::hash::{is_same_hash, keyed_hash};
use crate::base::id::{RepoId, SlotId};
use crate::base::secret::{Secret, SecretKey};
use crate::crypto::Keyring;
use crate::crypto::aead::AeadKey;
use crate::crypto::kdf::{COST_WRITTEN, SlotKeys, slot_keys, stretch};
use crate::format::codec::{DecodeError, require};
use crate::format::key_slot::{KeySlot, SlotHeader, SlotKind};

/// What opens a slot.
pub enum SlotSecret {
    /// What somebody remembers.
    Password(Secret),
    /// The bytes of a key file.
    KeyFile(SecretKey),
    /// The bytes of a recovery code.
    RecoveryCode(SecretKey),
}

impl SlotSecret {
    /// The kind of slot that it opens.
    #[must_use]
    pub fn kind(&self) -> SlotKind {
        match self {
            Self::Password(_) => SlotKind::Password,
            Self::KeyFile(_) => SlotKind::KeyFile,
            Self::RecoveryCode(_) => SlotKind::RecoveryCode,
        }
    }

    fn keys(&self, header: &SlotHeader) -> Result<SlotKeys, DecodeError> {
        let stretched;
        let secret = match (self, header.argon2id) {
            (Self::KeyFile(secret) | Self::RecoveryCode(secret), _) => secret,
            (Self::Password(password), Some(cost)) => {
                stretched = stretch(password, &header.salt, cost)?;
                &stretched
            }
            (Self::Password(_), None) => {
                return Err(DecodeError::damaged("the key slot lacks its parameters"));
            }
        };
        Ok(slot_keys(header.kind, secret, &header.salt))
    }
}

/// Wraps a keyring into a new slot.
pub fn wrap_keyring(
    keyring: &Keyring,
    secret: &SlotSecret,
    repo: RepoId,
    label: &str,
    created: UtcTime,
    chance: &dyn Chance,
) -> Result<KeySlot, DecodeError> {
    let kind = secret.kind();
    let header = SlotHeader {
        slot: SlotId::random(chance),
        repo,
        kind,
        label: label.to_owned(),
        created,
        epoch: keyring.newest_epoch().number(),
        argon2id: (kind == SlotKind::Password).then_some(COST_WRITTEN),
        salt: chance.bytes(),
        nonce: chance.bytes(),
    };
    let keys = secret.keys(&header)?;
    let bound = header.canonical();
    let mut wrapped = keyring.encode().expose().to_vec();
    AeadKey::new(&keys.wrapping).seal_tail(header.nonce, &bound, &mut wrapped, 0);
    Ok(KeySlot { commitment: keyed_hash(&keys.committing, &[&bound]), header, wrapped })
}

/// The keyring of a slot; none if the secret is that of another slot.
///
/// # Errors
///
/// The slot asks for work that no release asks for, or the secret is right and what it wraps is
/// damaged.
pub fn open_slot(slot: &KeySlot, secret: &SlotSecret) -> Result<Option<Keyring>, DecodeError> {
    let header = &slot.header;
    if header.kind != secret.kind() {
        return Ok(None);
    }
    let keys = secret.keys(header)?;
    let bound = header.canonical();
    if !is_same_hash(&keyed_hash(&keys.committing, &[&bound]), &slot.commitment) {
        return Ok(None);
    }
    let mut text = Secret::new(slot.wrapped.clone());
    let key = AeadKey::new(&keys.wrapping);
    let opened = key.open_in_place(header.nonce, &bound, text.expose_mut());
    let opened = opened.ok_or_else(|| {
        DecodeError::damaged("the key slot is damaged: the secret is right, and it does not open")
    })?;
    let keyring = Keyring::decode(opened)?;
    let is_of_epoch = Some(keyring.newest_epoch()) == header.newest_epoch();
    require(is_of_epoch, "the key slot holds the keys of another epoch than it says")?;
    Ok(Some(keyring))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::chance::SystemChance;
    use crate::format::key_slot::PasswordCost;

    const REPO: RepoId = RepoId::from_bytes([8; 16]);

    fn key_file(byte: u8) -> SlotSecret {
        SlotSecret::KeyFile(SecretKey::new([byte; 32]))
    }

    fn wrapped(secret: &SlotSecret) -> (Keyring, KeySlot) {
        let keyring = Keyring::generate(&SystemChance);
        let created = UtcTime::from_unix_seconds(1_795_397_400).unwrap();
        let slot = wrap_keyring(&keyring, secret, REPO, "tape", created, &SystemChance).unwrap();
        (keyring, slot)
    }

    #[test]
    fn a_slot_opens_with_its_secret_and_with_no_other() {
        let secrets = [
            SlotSecret::Password(Secret::from("correct horse")),
            key_file(1),
            SlotSecret::RecoveryCode(SecretKey::new([1; 32])),
        ];
        for secret in &secrets {
            let (keyring, slot) = wrapped(secret);
            let opened = open_slot(&slot, secret).unwrap().unwrap();
            assert_eq!(opened.encode().expose(), keyring.encode().expose());
            let others = secrets.iter().filter(|other| other.kind() != secret.kind());
            for other in others {
                assert!(open_slot(&slot, other).unwrap().is_none());
            }
        }
        let (_, slot) = wrapped(&key_file(1));
        assert!(open_slot(&slot, &key_file(2)).unwrap().is_none());
        let (_, slot) = wrapped(&secrets[0]);
        let wrong = SlotSecret::Password(Secret::from("correct house"));
        assert!(open_slot(&slot, &wrong).unwrap().is_none());
    }

    /// What a storage could change that knows no secret.
    #[test]
    fn a_slot_of_which_anything_was_changed_does_not_open() {
        let (_, slot) = wrapped(&key_file(1));
        let changes: [fn(&mut KeySlot); 8] = [
            |slot| slot.header.slot = SlotId::from_bytes([0; 16]),
            |slot| slot.header.repo = RepoId::from_bytes([0; 16]),
            |slot| slot.header.label.push('x'),
            |slot| slot.header.epoch = 2,
            |slot| slot.header.salt[0] ^= 1,
            |slot| slot.header.nonce[0] ^= 1,
            |slot| slot.commitment[31] ^= 1,
            |slot| {
                let cost = PasswordCost { memory_kib: 19 << 10, passes: 2, lanes: 1 };
                slot.header.argon2id = Some(cost);
            },
        ];
        for (number, change) in changes.into_iter().enumerate() {
            let mut bad = slot.clone();
            change(&mut bad);
            assert!(open_slot(&bad, &key_file(1)).unwrap().is_none(), "change {number}");
        }
    }

    #[test]
    fn a_damaged_keyring_is_told_from_a_wrong_secret() {
        let (_, mut slot) = wrapped(&key_file(1));
        slot.wrapped[5] ^= 1;
        assert!(open_slot(&slot, &key_file(1)).is_err());
        assert!(open_slot(&slot, &key_file(2)).unwrap().is_none());
    }
}
