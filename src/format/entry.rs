//! An entry of a pack: one chunk or map node, stored as slices that can be proven one by one.
//!
//! `docs/format/pack.md` is the page; a test compares its tables with [`HEADER_FIELDS`] and
//! [`SLICE_FIELDS`].

use crate::base::hash::ChainingValue;
use crate::base::id::ChunkId;
use crate::base::limits::{CHUNK_BYTES, SLICES_PER_CHUNK};
use crate::base::units::{SliceIndex, slice_count, slice_range};
use crate::format::codec::{DecodeError, Field, require};
use crate::format::epoch::KeyEpoch;
use crate::format::sealed::TAG_LEN;

/// First bytes of every entry, by which it is found again when the pack's trailer is gone.
pub const ENTRY_MAGIC: [u8; 8] = *b"bsentry\x1a";

const MAGIC: Field = Field::new("magic", 0, 8);
const KIND: Field = Field::new("kind", 8, 1);
const SLICE_COUNT: Field = Field::new("slice_count", 9, 1);
const RESERVED: Field = Field::new("reserved", 10, 2);
const PLAIN_LEN: Field = Field::new("plain_len", 12, 4);
const CHUNK_ID: Field = Field::new("chunk_id", 16, 32);

/// Length of an entry's header before its slice table, in bytes.
pub const ENTRY_HEADER_LEN: usize = CHUNK_ID.end();
/// The layout of the header, in order.
pub const HEADER_FIELDS: &[Field] = &[MAGIC, KIND, SLICE_COUNT, RESERVED, PLAIN_LEN, CHUNK_ID];

const CODEC: Field = Field::new("codec", 0, 1);
const SLICE_RESERVED: Field = Field::new("reserved", 1, 3);
const STORED_LEN: Field = Field::new("stored_len", 4, 4);
const VALUE: Field = Field::new("chaining_value", 8, 32);

/// Length of a row of the slice table, in bytes.
pub const SLICE_ROW_LEN: usize = VALUE.end();
/// The layout of a row of the slice table, in order.
pub const SLICE_FIELDS: &[Field] = &[CODEC, SLICE_RESERVED, STORED_LEN, VALUE];

const SALT: Field = Field::new("salt", 0, 16);
const MASKED: Field = Field::new("masked", 16, 8);

/// Length of what comes before the sealed header of a sealed entry, in bytes.
pub const ENTRY_PREFIX_LEN: usize = MASKED.end();
/// The layout of that, in order.
pub const PREFIX_FIELDS: &[Field] = &[SALT, MASKED];

/// Length of the longest header with its slice table, in bytes, as it is stored.
pub const ENTRY_HEAD_LEN_MAX: usize =
    ENTRY_PREFIX_LEN + ENTRY_HEADER_LEN + SLICES_PER_CHUNK * SLICE_ROW_LEN + TAG_LEN;
/// Length of the longest entry, in bytes: no slice is longer than it is, and a tag.
pub const ENTRY_LEN_MAX: usize = ENTRY_HEAD_LEN_MAX + CHUNK_BYTES + SLICES_PER_CHUNK * TAG_LEN;

/// What an entry holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EntryKind {
    /// A chunk of a disk.
    Data,
    /// A node of a disk map.
    MapNode,
}

impl EntryKind {
    /// The number that stands for it on disk.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Data => 1,
            Self::MapNode => 2,
        }
    }

    /// The kind of that number.
    pub fn from_code(code: u8) -> Result<Self, DecodeError> {
        match code {
            1 => Ok(Self::Data),
            2 => Ok(Self::MapNode),
            _ => Err(DecodeError::damaged("an entry is of no known kind")),
        }
    }
}

/// How a slice is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SliceCodec {
    /// All zero; nothing is stored.
    Zero,
    /// As it is.
    Raw,
    /// One zstd frame.
    Zstd,
}

impl SliceCodec {
    /// The number that stands for it on disk.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Zero => 0,
            Self::Raw => 1,
            Self::Zstd => 2,
        }
    }

    fn from_code(code: u8) -> Result<Self, DecodeError> {
        match code {
            0 => Ok(Self::Zero),
            1 => Ok(Self::Raw),
            2 => Ok(Self::Zstd),
            _ => Err(DecodeError::damaged("a slice has no known codec")),
        }
    }
}

/// How one slice is stored, and what proves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SliceRow {
    /// How it is stored.
    pub codec: SliceCodec,
    /// Stored length, in bytes.
    pub stored_len: u32,
    /// Its chaining value.
    pub value: ChainingValue,
}

/// What tells the keys of a sealed entry: the bytes before its header, unmasked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntrySeal {
    /// Random bytes of this entry alone.
    pub salt: [u8; 16],
    /// Whose keys sealed it.
    pub epoch: KeyEpoch,
}

impl EntrySeal {
    /// The bytes before a header with `slice_count` rows. What could be told from a random string
    /// is hidden by `mask`, which only a holder of the keys can make of the salt.
    #[must_use]
    pub fn encode(&self, slice_count: usize, mask: [u8; 8]) -> [u8; ENTRY_PREFIX_LEN] {
        let [a, b, c, d] = self.epoch.number().to_le_bytes();
        let mut masked = [0, 0, 0, slice_count as u8, a, b, c, d];
        masked.iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
        let mut out = [0; ENTRY_PREFIX_LEN];
        SALT.put(&mut out, &self.salt);
        MASKED.put(&mut out, &masked);
        out
    }

    /// The salt at the beginning of what may be a sealed entry.
    #[must_use]
    pub fn salt_of(prefix: &[u8; ENTRY_PREFIX_LEN]) -> [u8; 16] {
        SALT.array(prefix)
    }

    /// The seal and the number of slices; none if this is not the beginning of an entry. One in 14
    /// million places in random bytes looks like one.
    #[must_use]
    pub fn decode(prefix: &[u8; ENTRY_PREFIX_LEN], mask: [u8; 8]) -> Option<(Self, usize)> {
        let masked: [u8; 8] = MASKED.array(prefix);
        let [x, y, z, slice_count, epoch @ ..]: [u8; 8] =
            std::array::from_fn(|i| masked[i] ^ mask[i]);
        let slice_count = usize::from(slice_count);
        let is_one = [x, y, z] == [0; 3] && (1..=SLICES_PER_CHUNK).contains(&slice_count);
        let epoch = KeyEpoch::from_number(u32::from_le_bytes(epoch)).filter(|_| is_one)?;
        Some((Self { salt: Self::salt_of(prefix), epoch }, slice_count))
    }

    /// Length of the sealed header with `slice_count` rows and its tag, in bytes.
    #[must_use]
    pub fn sealed_head_len(slice_count: usize) -> usize {
        ENTRY_HEADER_LEN + slice_count * SLICE_ROW_LEN + TAG_LEN
    }
}

/// The header of an entry with its slice table. Its numbers agree with each other, whatever the
/// bytes were: lengths are within their limits and add up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryHead {
    kind: EntryKind,
    chunk: ChunkId,
    plain_len: u32,
    rows: Vec<SliceRow>,
    seal: Option<EntrySeal>,
}

impl EntryHead {
    /// # Panics
    ///
    /// If the number of rows is not that of the slices of `plain_len` bytes.
    #[must_use]
    pub fn new(kind: EntryKind, chunk: ChunkId, plain_len: usize, rows: Vec<SliceRow>) -> Self {
        assert_eq!(rows.len(), slice_count(plain_len), "one row per slice");
        Self { kind, chunk, plain_len: plain_len as u32, rows, seal: None }
    }

    /// The head of the same entry, sealed.
    #[must_use]
    pub fn sealed_by(self, seal: EntrySeal) -> Self {
        Self { seal: Some(seal), ..self }
    }

    /// How the entry is sealed, if it is.
    #[must_use]
    pub fn seal(&self) -> Option<EntrySeal> {
        self.seal
    }

    /// Appends the encoded header and slice table, which are not sealed yet.
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.resize(start + self.table_end(), 0);
        let head = &mut out[start..];
        MAGIC.put(head, &ENTRY_MAGIC);
        KIND.put(head, &[self.kind.code()]);
        SLICE_COUNT.put(head, &[self.rows.len() as u8]);
        PLAIN_LEN.put(head, &self.plain_len.to_le_bytes());
        CHUNK_ID.put(head, self.chunk.as_bytes());
        for (row, out) in self.rows.iter().zip(head[ENTRY_HEADER_LEN..].chunks_mut(SLICE_ROW_LEN)) {
            CODEC.put(out, &[row.codec.code()]);
            STORED_LEN.put(out, &row.stored_len.to_le_bytes());
            VALUE.put(out, &row.value);
        }
    }

    /// Reads the header and slice table at the beginning of `bytes`, which may go on after them.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        require(bytes.len() >= ENTRY_HEADER_LEN, "an entry is cut short")?;
        require(MAGIC.of(bytes) == ENTRY_MAGIC, "an entry does not begin like one")?;
        let kind = EntryKind::from_code(KIND.of(bytes)[0])?;
        let plain_len = PLAIN_LEN.u32(bytes);
        let count = usize::from(SLICE_COUNT.of(bytes)[0]);
        require(plain_len as usize <= CHUNK_BYTES, "an entry is longer than a chunk")?;
        require(plain_len > 0, "an entry is empty")?;
        require(count == slice_count(plain_len as usize), "an entry has the wrong slice count")?;
        require(RESERVED.is_zero(bytes), "an entry has bits that mean nothing")?;
        let table = bytes.get(ENTRY_HEADER_LEN..ENTRY_HEADER_LEN + count * SLICE_ROW_LEN);
        let table = table.ok_or_else(|| DecodeError::damaged("an entry is cut short"))?;
        let rows = table.chunks_exact(SLICE_ROW_LEN).enumerate();
        let rows = rows.map(|(index, row)| {
            let plain = slice_range(SliceIndex(index as u8), plain_len as usize).len();
            decode_row(row, plain)
        });
        let rows = rows.collect::<Result<_, _>>()?;
        let chunk = ChunkId::from_bytes(CHUNK_ID.array(bytes));
        Ok(Self { kind, chunk, plain_len, rows, seal: None })
    }

    /// What the entry holds.
    #[must_use]
    pub fn kind(&self) -> EntryKind {
        self.kind
    }

    /// The id of what it holds.
    #[must_use]
    pub fn chunk(&self) -> ChunkId {
        self.chunk
    }

    /// Length of the plain bytes.
    #[must_use]
    pub fn plain_len(&self) -> usize {
        self.plain_len as usize
    }

    /// One row per slice.
    #[must_use]
    pub fn rows(&self) -> &[SliceRow] {
        &self.rows
    }

    /// The chaining values of all slices.
    #[must_use]
    pub fn values(&self) -> Vec<ChainingValue> {
        self.rows.iter().map(|row| row.value).collect()
    }

    /// Length of the header with its slice table, in bytes, as it is stored.
    #[must_use]
    pub fn head_len(&self) -> usize {
        match self.seal {
            None => self.table_end(),
            Some(_) => ENTRY_PREFIX_LEN + self.table_end() + TAG_LEN,
        }
    }

    /// Length of the whole entry, in bytes.
    #[must_use]
    pub fn entry_len(&self) -> usize {
        self.head_len() + self.rows.iter().map(|row| self.len_of(row)).sum::<usize>()
    }

    /// Where a stored slice lies with its tag, in bytes from the start of the entry.
    #[must_use]
    pub fn stored_range(&self, slice: SliceIndex) -> std::ops::Range<usize> {
        let at = usize::from(slice.0);
        let before: usize = self.rows[..at].iter().map(|row| self.len_of(row)).sum();
        let start = self.head_len() + before;
        start..start + self.len_of(&self.rows[at])
    }

    /// Length of what is stored of a slice: nothing of one that is zero, so nothing is sealed.
    fn len_of(&self, row: &SliceRow) -> usize {
        match self.seal {
            Some(_) if row.codec != SliceCodec::Zero => row.stored_len as usize + TAG_LEN,
            _ => row.stored_len as usize,
        }
    }

    fn table_end(&self) -> usize {
        ENTRY_HEADER_LEN + self.rows.len() * SLICE_ROW_LEN
    }
}

fn decode_row(row: &[u8], plain_len: usize) -> Result<SliceRow, DecodeError> {
    let codec = SliceCodec::from_code(CODEC.of(row)[0])?;
    let stored_len = STORED_LEN.u32(row);
    let fits = match codec {
        SliceCodec::Zero => stored_len == 0,
        SliceCodec::Raw => stored_len as usize == plain_len,
        SliceCodec::Zstd => (1..plain_len).contains(&(stored_len as usize)),
    };
    require(fits, "a slice has a stored length that its codec cannot have")?;
    require(SLICE_RESERVED.is_zero(row), "a slice has bits that mean nothing")?;
    Ok(SliceRow { codec, stored_len, value: VALUE.array(row) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::limits::SLICE_BYTES;

    fn head() -> EntryHead {
        let row = |codec, stored_len| SliceRow { codec, stored_len, value: [9; 32] };
        let raw = row(SliceCodec::Raw, 100);
        let rows = vec![row(SliceCodec::Zero, 0), row(SliceCodec::Zstd, 77), raw];
        let id = ChunkId::from_bytes([3; 32]);
        EntryHead::new(EntryKind::Data, id, SLICE_BYTES * 2 + 100, rows)
    }

    #[test]
    fn a_head_reads_back_and_says_where_its_slices_lie() {
        let mut bytes = Vec::new();
        head().encode_into(&mut bytes);
        assert_eq!(EntryHead::decode(&bytes), Ok(head()));
        assert_eq!(bytes.len(), head().head_len());
        assert_eq!(head().stored_range(SliceIndex(2)), 168 + 77..168 + 177);
        assert_eq!(head().entry_len(), 168 + 177);
    }

    #[test]
    fn lengths_that_contradict_each_other_are_refused() {
        let mut bytes = Vec::new();
        head().encode_into(&mut bytes);
        for (at, value) in [(8, 3), (9, 2), (10, 1), (14, 0xff), (48, 3), (52, 1), (88, 2)] {
            let mut bad = bytes.clone();
            bad[at] = value;
            let unchanged = bad == bytes;
            assert!(unchanged || EntryHead::decode(&bad).is_err(), "byte {at}");
        }
        assert!((0..bytes.len()).all(|len| EntryHead::decode(&bytes[..len]).is_err()));
    }
}
