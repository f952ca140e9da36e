//! An index segment: a sorted table of entries in pages that each carry a check of their own.
//!
//! Sections, each padded to whole pages: entries, packs, fan-out, superseded segments, footer.
//! The footer comes last because a merge knows its numbers only at the end. `docs/format/index.md`
//! is the page; a test compares its tables with the `*_FIELDS` here.

use crate::base::hash::StreamHasher;
use crate::base::id::{ChunkId, RepoId};
use crate::format::codec::{DecodeError, Field, require};
use crate::format::entry::EntryKind;
use crate::format::epoch::KeyEpoch;
use crate::format::pack::{is_entry_len, is_plain_len};

/// Length of a page, in bytes.
pub const PAGE_LEN: usize = 4096;
/// Length of the check at the end of every page, in bytes.
pub const PAGE_CHECK_LEN: usize = 16;
/// Bytes of a page that its check covers.
pub const PAGE_BODY_LEN: usize = PAGE_LEN - PAGE_CHECK_LEN;

const SEGMENT_MAGIC: &[u8; 8] = b"bsindex\n";
const VERSION_WRITTEN: u16 = 1;

const CHUNK_ID: Field = Field::new("chunk_id", 0, 32);
const PACK_NUMBER: Field = Field::new("pack_number", 32, 4);
const OFFSET: Field = Field::new("offset", 36, 4);
const ENTRY_LEN: Field = Field::new("entry_len", 40, 4);
const PLAIN_LEN: Field = Field::new("plain_len", 44, 3);
const KIND: Field = Field::new("kind", 47, 1);

/// Length of an entry, in bytes.
pub const INDEX_ENTRY_LEN: usize = KIND.end();
/// The layout of an entry, in order.
pub const ENTRY_FIELDS: &[Field] = &[CHUNK_ID, PACK_NUMBER, OFFSET, ENTRY_LEN, PLAIN_LEN, KIND];
/// Entries in a full page. They fill its body to the last byte.
pub const ENTRIES_PER_PAGE: usize = PAGE_BODY_LEN / INDEX_ENTRY_LEN;
/// Ids of packs or of segments in a full page.
pub const IDS_PER_PAGE: usize = PAGE_BODY_LEN / 32;
/// Numbers of the fan-out in a full page.
pub const FANOUT_PER_PAGE: usize = PAGE_BODY_LEN / 4;
/// Most bits of an id that select its bucket in the fan-out.
pub const FANOUT_BITS_MAX: u8 = 26;

const MAGIC: Field = Field::new("magic", 0, 8);
const VERSION: Field = Field::new("version", 8, 2);
const FANOUT_BITS: Field = Field::new("fanout_bits", 10, 1);
const RESERVED: Field = Field::new("reserved", 11, 5);
const REPO: Field = Field::new("repo", 16, 16);
const ENTRY_COUNT: Field = Field::new("entry_count", 32, 4);
const PACK_COUNT: Field = Field::new("pack_count", 36, 4);
const SUPERSEDED_COUNT: Field = Field::new("superseded_count", 40, 4);

const EPOCH: Field = Field::new("epoch", 44, 4);
const SALT: Field = Field::new("salt", 48, 16);
const REST: Field = Field::new("rest", 64, PAGE_BODY_LEN - 64);

/// The layout of the body of the footer page, in order. Reserved bytes and the rest are zero.
pub const FOOTER_FIELDS: &[Field] = &[
    MAGIC,
    VERSION,
    FANOUT_BITS,
    RESERVED,
    REPO,
    ENTRY_COUNT,
    PACK_COUNT,
    SUPERSEDED_COUNT,
    EPOCH,
    SALT,
    REST,
];

/// What tells the key of the pages of a sealed segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentSeal {
    /// Whose keys sealed it.
    pub epoch: KeyEpoch,
    /// Random bytes of this segment alone.
    pub salt: [u8; 16],
}

impl SegmentSeal {
    /// What a footer page says, before its check or tag is known to be right; none in a segment
    /// that is not sealed.
    #[must_use]
    pub fn claimed(body: &[u8; PAGE_BODY_LEN]) -> Option<Self> {
        let epoch = KeyEpoch::from_number(EPOCH.u32(body))?;
        Some(Self { epoch, salt: SALT.array(body) })
    }
}

/// Where a chunk is stored: one entry of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexEntry {
    /// The chunk or map node.
    pub chunk: ChunkId,
    /// Position of the pack in the segment's table of packs.
    pub pack_number: u32,
    /// First byte of the pack entry, from the start of the pack.
    pub offset: u32,
    /// Length of the whole pack entry, in bytes.
    pub entry_len: u32,
    /// Length of the plain bytes.
    pub plain_len: u32,
    /// What it is.
    pub kind: EntryKind,
}

impl IndexEntry {
    /// The bytes of the entry.
    #[must_use]
    pub fn encode(&self) -> [u8; INDEX_ENTRY_LEN] {
        let mut out = [0; INDEX_ENTRY_LEN];
        CHUNK_ID.put(&mut out, self.chunk.as_bytes());
        PACK_NUMBER.put(&mut out, &self.pack_number.to_le_bytes());
        OFFSET.put(&mut out, &self.offset.to_le_bytes());
        ENTRY_LEN.put(&mut out, &self.entry_len.to_le_bytes());
        PLAIN_LEN.put(&mut out, &self.plain_len.to_le_bytes()[..3]);
        KIND.put(&mut out, &[self.kind.code()]);
        out
    }

    /// The chunk of an encoded entry: what a search compares before it decodes.
    #[must_use]
    pub fn chunk_bytes(bytes: &[u8; INDEX_ENTRY_LEN]) -> &[u8] {
        CHUNK_ID.of(bytes)
    }

    /// Reads an entry. Its lengths are within the limits of the format.
    pub fn decode(bytes: &[u8; INDEX_ENTRY_LEN]) -> Result<Self, DecodeError> {
        let [a, b, c] = PLAIN_LEN.array(bytes);
        let entry = Self {
            chunk: ChunkId::from_bytes(CHUNK_ID.array(bytes)),
            pack_number: PACK_NUMBER.u32(bytes),
            offset: OFFSET.u32(bytes),
            entry_len: ENTRY_LEN.u32(bytes),
            plain_len: u32::from_le_bytes([a, b, c, 0]),
            kind: EntryKind::from_code(KIND.of(bytes)[0])?,
        };
        let fits = is_entry_len(entry.entry_len) && is_plain_len(entry.plain_len);
        require(fits, "an index entry has a length that no chunk has")?;
        Ok(entry)
    }
}

/// The numbers that tell where the sections of a segment lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentFooter {
    /// The repository that the segment belongs to.
    pub repo: RepoId,
    /// Number of entries.
    pub entry_count: u32,
    /// Number of packs that the entries lie in.
    pub pack_count: u32,
    /// Number of segments that this one replaces.
    pub superseded_count: u32,
    /// Leading bits of an id that select its bucket in the fan-out.
    pub fanout_bits: u8,
    /// How the pages are sealed; none in a plain repository.
    pub seal: Option<SegmentSeal>,
}

impl SegmentFooter {
    /// Pages before the footer page: entries, packs, fan-out, superseded.
    #[must_use]
    pub fn section_pages(&self) -> [u64; 4] {
        [
            u64::from(self.entry_count).div_ceil(ENTRIES_PER_PAGE as u64),
            u64::from(self.pack_count).div_ceil(IDS_PER_PAGE as u64),
            self.fanout_len().div_ceil(FANOUT_PER_PAGE as u64),
            u64::from(self.superseded_count).div_ceil(IDS_PER_PAGE as u64),
        ]
    }

    /// Numbers in the fan-out: for every bucket its first entry, then the number of entries.
    #[must_use]
    pub fn fanout_len(&self) -> u64 {
        (1 << self.fanout_bits) + 1
    }

    /// Length of the whole segment, in bytes.
    #[must_use]
    pub fn segment_len(&self) -> u64 {
        (self.section_pages().iter().sum::<u64>() + 1) * PAGE_LEN as u64
    }

    /// The body of the footer page.
    #[must_use]
    pub fn encode(&self) -> [u8; PAGE_BODY_LEN] {
        let mut out = [0; PAGE_BODY_LEN];
        MAGIC.put(&mut out, SEGMENT_MAGIC);
        VERSION.put(&mut out, &VERSION_WRITTEN.to_le_bytes());
        FANOUT_BITS.put(&mut out, &[self.fanout_bits]);
        REPO.put(&mut out, self.repo.as_bytes());
        ENTRY_COUNT.put(&mut out, &self.entry_count.to_le_bytes());
        PACK_COUNT.put(&mut out, &self.pack_count.to_le_bytes());
        SUPERSEDED_COUNT.put(&mut out, &self.superseded_count.to_le_bytes());
        if let Some(seal) = &self.seal {
            EPOCH.put(&mut out, &seal.epoch.number().to_le_bytes());
            SALT.put(&mut out, &seal.salt);
        }
        out
    }

    /// Reads the body of the footer page, whose check was found right, of a segment of
    /// `segment_len` bytes.
    pub fn decode(body: &[u8; PAGE_BODY_LEN], segment_len: u64) -> Result<Self, DecodeError> {
        require(MAGIC.of(body) == SEGMENT_MAGIC, "the index segment does not end like one")?;
        let version = VERSION.u16(body);
        if version != VERSION_WRITTEN {
            let what = format!("the index segment has format version {version}, newer than this");
            return Err(DecodeError::newer(what));
        }
        let seal = SegmentSeal::claimed(body);
        let is_salted = seal.is_some() || SALT.is_zero(body);
        if !RESERVED.is_zero(body) || !REST.is_zero(body) || !is_salted {
            let what = "the index segment uses bits that this release does not know";
            return Err(DecodeError::newer(what));
        }
        let footer = Self {
            repo: RepoId::from_bytes(REPO.array(body)),
            entry_count: ENTRY_COUNT.u32(body),
            pack_count: PACK_COUNT.u32(body),
            superseded_count: SUPERSEDED_COUNT.u32(body),
            fanout_bits: FANOUT_BITS.of(body)[0],
            seal,
        };
        require(footer.fanout_bits <= FANOUT_BITS_MAX, "the index segment's fan-out is too large")?;
        require(
            footer.segment_len() == segment_len,
            "the index segment's footer does not agree with its length",
        )?;
        Ok(footer)
    }
}

/// The check of a page: the first bytes of BLAKE3-256 over its number and its body.
///
/// The number is in it so that a page that was written to the wrong place is refused.
#[must_use]
pub fn page_check(page_number: u64, body: &[u8]) -> [u8; PAGE_CHECK_LEN] {
    let mut hasher = StreamHasher::default();
    hasher.update(&page_number.to_le_bytes());
    hasher.update(body);
    let hash = hasher.finish();
    std::array::from_fn(|i| hash[i])
}

/// The bucket of an id in a fan-out of `bits` bits.
#[must_use]
pub fn bucket(chunk: ChunkId, bits: u8) -> u64 {
    let head: [u8; 8] = std::array::from_fn(|i| chunk.as_bytes()[i]);
    u64::from_be_bytes(head).checked_shr(64 - u32::from(bits)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_fill_a_page_to_the_last_byte_of_its_body() {
        assert_eq!(ENTRIES_PER_PAGE * INDEX_ENTRY_LEN, PAGE_BODY_LEN);
    }

    #[test]
    fn a_footer_reads_back_and_only_with_the_length_that_it_implies() {
        let footer = SegmentFooter {
            repo: RepoId::from_bytes([5; 16]),
            entry_count: 86,
            pack_count: 1,
            superseded_count: 0,
            fanout_bits: 2,
            seal: None,
        };
        assert_eq!(footer.section_pages(), [2, 1, 1, 0]);
        let len = footer.segment_len();
        assert_eq!(SegmentFooter::decode(&footer.encode(), len), Ok(footer));
        assert!(SegmentFooter::decode(&footer.encode(), len + PAGE_LEN as u64).is_err());
        for at in [11, 15, 48, 64, PAGE_BODY_LEN - 1] {
            let mut newer = footer.encode();
            newer[at] = 1;
            assert!(SegmentFooter::decode(&newer, len).unwrap_err().is_newer(), "byte {at}");
        }
    }

    #[test]
    fn buckets_follow_the_order_of_ids() {
        let id = |first: u8| {
            ChunkId::from_bytes(std::array::from_fn(|i| if i == 0 { first } else { 0 }))
        };
        assert_eq!([bucket(id(0), 0), bucket(id(255), 0)], [0, 0]);
        assert_eq!([bucket(id(0x7f), 2), bucket(id(0x80), 2), bucket(id(255), 8)], [1, 2, 255]);
    }
}
