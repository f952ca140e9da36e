//! A list of entries to a segment.

use crate::base::id::{ChunkId, PackId, SegmentId};
use crate::crypto::Sealing;
use crate::error::Result;
use crate::format::location::Location;
use crate::format::segment::IndexEntry;
use crate::index::writer::SegmentWriter;
use crate::store::Store;

/// Publishes a segment of `entries`, in any order, and returns once it is durable; none if there
/// are no entries. An entry that comes twice is written once.
///
/// The packs must be durable before: from now on other sessions refer to them.
pub fn publish_segment(
    store: &dyn Store,
    sealing: &Sealing,
    entries: Vec<(ChunkId, Location)>,
) -> Result<Option<SegmentId>> {
    if entries.is_empty() {
        return Ok(None);
    }
    publish_replacement(store, sealing, entries, &[]).map(Some)
}

/// The same for a segment in whose place `superseded` are ignored from now on. It is published even
/// without entries.
pub fn publish_replacement(
    store: &dyn Store,
    sealing: &Sealing,
    mut entries: Vec<(ChunkId, Location)>,
    superseded: &[SegmentId],
) -> Result<SegmentId> {
    // Packs are numbered in the order of their ids, so this is the order of pack numbers, too.
    entries.sort_unstable_by_key(place);
    entries.dedup_by_key(|entry| place(entry));
    let packs = packs_of(&entries);
    let mut writer = SegmentWriter::new(store, sealing, entries.len() as u64)?;
    for (chunk, location) in &entries {
        // Every location's pack is in the list, so the number found is its own.
        let pack_number = packs.partition_point(|pack| *pack < location.pack) as u32;
        writer.push(&encoded(*chunk, location, pack_number))?;
    }
    writer.finish(&packs, superseded)
}

/// What tells one stored copy from another.
fn place((chunk, location): &(ChunkId, Location)) -> (ChunkId, PackId, u32) {
    (*chunk, location.pack, location.offset)
}

fn packs_of(entries: &[(ChunkId, Location)]) -> Vec<PackId> {
    let mut packs: Vec<_> = entries.iter().map(|(_, location)| location.pack).collect();
    packs.sort_unstable();
    packs.dedup();
    packs
}

fn encoded(chunk: ChunkId, location: &Location, pack_number: u32) -> IndexEntry {
    IndexEntry {
        chunk,
        pack_number,
        offset: location.offset,
        entry_len: location.entry_len,
        plain_len: location.plain_len,
        kind: location.kind,
    }
}
