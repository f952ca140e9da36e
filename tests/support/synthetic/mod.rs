//! Repositories that are large in numbers and small in bytes, to measure with.
//!
//! Index segments, disk maps and commits are as the library encodes them, so nothing can tell; but
//! chunks exist as entries of the index only. Of every disk the first chunk is stored. Packs of the
//! others are left out, or are files of the right length without content.

#![allow(dead_code, reason = "each program uses its own part of this module")]

pub(crate) mod ids;
pub(crate) mod index;
pub(crate) mod points;

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use backstop::error::Result;
use backstop::repo::{Environment, Repository, gather_commits};
use backstop::store::{DirStore, Store};

use ids::Ids;
use index::{make_packs, write_segment};

/// Segments beside the large one, each with a 32nd of the chunks: as merges leave an index.
const SMALL_SEGMENTS: u64 = 4;

/// How large a repository is to be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Numbers {
    /// Chunks in the index; map nodes come on top.
    pub(crate) chunks: u64,
    /// Restore points, of which each VM has the same number.
    pub(crate) points: u64,
    /// VMs, with one disk each.
    pub(crate) vms: u64,
    /// Whether the packs of the chunks are files.
    pub(crate) has_packs: bool,
}

/// Makes a repository in `root`, which must not exist. What is in it follows from `numbers`.
///
/// Memory: the tables of the largest segment, 2 bytes for each of its chunks.
pub(crate) fn make(root: &Path, numbers: Numbers) -> Result<Repository> {
    let store: Arc<dyn Store> = Arc::new(DirStore::create(root)?);
    let repo = Repository::create(Arc::clone(&store), Environment::default())?;
    let ids = Ids::new(numbers.chunks);
    for chunks in segments(numbers.chunks) {
        if numbers.has_packs {
            make_packs(root, chunks.clone());
        }
        write_segment(&*store, repo.sealing(), ids, chunks)?;
    }
    points::write(&repo, root, numbers, ids)?;
    gather_commits(&repo)?;
    Ok(repo)
}

/// The chunks of each segment, by number. No two segments share a pack.
fn segments(chunks: u64) -> Vec<Range<u64>> {
    let small = chunks / 32 / index::ENTRIES_PER_PACK * index::ENTRIES_PER_PACK;
    let mut segments: Vec<_> = (0..SMALL_SEGMENTS).map(|n| n * small..(n + 1) * small).collect();
    segments.push(SMALL_SEGMENTS * small..chunks);
    segments.retain(|chunks| !chunks.is_empty());
    segments
}
