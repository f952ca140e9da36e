//! The frame of every small object: what it is, its length, and a checksum over all of it.
//!
//! `docs/format/envelope.md` is the page; a test compares its table with [`FIELDS`].

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::format::codec::{DecodeError, Field, excerpt, require};

const MAGIC_BYTES: &[u8; 8] = b"BACKSTOP";
const VERSION_WRITTEN: u16 = 1;

const MAGIC: Field = Field::new("magic", 0, 8);
const KIND: Field = Field::new("kind", 8, 4);
const VERSION: Field = Field::new("version", 12, 2);
const RESERVED: Field = Field::new("reserved", 14, 2);
const PAYLOAD_LEN: Field = Field::new("payload_len", 16, 4);
const CHECKSUM: Field = Field::new("checksum", 20, 32);

/// Length of the frame before the payload, in bytes.
pub const ENVELOPE_LEN: usize = CHECKSUM.end();

/// The layout, in order.
pub const FIELDS: &[Field] = &[MAGIC, KIND, VERSION, RESERVED, PAYLOAD_LEN, CHECKSUM];

/// Which small object an envelope holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SmallObject {
    /// `config.*`
    Config,
    /// `sessions/*`
    Session,
    /// `commit/*`
    Commit,
    /// `forget/*`
    Forgotten,
    /// `gc/*.condemned`
    Condemned,
    /// `damaged/*`
    Damaged,
    /// `engine/*`
    EngineNote,
    /// `hold/*`
    Hold,
    /// `keys/*`
    KeySlot,
}

impl SmallObject {
    fn tag(self) -> &'static [u8; 4] {
        match self {
            Self::Config => b"CONF",
            Self::Session => b"SESS",
            Self::Commit => b"CMIT",
            Self::Forgotten => b"FRGT",
            Self::Condemned => b"COND",
            Self::Damaged => b"DMGD",
            Self::EngineNote => b"ENGN",
            Self::Hold => b"HOLD",
            Self::KeySlot => b"SLOT",
        }
    }
}

/// Puts a value, as JSON, into an envelope.
pub(super) fn seal(kind: SmallObject, value: &impl Serialize) -> Vec<u8> {
    let mut out = vec![0; ENVELOPE_LEN];
    if let Err(error) = serde_json::to_writer(&mut out, value) {
        unreachable!("values of this module have string keys and finite numbers: {error}");
    }
    let payload_len = out.len() - ENVELOPE_LEN;
    MAGIC.put(&mut out, MAGIC_BYTES);
    KIND.put(&mut out, kind.tag());
    VERSION.put(&mut out, &VERSION_WRITTEN.to_le_bytes());
    PAYLOAD_LEN.put(&mut out, &(payload_len as u32).to_le_bytes());
    let checksum = CHECKSUM.hash_around(&out);
    CHECKSUM.put(&mut out, &checksum);
    out
}

/// Takes a value out of an envelope. The checksum comes before the version, so that a flipped bit
/// reads as damage and not as "please upgrade".
pub(super) fn open<T: DeserializeOwned>(kind: SmallObject, bytes: &[u8]) -> Result<T, DecodeError> {
    require(bytes.len() >= ENVELOPE_LEN, "the object is cut short")?;
    require(MAGIC.of(bytes) == MAGIC_BYTES, "the object does not begin like one of a repository")?;
    require(
        CHECKSUM.of(bytes) == CHECKSUM.hash_around(bytes),
        "the checksum of the object does not match",
    )?;
    let payload_len = PAYLOAD_LEN.u32(bytes) as usize;
    require(bytes.len() - ENVELOPE_LEN == payload_len, "the object has the wrong length")?;
    require(KIND.of(bytes) == kind.tag(), "the object is of another kind than its name says")?;
    let version = VERSION.u16(bytes);
    if version != VERSION_WRITTEN {
        let what = format!("the object has format version {version}, newer than this release");
        return Err(DecodeError::newer(what));
    }
    if !RESERVED.is_zero(bytes) {
        return Err(DecodeError::newer("the object uses bits that this release does not know"));
    }
    serde_json::from_slice(&bytes[ENVELOPE_LEN..]).map_err(|error| {
        let cause = excerpt(&error.to_string());
        DecodeError::damaged(format!("the object cannot be understood: {cause}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_and_every_cut_is_refused_as_damage() {
        let good = seal(SmallObject::Session, &"backup");
        assert_eq!(open::<String>(SmallObject::Session, &good), Ok("backup".to_owned()));
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let error = open::<String>(SmallObject::Session, &bad).unwrap_err();
            assert!(!error.is_newer(), "bit {bit}: {error}");
        }
        for len in 0..good.len() {
            assert!(open::<String>(SmallObject::Session, &good[..len]).is_err(), "length {len}");
        }
    }

    #[test]
    fn a_message_repeats_little_of_what_an_object_holds_and_nothing_that_a_terminal_obeys() {
        #[derive(Debug, serde::Deserialize)]
        enum Word {}
        let word = format!("\u{1b}[2J{}", "x".repeat(100_000));
        let error = open::<Word>(SmallObject::Session, &seal(SmallObject::Session, &word));
        let message = error.unwrap_err().to_string();
        assert!(message.len() < 1000 && !message.contains('\u{1b}'), "{message}");
    }

    #[test]
    fn an_object_under_the_name_of_another_kind_is_refused() {
        let commit = seal(SmallObject::Commit, &"backup");
        assert!(open::<String>(SmallObject::Session, &commit).is_err());
    }
}
