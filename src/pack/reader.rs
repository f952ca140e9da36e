//! Reads packs: one entry, one stored slice, or all that a pack holds.

use crate::base::id::{ChunkId, PackId};
use crate::base::limits::PACK_BYTES_MAX;
use crate::base::units::SliceIndex;
use crate::crypto::Sealing;
use crate::error::{Error, ErrorKind, Result};
use crate::format::codec::DecodeError;
use crate::format::entry::{ENTRY_HEAD_LEN_MAX, EntryHead};
use crate::format::layout::ObjectName;
use crate::format::location::Location;
use crate::format::pack::{PACK_FOOTER_LEN, PACK_HEADER_LEN, PackFooter, PackHeader, TableRow};
use crate::store::Store;

/// Where a read fails, bytes that are tried by themselves, so that a bad sector takes little with
/// it.
const RETRY_BYTES: usize = 64 << 10;

/// Reads the whole entry at `location` into `buffer`. What it holds is not verified.
pub fn read_entry(store: &dyn Store, location: &Location, buffer: &mut Vec<u8>) -> Result<()> {
    buffer.resize(location.entry_len as usize, 0);
    store.read_exact_at(&ObjectName::pack(location.pack), u64::from(location.offset), buffer)
}

/// Reads the head of the entry of `chunk` at `location`.
pub fn read_head(
    store: &dyn Store,
    sealing: &Sealing,
    chunk: ChunkId,
    location: &Location,
) -> Result<EntryHead> {
    let name = ObjectName::pack(location.pack);
    let mut head = [0; ENTRY_HEAD_LEN_MAX];
    let head = &mut head[..ENTRY_HEAD_LEN_MAX.min(location.entry_len as usize)];
    store.read_exact_at(&name, u64::from(location.offset), head)?;
    let place = |error: Error| error.at_byte(location.offset.into()).chunk(chunk);
    let head = sealing.open_head(head).map_err(|error| place(error.in_object(&name)))?;
    if head.chunk() != chunk || head.entry_len() != location.entry_len as usize {
        let what = "the entry is not the one that the index names";
        return Err(place(Error::corrupt(what).at(name.to_string())));
    }
    Ok(head)
}

/// Reads the stored bytes of one slice of the entry at `location`, whose head is `head`, into
/// `buffer`.
pub fn read_stored(
    store: &dyn Store,
    location: &Location,
    head: &EntryHead,
    slice: SliceIndex,
    buffer: &mut Vec<u8>,
) -> Result<()> {
    if usize::from(slice.0) >= head.rows().len() {
        let what = "the entry is too short for the slice";
        return Err(Error::corrupt(what).at(ObjectName::pack(location.pack).to_string()));
    }
    let range = head.stored_range(slice);
    buffer.resize(range.len(), 0);
    let offset = u64::from(location.offset) + range.start as u64;
    store.read_exact_at(&ObjectName::pack(location.pack), offset, buffer)
}

/// What a pack says that it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackContents {
    /// The pack.
    pub pack: PackId,
    /// Its header.
    pub header: PackHeader,
    /// Its entries, in the order of their offsets.
    pub rows: Vec<TableRow>,
}

/// Reads header and entry table of a pack.
pub fn read_pack(store: &dyn Store, sealing: &Sealing, pack: PackId) -> Result<PackContents> {
    let name = ObjectName::pack(pack);
    let pack_len = store.len_bytes(&name)?;
    if !((PACK_HEADER_LEN + PACK_FOOTER_LEN) as u64..=PACK_BYTES_MAX as u64).contains(&pack_len) {
        return Err(Error::corrupt("the pack has a length that no pack has").at(name.to_string()));
    }
    let mut header = [0; PACK_HEADER_LEN];
    store.read_exact_at(&name, 0, &mut header)?;
    let mut footer = [0; PACK_FOOTER_LEN];
    store.read_exact_at(&name, pack_len - PACK_FOOTER_LEN as u64, &mut footer)?;
    let place = |error: DecodeError| error.in_object(&name);
    let header = PackHeader::decode(&header).map_err(place)?;
    let footer = PackFooter::decode(&footer, pack_len, &header).map_err(place)?;
    let range = footer.table_range();
    let mut table = vec![0; range.len()];
    store.read_exact_at(&name, range.start as u64, &mut table)?;
    let rows = sealing.open_table(&footer, &table).map_err(place)?;
    Ok(PackContents { pack, header, rows })
}

/// Reads a part of a pack, however much of it can be read: the rest is zero in `out`, and the first
/// reason is given back. Fails only for reasons that are none of the medium's.
pub fn read_what_can_be(
    store: &dyn Store,
    name: &ObjectName,
    offset_bytes: u64,
    out: &mut [u8],
) -> Result<Option<Error>> {
    if damage(store.read_exact_at(name, offset_bytes, out))?.is_none() {
        return Ok(None);
    }
    let mut first = None;
    for (number, part) in out.chunks_mut(RETRY_BYTES).enumerate() {
        let at = offset_bytes + (number * RETRY_BYTES) as u64;
        if let Some(error) = damage(store.read_exact_at(name, at, part))? {
            part.fill(0);
            first.get_or_insert(error);
        }
    }
    Ok(first)
}

fn damage(read: Result<()>) -> Result<Option<Error>> {
    match read {
        Ok(()) => Ok(None),
        Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Io) => Ok(Some(error)),
        Err(error) => Err(error),
    }
}

/// What the bytes of a whole pack say that it holds.
pub fn parse_pack(sealing: &Sealing, pack: PackId, bytes: &[u8]) -> Result<PackContents> {
    let place = |error: DecodeError| error.in_object(ObjectName::pack(pack));
    let header = PackHeader::decode(bytes).map_err(place)?;
    let (_, footer) = bytes.split_at(bytes.len().saturating_sub(PACK_FOOTER_LEN));
    let footer = PackFooter::decode(footer, bytes.len() as u64, &header).map_err(place)?;
    let table = bytes.get(footer.table_range()).unwrap_or_default();
    let rows = sealing.open_table(&footer, table).map_err(place)?;
    Ok(PackContents { pack, header, rows })
}

/// Finds entries in the bytes of a pack whose table is gone, by how they begin.
///
/// What is found looks like entries and lies within `bytes`; only decoding proves them.
#[must_use]
pub fn scan_entries(sealing: &Sealing, bytes: &[u8]) -> Vec<TableRow> {
    let mut rows = Vec::new();
    let mut at = PACK_HEADER_LEN;
    while let Some(offset) = sealing.find_entry(bytes, at) {
        let head = sealing.open_head(&bytes[offset..]).ok();
        let head = head.filter(|head| offset + head.entry_len() <= bytes.len());
        at = offset + 1;
        let Some(head) = head else { continue };
        let end = offset + head.entry_len();
        rows.push(TableRow {
            chunk: head.chunk(),
            offset: offset as u32,
            entry_len: head.entry_len() as u32,
            plain_len: head.plain_len() as u32,
            kind: head.kind(),
        });
        // A length that leads to no other entry may be damaged, and must not hide those between.
        if sealing.begins_entry(&bytes[end..]) {
            at = end;
        }
    }
    rows
}
