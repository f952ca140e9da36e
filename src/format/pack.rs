//! A pack: header, entries, a table of the entries, and a footer that finds the table.
//!
//! `docs/format/pack.md` is the page; a test compares its tables with the `*_FIELDS` here.

use crate::base::hash::StreamHasher;
use crate::base::id::{ChunkId, RepoId};
use crate::base::limits::{CHUNK_BYTES, PACK_BYTES_MAX};
use crate::format::codec::{DecodeError, Field, require};
use crate::format::entry::{ENTRY_HEADER_LEN, ENTRY_LEN_MAX, EntryKind};
use crate::format::epoch::KeyEpoch;
use crate::format::sealed::TAG_LEN;

const PACK_MAGIC: &[u8; 8] = b"bspack\x1a\n";
const FOOTER_MAGIC: &[u8; 8] = b"bspkend\n";
const VERSION_WRITTEN: u16 = 1;

const MAGIC: Field = Field::new("magic", 0, 8);
const VERSION: Field = Field::new("version", 8, 2);
const KIND: Field = Field::new("kind", 10, 1);
const RESERVED: Field = Field::new("reserved", 11, 1);
const EPOCH: Field = Field::new("epoch", 12, 4);
const REPO: Field = Field::new("repo", 16, 16);
const SALT: Field = Field::new("salt", 32, 32);

/// Length of a pack's header, in bytes.
pub const PACK_HEADER_LEN: usize = SALT.end();
/// The layout of the header, in order.
pub const HEADER_FIELDS: &[Field] = &[MAGIC, VERSION, KIND, RESERVED, EPOCH, REPO, SALT];

const ROW_CHUNK_ID: Field = Field::new("chunk_id", 0, 32);
const ROW_OFFSET: Field = Field::new("offset", 32, 4);
const ROW_ENTRY_LEN: Field = Field::new("entry_len", 36, 4);
const ROW_PLAIN_LEN: Field = Field::new("plain_len", 40, 4);
const ROW_KIND: Field = Field::new("kind", 44, 1);
const ROW_RESERVED: Field = Field::new("reserved", 45, 3);

/// Length of a row of the entry table, in bytes.
pub const TABLE_ROW_LEN: usize = ROW_RESERVED.end();
/// The layout of a row of the entry table, in order.
pub const TABLE_FIELDS: &[Field] =
    &[ROW_CHUNK_ID, ROW_OFFSET, ROW_ENTRY_LEN, ROW_PLAIN_LEN, ROW_KIND, ROW_RESERVED];

const FOOTER_MAGIC_AT: Field = Field::new("magic", 0, 8);
const TABLE_OFFSET: Field = Field::new("table_offset", 8, 4);
const ENTRY_COUNT: Field = Field::new("entry_count", 12, 4);
const CHECKSUM: Field = Field::new("checksum", 16, 32);

/// Length of a pack's footer, in bytes. It is the last thing in a pack.
pub const PACK_FOOTER_LEN: usize = CHECKSUM.end();
/// The layout of the footer, in order.
pub const FOOTER_FIELDS: &[Field] = &[FOOTER_MAGIC_AT, TABLE_OFFSET, ENTRY_COUNT, CHECKSUM];

/// The header of a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackHeader {
    /// What all entries of the pack hold.
    pub kind: EntryKind,
    /// Whose keys sealed the table of the pack; none in a plain repository.
    pub epoch: Option<KeyEpoch>,
    /// The repository that the pack was written for.
    pub repo: RepoId,
    /// Random bytes, so that no two packs ever have the same name.
    pub salt: [u8; 32],
}

impl PackHeader {
    /// The bytes of the header.
    #[must_use]
    pub fn encode(&self) -> [u8; PACK_HEADER_LEN] {
        let mut out = [0; PACK_HEADER_LEN];
        MAGIC.put(&mut out, PACK_MAGIC);
        VERSION.put(&mut out, &VERSION_WRITTEN.to_le_bytes());
        KIND.put(&mut out, &[self.kind.code()]);
        EPOCH.put(&mut out, &KeyEpoch::encode(self.epoch));
        REPO.put(&mut out, self.repo.as_bytes());
        SALT.put(&mut out, &self.salt);
        out
    }

    /// Reads the header at the beginning of `bytes`.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        require(bytes.len() >= PACK_HEADER_LEN, "the pack is cut short")?;
        require(MAGIC.of(bytes) == PACK_MAGIC, "the pack does not begin like one")?;
        let version = VERSION.u16(bytes);
        if version != VERSION_WRITTEN {
            let what = format!("the pack has format version {version}, newer than this release");
            return Err(DecodeError::newer(what));
        }
        require(RESERVED.is_zero(bytes), "the pack's header has bits that mean nothing")?;
        Ok(Self {
            kind: EntryKind::from_code(KIND.of(bytes)[0])?,
            epoch: KeyEpoch::from_number(EPOCH.u32(bytes)),
            repo: RepoId::from_bytes(REPO.array(bytes)),
            salt: SALT.array(bytes),
        })
    }
}

/// Where an entry lies in its pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableRow {
    /// The id of what the entry holds.
    pub chunk: ChunkId,
    /// First byte of the entry, from the start of the pack.
    pub offset: u32,
    /// Length of the whole entry, in bytes.
    pub entry_len: u32,
    /// Length of the plain bytes.
    pub plain_len: u32,
    /// What the entry holds.
    pub kind: EntryKind,
}

impl TableRow {
    fn encode(&self) -> [u8; TABLE_ROW_LEN] {
        let mut out = [0; TABLE_ROW_LEN];
        ROW_CHUNK_ID.put(&mut out, self.chunk.as_bytes());
        ROW_OFFSET.put(&mut out, &self.offset.to_le_bytes());
        ROW_ENTRY_LEN.put(&mut out, &self.entry_len.to_le_bytes());
        ROW_PLAIN_LEN.put(&mut out, &self.plain_len.to_le_bytes());
        ROW_KIND.put(&mut out, &[self.kind.code()]);
        out
    }

    fn decode(bytes: &[u8], table_offset: u32) -> Result<Self, DecodeError> {
        let row = Self {
            chunk: ChunkId::from_bytes(ROW_CHUNK_ID.array(bytes)),
            offset: ROW_OFFSET.u32(bytes),
            entry_len: ROW_ENTRY_LEN.u32(bytes),
            plain_len: ROW_PLAIN_LEN.u32(bytes),
            kind: EntryKind::from_code(ROW_KIND.of(bytes)[0])?,
        };
        let end = u64::from(row.offset) + u64::from(row.entry_len);
        let fits = row.offset as usize >= PACK_HEADER_LEN
            && end <= u64::from(table_offset)
            && is_entry_len(row.entry_len)
            && is_plain_len(row.plain_len);
        require(fits, "an entry of the pack's table lies outside of the pack")?;
        require(ROW_RESERVED.is_zero(bytes), "the pack's table has bits that mean nothing")?;
        Ok(row)
    }
}

/// Whether an entry can have this length.
#[must_use]
pub fn is_entry_len(entry_len: u32) -> bool {
    (ENTRY_HEADER_LEN..=ENTRY_LEN_MAX).contains(&(entry_len as usize))
}

/// Whether a chunk or map node can have this length.
#[must_use]
pub fn is_plain_len(plain_len: u32) -> bool {
    (1..=CHUNK_BYTES).contains(&(plain_len as usize))
}

/// The footer of a pack: enough to find and check its entry table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackFooter {
    header: PackHeader,
    table_offset: u32,
    table_len: usize,
    entry_count: u32,
    checksum: [u8; 32],
}

/// The table of a pack, before it is sealed.
#[must_use]
pub fn encode_table(rows: &[TableRow]) -> Vec<u8> {
    rows.iter().flat_map(TableRow::encode).collect()
}

/// The footer of a pack whose entries end at `table_offset`, where `table` follows, sealed if the
/// header says so.
#[must_use]
pub fn encode_footer(
    header: &PackHeader,
    table_offset: u32,
    entry_count: u32,
    table: &[u8],
) -> [u8; PACK_FOOTER_LEN] {
    let checksum = checksum(header, table_offset, entry_count, table);
    let mut footer = [0; PACK_FOOTER_LEN];
    FOOTER_MAGIC_AT.put(&mut footer, FOOTER_MAGIC);
    TABLE_OFFSET.put(&mut footer, &table_offset.to_le_bytes());
    ENTRY_COUNT.put(&mut footer, &entry_count.to_le_bytes());
    CHECKSUM.put(&mut footer, &checksum);
    footer
}

impl PackFooter {
    /// Reads the footer: the last [`PACK_FOOTER_LEN`] bytes of a pack of `pack_len` bytes.
    pub fn decode(bytes: &[u8], pack_len: u64, header: &PackHeader) -> Result<Self, DecodeError> {
        require(bytes.len() == PACK_FOOTER_LEN, "the pack is cut short")?;
        require(FOOTER_MAGIC_AT.of(bytes) == FOOTER_MAGIC, "the pack does not end like one")?;
        let mut footer = Self {
            header: *header,
            table_offset: TABLE_OFFSET.u32(bytes),
            table_len: 0,
            entry_count: ENTRY_COUNT.u32(bytes),
            checksum: CHECKSUM.array(bytes),
        };
        let tag_len = if header.epoch.is_some() { TAG_LEN as u64 } else { 0 };
        let table_len = u64::from(footer.entry_count) * TABLE_ROW_LEN as u64 + tag_len;
        let end = u64::from(footer.table_offset) + table_len + PACK_FOOTER_LEN as u64;
        require(
            end == pack_len && pack_len <= PACK_BYTES_MAX as u64,
            "the pack's footer does not agree with its length",
        )?;
        require(footer.table_offset as usize >= PACK_HEADER_LEN, "the pack's table is misplaced")?;
        // Not above the length of a pack.
        footer.table_len = table_len as usize;
        Ok(footer)
    }

    /// The header that goes with it.
    #[must_use]
    pub fn header(&self) -> &PackHeader {
        &self.header
    }

    /// Number of entries.
    #[must_use]
    pub fn entry_count(&self) -> u32 {
        self.entry_count
    }

    /// Where the table lies, in bytes from the start of the pack.
    #[must_use]
    pub fn table_range(&self) -> std::ops::Range<usize> {
        let start = self.table_offset as usize;
        start..start + self.table_len
    }

    /// Fails unless these are the bytes of the table as it is stored, sealed or not.
    pub fn check_table(&self, table: &[u8]) -> Result<(), DecodeError> {
        require(table.len() == self.table_len, "the pack's table is cut short")?;
        let sum = checksum(&self.header, self.table_offset, self.entry_count, table);
        require(sum == self.checksum, "the checksum of the pack's table does not match")
    }

    /// Reads the table, which was checked and, if it was sealed, opened.
    pub fn decode_table(&self, table: &[u8]) -> Result<Vec<TableRow>, DecodeError> {
        let expected = self.entry_count as usize * TABLE_ROW_LEN;
        require(table.len() == expected, "the pack's table is cut short")?;
        let rows = table.chunks_exact(TABLE_ROW_LEN);
        let rows = rows.map(|row| {
            let row = TableRow::decode(row, self.table_offset)?;
            require(row.kind == self.header.kind, "an entry is of another kind than its pack")?;
            Ok(row)
        });
        rows.collect()
    }
}

fn checksum(header: &PackHeader, table_offset: u32, entry_count: u32, table: &[u8]) -> [u8; 32] {
    let mut hasher = StreamHasher::default();
    hasher.update(&header.encode());
    hasher.update(table);
    hasher.update(&table_offset.to_le_bytes());
    hasher.update(&entry_count.to_le_bytes());
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> (PackHeader, Vec<TableRow>) {
        let repo = RepoId::from_bytes([1; 16]);
        let header = PackHeader { kind: EntryKind::Data, epoch: None, repo, salt: [2; 32] };
        let row = |n: u32| TableRow {
            chunk: ChunkId::from_bytes([n as u8; 32]),
            offset: PACK_HEADER_LEN as u32 + n * 1000,
            entry_len: 1000,
            plain_len: 5000,
            kind: EntryKind::Data,
        };
        (header, vec![row(0), row(1)])
    }

    fn trailer(header: &PackHeader, table_offset: u32, rows: &[TableRow]) -> Vec<u8> {
        let mut out = encode_table(rows);
        let footer = encode_footer(header, table_offset, rows.len() as u32, &out);
        out.extend_from_slice(&footer);
        out
    }

    #[test]
    fn every_flipped_bit_of_header_table_and_footer_is_refused() {
        let (header, rows) = sample();
        let table_offset = PACK_HEADER_LEN as u32 + 2000;
        let mut good = header.encode().to_vec();
        good.extend(trailer(&header, table_offset, &rows));
        let read = |bytes: &[u8]| {
            let header = PackHeader::decode(bytes)?;
            let (table, footer) = bytes.split_at(bytes.len() - PACK_FOOTER_LEN);
            let footer = PackFooter::decode(footer, bytes.len() as u64 + 2000, &header)?;
            footer.check_table(&table[PACK_HEADER_LEN..])?;
            footer.decode_table(&table[PACK_HEADER_LEN..])
        };
        assert_eq!(read(&good), Ok(rows));
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(read(&bad).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_pack_of_one_kind_lists_no_entry_of_another() {
        let (header, mut rows) = sample();
        rows[1].kind = EntryKind::MapNode;
        let table_offset = PACK_HEADER_LEN as u32 + 2000;
        let trailer = trailer(&header, table_offset, &rows);
        let (table, footer) = trailer.split_at(trailer.len() - PACK_FOOTER_LEN);
        let pack_len = u64::from(table_offset) + trailer.len() as u64;
        let footer = PackFooter::decode(footer, pack_len, &header).unwrap();
        assert!(footer.decode_table(table).is_err());
    }
}
