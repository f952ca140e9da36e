//! `parity/*`: what brings a damaged pack back. Four recovery shards for the 128 shards that the
//! pack is cut into, and a check of every shard, so that damaged ones are known.
//!
//! `docs/format/parity.md` is the page; a test compares its tables with the `*_FIELDS` here.

use crate::base::hash::{StreamHasher, blake3_256};
use crate::base::id::{PackId, RepoId};
use crate::base::limits::PACK_BYTES_MAX;
use crate::format::codec::{DecodeError, Field, require};

/// Shards that a pack is cut into. The last ones are filled up with zeros.
pub const PACK_SHARDS: usize = 128;
/// Shards that are added. As many damaged ones can be brought back.
pub const RECOVERY_SHARDS: usize = 4;
/// Length of the check of one shard, in bytes: the beginning of its BLAKE3.
pub const SHARD_CHECK_LEN: usize = 16;
/// Shards have a length that is a multiple of this many bytes.
pub const SHARD_BLOCK_LEN: usize = 64;

const PARITY_MAGIC: &[u8; 8] = b"bsparity";
const VERSION_WRITTEN: u16 = 1;
const SHARDS: usize = PACK_SHARDS + RECOVERY_SHARDS;

const MAGIC: Field = Field::new("magic", 0, 8);
const VERSION: Field = Field::new("version", 8, 2);
const RESERVED: Field = Field::new("reserved", 10, 6);
const REPO: Field = Field::new("repo", 16, 16);
const PACK: Field = Field::new("pack", 32, 32);
const PACK_LEN: Field = Field::new("pack_len", 64, 4);
const SHARD_LEN: Field = Field::new("shard_len", 68, 4);
const CHECKSUM: Field = Field::new("checksum", 72, 32);
const CHECKS: Field = Field::new("checks", CHECKSUM.end(), SHARDS * SHARD_CHECK_LEN);

/// The layout in front of the recovery shards, in order.
pub const HEADER_FIELDS: &[Field] =
    &[MAGIC, VERSION, RESERVED, REPO, PACK, PACK_LEN, SHARD_LEN, CHECKSUM, CHECKS];
/// Length of that, in bytes.
pub const PARITY_HEADER_LEN: usize = CHECKS.end();
/// Most bytes that a parity object has.
pub const PARITY_BYTES_MAX: usize = PARITY_HEADER_LEN + RECOVERY_SHARDS * shard_len(PACK_BYTES_MAX);

/// The check of a shard.
pub type ShardCheck = [u8; SHARD_CHECK_LEN];

/// Length of the shards of a pack of that length.
#[must_use]
pub const fn shard_len(pack_len: usize) -> usize {
    pack_len.div_ceil(PACK_SHARDS).next_multiple_of(SHARD_BLOCK_LEN)
}

/// The check of a shard. One of a pack has its zeros.
#[must_use]
pub fn shard_check(shard: &[u8]) -> ShardCheck {
    let hash = blake3_256(shard);
    std::array::from_fn(|i| hash[i])
}

/// The parity of a pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parity {
    /// The repository that the pack was written for.
    pub repo: RepoId,
    /// The pack.
    pub pack: PackId,
    /// Its length in bytes.
    pub pack_len: u32,
    /// The checks of the shards of the pack, then of the recovery shards.
    pub checks: Vec<ShardCheck>,
    /// The recovery shards, one after the other; some of them may be damaged.
    pub recovery: Vec<u8>,
}

impl Parity {
    /// Length of each shard, in bytes.
    #[must_use]
    pub fn shard_len(&self) -> usize {
        shard_len(self.pack_len as usize)
    }

    /// The recovery shards; none in the place of one that is damaged.
    pub fn recovery_shards(&self) -> impl Iterator<Item = Option<&[u8]>> {
        let shards = self.recovery.chunks_exact(self.shard_len());
        let checks = self.checks[PACK_SHARDS..].iter();
        shards.zip(checks).map(|(shard, check)| (shard_check(shard) == *check).then_some(shard))
    }

    /// The bytes of the object.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![0; PARITY_HEADER_LEN];
        MAGIC.put(&mut out, PARITY_MAGIC);
        VERSION.put(&mut out, &VERSION_WRITTEN.to_le_bytes());
        REPO.put(&mut out, self.repo.as_bytes());
        PACK.put(&mut out, self.pack.as_bytes());
        PACK_LEN.put(&mut out, &self.pack_len.to_le_bytes());
        SHARD_LEN.put(&mut out, &(self.shard_len() as u32).to_le_bytes());
        CHECKS.put(&mut out, self.checks.as_flattened());
        let checksum = checksum(&out);
        CHECKSUM.put(&mut out, &checksum);
        out.extend_from_slice(&self.recovery);
        out
    }

    /// Reads the object. That a recovery shard is damaged is seen by its check, not here.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        require(bytes.len() >= PARITY_HEADER_LEN, "the parity is cut short")?;
        require(MAGIC.of(bytes) == PARITY_MAGIC, "the parity does not begin like one")?;
        let (header, recovery) = bytes.split_at(PARITY_HEADER_LEN);
        require(CHECKSUM.of(header) == checksum(header), "the parity's checksum does not match")?;
        let version = VERSION.u16(header);
        if version != VERSION_WRITTEN {
            let what = format!("the parity has format version {version}, newer than this release");
            return Err(DecodeError::newer(what));
        }
        require(RESERVED.is_zero(header), "the parity's header has bits that mean nothing")?;
        let pack_len = PACK_LEN.u32(header);
        let is_possible = (1..=PACK_BYTES_MAX).contains(&(pack_len as usize));
        require(is_possible, "the parity is that of a pack of a length that no pack has")?;
        let shard_len = shard_len(pack_len as usize);
        require(SHARD_LEN.u32(header) as usize == shard_len, "the parity's shards have no length")?;
        require(recovery.len() == RECOVERY_SHARDS * shard_len, "the parity has the wrong length")?;
        let (checks, _) = CHECKS.of(header).as_chunks();
        Ok(Self {
            repo: RepoId::from_bytes(REPO.array(header)),
            pack: PackId::from_bytes(PACK.array(header)),
            pack_len,
            checks: checks.to_vec(),
            recovery: recovery.to_vec(),
        })
    }
}

fn checksum(header: &[u8]) -> [u8; 32] {
    let mut hasher = StreamHasher::default();
    hasher.update(&header[..CHECKSUM.at]);
    hasher.update(&header[CHECKSUM.end()..PARITY_HEADER_LEN]);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Parity {
        let recovery: Vec<u8> = (0..4 * 64).map(|i| i as u8).collect();
        let mut checks = vec![[7; 16]; PACK_SHARDS];
        checks.extend(recovery.chunks(64).map(shard_check));
        let (repo, pack) = (RepoId::from_bytes([1; 16]), PackId::from_bytes([2; 32]));
        Parity { repo, pack, pack_len: 3000, checks, recovery }
    }

    #[test]
    fn every_flipped_bit_is_refused_or_makes_one_recovery_shard_damaged() {
        let good = sample();
        let bytes = good.encode();
        assert_eq!(Parity::decode(&bytes), Ok(good.clone()));
        assert!(good.recovery_shards().all(|shard| shard.is_some()));
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            match Parity::decode(&bad) {
                Err(error) => assert!(!error.is_newer() && bit / 8 < PARITY_HEADER_LEN),
                Ok(read) => {
                    let damaged = read.recovery_shards().filter(Option::is_none).count();
                    assert!(damaged == 1 && bit / 8 >= PARITY_HEADER_LEN, "bit {bit}");
                }
            }
        }
        assert!((0..bytes.len()).all(|len| Parity::decode(&bytes[..len]).is_err()));
    }

    #[test]
    fn shards_cover_every_pack_and_are_whole_blocks() {
        for (pack_len, len) in [(1, 64), (8192, 64), (8193, 128), (32 << 20, 256 << 10)] {
            assert_eq!(shard_len(pack_len), len);
        }
        assert_eq!(shard_len(PACK_BYTES_MAX) * PACK_SHARDS, PACK_BYTES_MAX);
    }
}
