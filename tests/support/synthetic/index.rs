//! Segments over chunks that are nowhere.

use std::fs::{self, File};
use std::ops::Range;
use std::path::Path;

use backstop::base::chance::Chance;
use backstop::base::id::{PackId, SegmentId};
use backstop::base::limits::CHUNK_BYTES;
use backstop::crypto::Sealing;
use backstop::error::Result;
use backstop::format::entry::EntryKind;
use backstop::format::layout::ObjectName;
use backstop::format::segment::IndexEntry;
use backstop::index::writer::SegmentWriter;
use backstop::store::Store;
use backstop::store::testing::SeededChance;

use super::ids::Ids;

/// Chunks of a pack: those that follow each other on a disk.
pub(crate) const ENTRIES_PER_PACK: u64 = 64;
/// Stored length of each chunk. A pack of them has 32 MB.
const ENTRY_LEN: u32 = 500_000;

/// Publishes a segment of these chunks. `chunks` begins at a multiple of [`ENTRIES_PER_PACK`].
pub(crate) fn write_segment(
    store: &dyn Store,
    sealing: &Sealing,
    ids: Ids,
    chunks: Range<u64>,
) -> Result<SegmentId> {
    let first_pack = chunks.start / ENTRIES_PER_PACK;
    let (packs, places) = pack_table(&chunks);
    let mut writer = SegmentWriter::new(store, sealing, chunks.end - chunks.start)?;
    for (chunk, number) in ids.sorted(chunks) {
        let pack = number / ENTRIES_PER_PACK - first_pack;
        writer.push(&IndexEntry {
            chunk,
            pack_number: places[pack as usize],
            offset: (number % ENTRIES_PER_PACK) as u32 * ENTRY_LEN,
            entry_len: ENTRY_LEN,
            plain_len: CHUNK_BYTES as u32,
            kind: EntryKind::Data,
        })?;
    }
    writer.finish(&packs, &[])
}

/// The packs of these chunks in the order of their ids, and of each pack its place in there.
fn pack_table(chunks: &Range<u64>) -> (Vec<PackId>, Vec<u32>) {
    let mut packs: Vec<_> = pack_numbers(chunks).map(pack).zip(0u32..).collect();
    packs.sort_unstable();
    let mut places = vec![0; packs.len()];
    packs.iter().zip(0..).for_each(|((_, number), place)| places[*number as usize] = place);
    (packs.into_iter().map(|(pack, _)| pack).collect(), places)
}

fn pack_numbers(chunks: &Range<u64>) -> Range<u64> {
    chunks.start / ENTRIES_PER_PACK..chunks.end.div_ceil(ENTRIES_PER_PACK)
}

fn pack(number: u64) -> PackId {
    let chance = SeededChance::new(u64::MAX / 2 + number);
    PackId::from_bytes((&chance as &dyn Chance).bytes())
}

/// Makes the packs of these chunks as files of the right length that are one hole.
pub(crate) fn make_packs(root: &Path, chunks: Range<u64>) {
    for number in pack_numbers(&chunks) {
        let path = root.join(ObjectName::pack(pack(number)).to_string());
        fs::create_dir_all(path.parent().expect("packs lie in directories")).expect("a directory");
        let file = File::create(path).expect("room for a pack");
        file.set_len(ENTRIES_PER_PACK * u64::from(ENTRY_LEN)).expect("room for a pack");
    }
}
