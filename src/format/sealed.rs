//! The frame of a sealed small object: whose keys opened it, and a checksum that needs no key.
//!
//! `docs/format/sealing.md` is the page; a test compares its table with [`FIELDS`].

use crate::format::codec::{DecodeError, Field, require};
use crate::format::epoch::KeyEpoch;

const MAGIC_BYTES: &[u8; 8] = b"BSSEALED";
const VERSION_WRITTEN: u16 = 1;

/// Length of the tag behind every sealed text, in bytes.
pub const TAG_LEN: usize = 16;
/// Length of the salt that makes the key of a small object one of its own, in bytes.
pub const OBJECT_SALT_LEN: usize = 16;

const MAGIC: Field = Field::new("magic", 0, 8);
const VERSION: Field = Field::new("version", 8, 2);
const RESERVED: Field = Field::new("reserved", 10, 2);
const EPOCH: Field = Field::new("epoch", 12, 4);
const SALT: Field = Field::new("salt", 16, OBJECT_SALT_LEN);
const CHECKSUM: Field = Field::new("checksum", 32, 32);

/// Length of the frame before the sealed text, in bytes.
pub const SEALED_HEAD_LEN: usize = CHECKSUM.end();
/// What sealing adds to the length of a small object, in bytes.
pub const SEALED_EXTRA_LEN: usize = SEALED_HEAD_LEN + TAG_LEN;
/// The layout, in order.
pub const FIELDS: &[Field] = &[MAGIC, VERSION, RESERVED, EPOCH, SALT, CHECKSUM];

/// A sealed small object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealedObject<'a> {
    /// Whose keys sealed it.
    pub epoch: KeyEpoch,
    /// Random bytes of this object alone.
    pub salt: [u8; OBJECT_SALT_LEN],
    /// The sealed text with its tag.
    pub text: &'a [u8],
}

impl<'a> SealedObject<'a> {
    /// The bytes of the object.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![0; SEALED_HEAD_LEN];
        MAGIC.put(&mut out, MAGIC_BYTES);
        VERSION.put(&mut out, &VERSION_WRITTEN.to_le_bytes());
        EPOCH.put(&mut out, &self.epoch.number().to_le_bytes());
        SALT.put(&mut out, &self.salt);
        out.extend_from_slice(self.text);
        let checksum = CHECKSUM.hash_around(&out);
        CHECKSUM.put(&mut out, &checksum);
        out
    }

    /// Reads the frame. The checksum is found right; only a key tells whether the text is.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        require(bytes.len() >= SEALED_EXTRA_LEN, "the sealed object is cut short")?;
        require(MAGIC.of(bytes) == MAGIC_BYTES, "the object does not begin like a sealed one")?;
        let is_whole = CHECKSUM.of(bytes) == CHECKSUM.hash_around(bytes);
        require(is_whole, "the checksum of the sealed object does not match")?;
        let version = VERSION.u16(bytes);
        if version != VERSION_WRITTEN {
            let what =
                format!("the object is sealed in version {version}, newer than this release");
            return Err(DecodeError::newer(what));
        }
        if !RESERVED.is_zero(bytes) {
            return Err(DecodeError::newer("the object uses bits that this release does not know"));
        }
        let epoch = KeyEpoch::from_number(EPOCH.u32(bytes));
        let epoch = epoch.ok_or_else(|| DecodeError::damaged("the object is of no key epoch"))?;
        Ok(Self { epoch, salt: SALT.array(bytes), text: &bytes[SEALED_HEAD_LEN..] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_key_every_flipped_bit_and_every_cut_is_found() {
        let epoch = KeyEpoch::nth(0);
        let good = SealedObject { epoch, salt: [3; 16], text: &[5; 40] }.encode();
        assert_eq!(SealedObject::decode(&good).unwrap().text, [5; 40]);
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(!SealedObject::decode(&bad).unwrap_err().is_newer(), "bit {bit}");
        }
        assert!((0..good.len()).all(|len| SealedObject::decode(&good[..len]).is_err()));
    }
}
