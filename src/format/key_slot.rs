//! `keys/*`: a key slot, which holds the keyring wrapped with a key made of one secret.
//!
//! The object is plain: it is what a reader needs before it has keys.

use serde::{Deserialize, Serialize};

use crate::base::clock::UtcTime;
use crate::base::id::{RepoId, SlotId};
use crate::format::codec::{DecodeError, require};
use crate::format::envelope::{SmallObject, open, seal};
use crate::format::epoch::KeyEpoch;

/// Number of copies of each slot.
pub const SLOT_COPIES: u8 = 2;
/// Most bytes of a label.
pub const LABEL_BYTES_MAX: usize = 200;

/// Largest key slot that a reader accepts, in bytes: one with the longest keyring, in digits.
pub const SLOT_BYTES_MAX: usize = 128 << 10;

const HEADER_VERSION: u16 = 1;

/// What the key of a slot is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SlotKind {
    /// A password.
    Password,
    /// 32 random bytes in a file.
    KeyFile,
    /// 32 random bytes, printed for people.
    RecoveryCode,
}

impl SlotKind {
    fn code(self) -> u8 {
        match self {
            Self::Password => 1,
            Self::KeyFile => 2,
            Self::RecoveryCode => 3,
        }
    }
}

/// How argon2id makes keys of a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PasswordCost {
    /// Memory, in KiB.
    pub memory_kib: u32,
    /// Passes over that memory.
    pub passes: u32,
    /// Lanes.
    pub lanes: u32,
}

/// Everything of a slot that is not secret. All of it is bound to what is wrapped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotHeader {
    /// Its name.
    pub slot: SlotId,
    /// The repository.
    pub repo: RepoId,
    /// What its key is made of.
    pub kind: SlotKind,
    /// What it is for, for people.
    pub label: String,
    /// When it was made, for people.
    pub created: UtcTime,
    /// The newest epoch of the keyring.
    pub epoch: u32,
    /// How its key is made of a password; absent for other kinds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub argon2id: Option<PasswordCost>,
    /// Random bytes that make the key one of its own.
    #[serde(with = "hex")]
    pub salt: [u8; 16],
    /// Nonce of the seal.
    #[serde(with = "hex")]
    pub nonce: [u8; 12],
}

impl SlotHeader {
    /// What the commitment and the seal are bound to. No two headers have the same.
    #[must_use]
    pub fn canonical(&self) -> Vec<u8> {
        let cost = self.argon2id.unwrap_or(PasswordCost { memory_kib: 0, passes: 0, lanes: 0 });
        let mut out = Vec::with_capacity(128 + self.label.len());
        out.extend_from_slice(&HEADER_VERSION.to_le_bytes());
        out.extend_from_slice(self.repo.as_bytes());
        out.extend_from_slice(self.slot.as_bytes());
        out.push(self.kind.code());
        for number in [self.epoch, cost.memory_kib, cost.passes, cost.lanes] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&self.salt);
        out.extend_from_slice(&self.nonce);
        out.extend_from_slice(&self.created.unix_seconds().to_le_bytes());
        out.extend_from_slice(self.label.as_bytes());
        out
    }

    /// The newest epoch of the keyring, if the number is one.
    #[must_use]
    pub fn newest_epoch(&self) -> Option<KeyEpoch> {
        KeyEpoch::from_number(self.epoch)
    }
}

/// A key slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeySlot {
    /// What is not secret.
    #[serde(flatten)]
    pub header: SlotHeader,
    /// A hash of the header under a key of the same secret: proves the secret before anything is
    /// unwrapped.
    #[serde(with = "hex")]
    pub commitment: [u8; 32],
    /// The keyring, sealed, with its tag.
    #[serde(with = "hex")]
    pub wrapped: Vec<u8>,
}

impl KeySlot {
    /// The bytes of the object.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        seal(SmallObject::KeySlot, self)
    }

    /// Reads the object.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let slot: Self = open(SmallObject::KeySlot, bytes)?;
        let header = &slot.header;
        let is_password = header.kind == SlotKind::Password;
        require(header.argon2id.is_some() == is_password, "the key slot lacks its parameters")?;
        require(header.label.len() <= LABEL_BYTES_MAX, "the label of the key slot is too long")?;
        require(header.newest_epoch().is_some(), "the key slot names no epoch")?;
        Ok(slot)
    }
}

/// Bytes as lower-case hexadecimal digits.
mod hex {
    use serde::de::{Deserialize, Deserializer, Error};
    use serde::ser::Serializer;

    pub(super) fn serialize<S: Serializer>(
        bytes: &impl AsRef<[u8]>,
        out: S,
    ) -> Result<S::Ok, S::Error> {
        let digits: String = bytes.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        out.serialize_str(&digits)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>, T: TryFrom<Vec<u8>>>(
        input: D,
    ) -> Result<T, D::Error> {
        let text = String::deserialize(input)?;
        let wrong = || D::Error::custom("not hexadecimal digits of the right number");
        let bytes = bytes_of(&text).ok_or_else(wrong)?;
        T::try_from(bytes).map_err(|_| wrong())
    }

    fn bytes_of(text: &str) -> Option<Vec<u8>> {
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Some(byte - b'0'),
            b'a'..=b'f' => Some(byte - b'a' + 10),
            _ => None,
        };
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        let byte = |pair: &[u8; 2]| Some(digit(pair[0])? << 4 | digit(pair[1])?);
        rest.is_empty().then(|| pairs.iter().map(byte).collect()).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn sample() -> KeySlot {
        let header = SlotHeader {
            slot: SlotId::from_bytes([1; 16]),
            repo: RepoId::from_bytes([2; 16]),
            kind: SlotKind::KeyFile,
            label: "tape".to_owned(),
            created: UtcTime::from_unix_seconds(1_795_397_400).unwrap(),
            epoch: 1,
            argon2id: None,
            salt: [3; 16],
            nonce: [4; 12],
        };
        KeySlot { header, commitment: [5; 32], wrapped: vec![6; 84] }
    }

    #[test]
    fn a_slot_reads_back_and_not_without_its_parameters_or_with_a_long_label() {
        let slot = sample();
        assert_eq!(KeySlot::decode(&slot.encode()), Ok(slot.clone()));
        let changes: [fn(&mut SlotHeader); 3] = [
            |header| header.kind = SlotKind::Password,
            |header| header.label = "x".repeat(LABEL_BYTES_MAX + 1),
            |header| header.epoch = 0,
        ];
        for change in changes {
            let mut bad = slot.clone();
            change(&mut bad.header);
            assert!(KeySlot::decode(&bad.encode()).is_err());
        }
    }

    #[test]
    fn everything_of_a_header_is_bound() {
        let header = sample().header;
        let changes: [fn(&mut SlotHeader); 9] = [
            |header| header.slot = SlotId::from_bytes([9; 16]),
            |header| header.repo = RepoId::from_bytes([9; 16]),
            |header| header.kind = SlotKind::RecoveryCode,
            |header| header.label.push('x'),
            |header| header.created = UtcTime::from_unix_seconds(0).unwrap(),
            |header| header.epoch = 2,
            |header| {
                header.argon2id = Some(PasswordCost { memory_kib: 1, passes: 1, lanes: 1 });
            },
            |header| header.salt[15] = 0,
            |header| header.nonce[11] = 0,
        ];
        for change in changes {
            let mut other = header.clone();
            change(&mut other);
            assert_ne!(other.canonical(), header.canonical(), "{other:?}");
        }
    }
}
