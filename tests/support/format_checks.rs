//! What must hold of every decoder, whatever the bytes: it does not panic, and what it lets through
//! encodes to the same bytes again. Used by the property tests and by the fuzz targets.

use backstop::base::clock::UtcTime;
use backstop::base::hash::StreamHasher;
use backstop::base::id::{ChunkId, PackId, RepoId, SegmentId, SessionId};
use backstop::base::units::SliceIndex;
use backstop::crypto::Sealing;
use backstop::format::catalogue::{CATALOGUE_HEADER_LEN, Catalogue, HEADER_FIELDS};
use backstop::format::codec::{DecodeError, Field};
use backstop::format::commit::Decision;
use backstop::format::config::Config;
use backstop::format::entry::{ENTRY_LEN_MAX, EntryHead};
use backstop::format::envelope::{ENVELOPE_LEN, FIELDS};
use backstop::format::journal::EngineNote;
use backstop::format::key_slot::KeySlot;
use backstop::format::layout::{Area, ObjectName};
use backstop::format::lists::{Condemned, Damaged, Forgotten, Hold};
use backstop::format::mapnode::MapNode;
use backstop::format::pack::{
    FOOTER_FIELDS, PACK_FOOTER_LEN, PACK_HEADER_LEN, PackFooter, PackHeader, TABLE_ROW_LEN,
    TableRow,
};
use backstop::format::parity::{Parity, RECOVERY_SHARDS};
use backstop::format::segment::{IndexEntry, PAGE_BODY_LEN, SegmentFooter};
use backstop::format::session::SessionRecord;

/// A check of bytes that may be anything.
pub(crate) type Check = fn(&[u8]);

/// The kinds of small objects, each with the check of its decoder.
pub(crate) const SMALL: &[(&[u8; 4], Check)] = &[
    (b"CONF", config),
    (b"SESS", session),
    (b"CMIT", decision),
    (b"FRGT", forgotten),
    (b"COND", condemned),
    (b"DMGD", damaged),
    (b"ENGN", engine_note),
    (b"HOLD", hold),
    (b"SLOT", key_slot),
];

/// The binary decoders.
pub(crate) const BINARY: &[(&str, Check)] = &[
    ("entry head", entry_head),
    ("pack", pack),
    ("map node", map_node),
    ("parity", parity),
    ("segment footer", segment_footer),
    ("index entry", index_entry),
    ("catalogue", catalogue),
];

fn config(bytes: &[u8]) {
    small(bytes, Config::decode, Config::encode);
}

fn session(bytes: &[u8]) {
    small(bytes, SessionRecord::decode, SessionRecord::encode);
}

fn decision(bytes: &[u8]) {
    small(bytes, Decision::decode, Decision::encode);
}

fn engine_note(bytes: &[u8]) {
    small(bytes, EngineNote::decode, EngineNote::encode);
}

fn forgotten(bytes: &[u8]) {
    small(bytes, Forgotten::decode, Forgotten::encode);
}

fn condemned(bytes: &[u8]) {
    small(bytes, Condemned::decode, Condemned::encode);
}

fn hold(bytes: &[u8]) {
    small(bytes, Hold::decode, Hold::encode);
}

fn key_slot(bytes: &[u8]) {
    small(bytes, KeySlot::decode, KeySlot::encode);
}

fn damaged(bytes: &[u8]) {
    small(bytes, Damaged::decode, Damaged::encode);
}

/// JSON has many spellings: what is read must be written so that it reads the same.
fn small<T: PartialEq + std::fmt::Debug>(
    bytes: &[u8],
    decode: fn(&[u8]) -> Result<T, DecodeError>,
    encode: fn(&T) -> Vec<u8>,
) {
    match decode(bytes) {
        Ok(value) => assert_eq!(decode(&encode(&value)), Ok(value)),
        Err(error) => assert!(error.to_string().len() < 2000, "a message of bounded length"),
    }
}

pub(crate) fn entry_head(bytes: &[u8]) {
    let Ok(head) = EntryHead::decode(bytes) else { return };
    let mut again = Vec::new();
    head.encode_into(&mut again);
    assert_eq!(again, bytes[..head.head_len()]);
    assert!(head.entry_len() <= ENTRY_LEN_MAX);
    let mut end = head.head_len();
    for slice in 0..head.rows().len() {
        let stored = head.stored_range(SliceIndex(slice as u8));
        assert_eq!(stored.start, end);
        end = stored.end;
    }
    assert_eq!(end, head.entry_len());
}

/// Reads header, table and footer of a whole pack.
pub(crate) fn read_pack(bytes: &[u8]) -> Option<(PackHeader, PackFooter, Vec<TableRow>)> {
    let header = PackHeader::decode(bytes).ok()?;
    assert_eq!(header.encode(), bytes[..PACK_HEADER_LEN]);
    let footer = bytes.get(bytes.len().checked_sub(PACK_FOOTER_LEN)?..)?;
    let footer = PackFooter::decode(footer, bytes.len() as u64, &header).ok()?;
    let rows =
        Sealing::plain(header.repo).open_table(&footer, &bytes[footer.table_range()]).ok()?;
    Some((header, footer, rows))
}

pub(crate) fn pack(bytes: &[u8]) {
    let Some((header, footer, rows)) = read_pack(bytes) else { return };
    let table = footer.table_range();
    let again = Sealing::plain(header.repo).encode_trailer(&header, table.start as u32, &rows);
    assert_eq!(again, bytes[table.start..]);
    for row in rows {
        assert!(row.offset as usize >= PACK_HEADER_LEN);
        assert!((row.offset + row.entry_len) as usize <= table.start);
    }
}

pub(crate) fn map_node(bytes: &[u8]) {
    let Ok(node) = MapNode::decode(bytes) else { return };
    assert_eq!(node.encode(), bytes);
    assert_eq!(node.present().count() == 0, node.is_hole());
}

pub(crate) fn parity(bytes: &[u8]) {
    let Ok(parity) = Parity::decode(bytes) else { return };
    assert_eq!(parity.encode(), bytes);
    assert_eq!(parity.recovery_shards().count(), RECOVERY_SHARDS);
}

/// Takes the bytes, cut or filled with zeros, as the body of the footer page.
pub(crate) fn segment_footer(bytes: &[u8]) {
    let body = std::array::from_fn(|i| bytes.get(i).copied().unwrap_or(0));
    let Some(len) = implied_len(&body) else { return };
    assert!(SegmentFooter::decode(&body, len + 1).is_err());
    let Ok(footer) = SegmentFooter::decode(&body, len) else { return };
    assert_eq!(footer.encode(), body);
    assert_eq!(footer.segment_len(), len);
}

/// Length of the segment with that footer, by the rule of `docs/format/index.md`.
fn implied_len(body: &[u8; PAGE_BODY_LEN]) -> Option<u64> {
    let count = |at: usize| u64::from(u32::from_le_bytes(std::array::from_fn(|i| body[at + i])));
    let fanout = 1u64.checked_shl(body[10].into())?.checked_add(1)?;
    let (entries, packs, superseded) = (count(32), count(36), count(40));
    let pages = entries.div_ceil(85) + packs.div_ceil(127) + superseded.div_ceil(127);
    (pages + fanout.div_ceil(1020) + 1).checked_mul(4096)
}

pub(crate) fn index_entry(bytes: &[u8]) {
    let Some((bytes, _)) = bytes.split_first_chunk() else { return };
    let Ok(entry) = IndexEntry::decode(bytes) else { return };
    assert_eq!(entry.encode(), *bytes);
}

pub(crate) fn catalogue(bytes: &[u8]) {
    let Ok(catalogue) = Catalogue::decode(bytes) else { return };
    assert_eq!(catalogue.encode(), bytes);
}

/// Names of objects, ids and times: what parses is spelled in no other way.
pub(crate) fn names(text: &str) {
    for area in Area::ALL {
        let Some(name) = ObjectName::listed(area, text) else { continue };
        assert_eq!((name.area(), name.leaf()), (area, text));
        let path = name.to_string();
        assert!(path.ends_with(text) && !path.contains(".."), "{path}");
        assert_eq!(name.pack_id().is_some(), area == Area::Packs);
        assert_eq!(name.segment_id().is_some(), area == Area::Index);
        let _ = name.session_id();
    }
    same_text::<ChunkId>(text);
    same_text::<PackId>(text);
    same_text::<SegmentId>(text);
    same_text::<RepoId>(text);
    same_text::<SessionId>(text);
    same_text::<UtcTime>(text);
    if let Ok(time) = UtcTime::from_rfc3339(text) {
        assert_eq!(time.rfc3339(), text);
        assert_eq!(time.to_string().parse(), Ok(time));
    }
}

fn same_text<T: std::str::FromStr + std::fmt::Display>(text: &str) {
    if let Ok(value) = text.parse::<T>() {
        assert_eq!(value.to_string(), text);
    }
}

/// Puts any payload into a right envelope, as `docs/format/envelope.md` says.
pub(crate) fn seal(kind: &[u8; 4], payload: &[u8]) -> Vec<u8> {
    let mut out = vec![0; ENVELOPE_LEN];
    put(&mut out, FIELDS, "magic", b"BACKSTOP");
    put(&mut out, FIELDS, "kind", kind);
    put(&mut out, FIELDS, "version", &1u16.to_le_bytes());
    put(&mut out, FIELDS, "payload_len", &(payload.len() as u32).to_le_bytes());
    let checksum = hash(&[&out[..20], payload]);
    put(&mut out, FIELDS, "checksum", &checksum);
    out.extend_from_slice(payload);
    out
}

/// Makes the footer of a pack right for whatever header and table stand before it.
pub(crate) fn reseal_pack(bytes: &mut [u8]) {
    let Some(footer_at) = bytes.len().checked_sub(PACK_FOOTER_LEN) else { return };
    if footer_at < PACK_HEADER_LEN {
        return;
    }
    let rows = (footer_at - PACK_HEADER_LEN) / TABLE_ROW_LEN;
    let claimed: [u8; 4] = std::array::from_fn(|i| bytes[footer_at + 12 + i]);
    let count = u32::from_le_bytes(claimed).min(rows as u32);
    let table_at = footer_at - count as usize * TABLE_ROW_LEN;
    let (place, count) = ((table_at as u32).to_le_bytes(), count.to_le_bytes());
    let header = &bytes[..PACK_HEADER_LEN];
    let checksum = hash(&[header, &bytes[table_at..footer_at], &place, &count]);
    let footer = &mut bytes[footer_at..];
    put(footer, FOOTER_FIELDS, "magic", b"bspkend\n");
    put(footer, FOOTER_FIELDS, "table_offset", &place);
    put(footer, FOOTER_FIELDS, "entry_count", &count);
    put(footer, FOOTER_FIELDS, "checksum", &checksum);
}

/// Makes the checksum of a catalogue right for whatever it is over.
pub(crate) fn reseal_catalogue(bytes: &mut [u8]) {
    if bytes.len() < CATALOGUE_HEADER_LEN {
        return;
    }
    let checksum = hash(&[&bytes[..48], &bytes[CATALOGUE_HEADER_LEN..]]);
    put(bytes, HEADER_FIELDS, "checksum", &checksum);
}

fn put(out: &mut [u8], fields: &[Field], name: &str, bytes: &[u8]) {
    let field = fields.iter().find(|field| field.name == name).expect("a field of that name");
    out[field.at..field.at + field.len].copy_from_slice(bytes);
}

fn hash(parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = StreamHasher::default();
    parts.iter().for_each(|part| hasher.update(part));
    hasher.finish()
}
