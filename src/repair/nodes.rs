//! Map nodes that have lost one of their copies, and chunks that have lost all.

use std::collections::HashSet;

use crate::base::id::{ChunkId, PackId};
use crate::error::Result;
use crate::format::entry::EntryKind;
use crate::format::location::Location;
use crate::format::pack::TableRow;
use crate::index::lookup::Index;
use crate::pack;
use crate::repair::salvage::Writers;
use crate::repo::{MAP_COPIES, Repository};
use crate::scrub::{EntryProof, Finding, Named, Survey};

/// Calls `each` with every chunk of the index and its copies. Damaged pages are passed over.
fn each_chunk(
    index: &Index,
    mut each: impl FnMut(ChunkId, &[Location]) -> Result<()>,
) -> Result<()> {
    let mut copies: Vec<Location> = Vec::new();
    let mut last = None;
    for (chunk, location) in index.entries().filter_map(Result::ok) {
        if let Some(before) = last.replace(chunk)
            && before != chunk
        {
            each(before, &copies)?;
            copies.clear();
        }
        copies.push(location);
    }
    last.map_or(Ok(()), |chunk| each(chunk, &copies))
}

/// Whether a chunk is a map node that is in fewer packs than it should be.
fn lacks_a_copy(copies: &[Location]) -> bool {
    let is_node = copies.iter().any(|copy| copy.kind == EntryKind::MapNode);
    let packs: HashSet<PackId> = copies.iter().map(|copy| copy.pack).collect();
    is_node && packs.len() < usize::from(MAP_COPIES)
}

/// Chunks of which no copy can be read, and how many map nodes need another copy.
pub(super) fn take_stock(survey: &Survey<'_>) -> Result<(Named<Finding>, u64)> {
    let (mut lost, mut nodes) = (Named::default(), 0);
    each_chunk(survey.index(), |chunk, locations| {
        let copies = survey.copies(chunk, locations);
        match (copies.sound.is_empty() && copies.endangered.is_empty(), copies.bad.first()) {
            (true, Some(location)) => lost.push(Survey::lost(chunk, location)),
            // One of those that are endangered will be sound.
            _ => {
                let mut sound = copies.sound;
                if sound.is_empty() {
                    sound.extend(copies.endangered.first());
                }
                nodes += u64::from(lacks_a_copy(&sound));
            }
        }
        Ok(())
    })?;
    Ok((lost, nodes))
}

/// Stores map nodes once more that are in too few packs. How many these were.
pub(super) fn copy_nodes(repo: &Repository) -> Result<u64> {
    let store = &**repo.store();
    let index = Index::load(store, repo.sealing(), repo.monitor())?;
    let (mut proof, mut entry) = (EntryProof::new(repo.sealing())?, Vec::new());
    let mut writers = None;
    let mut nodes = 0;
    each_chunk(&index, |chunk, copies| {
        let Some(first) = copies.first().filter(|_| lacks_a_copy(copies)) else { return Ok(()) };
        let Location { entry_len, plain_len, kind, .. } = *first;
        pack::read_entry(store, first, &mut entry)?;
        let row = TableRow { chunk, offset: 0, entry_len, plain_len, kind };
        if proof.is_good(&row, &entry) {
            let writers = match &mut writers {
                Some(writers) => writers,
                none => none.insert(Writers::start(repo)?),
            };
            writers.append(&row, &entry)?;
            nodes += 1;
        }
        Ok(())
    })?;
    writers.map_or(Ok(()), Writers::finish)?;
    Ok(nodes)
}
