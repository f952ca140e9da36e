//! Lookups in the whole index, by one thread.

use std::time::Instant;

use backstop::base::id::ChunkId;
use backstop::error::Result;
use backstop::index::lookup::Index;
use backstop::store::testing::SeededChance;

use crate::process::{major_faults, tell};
use crate::synthetic::Numbers;
use crate::synthetic::ids::Ids;

const WARM: usize = 1_000_000;
const COLD: usize = 2_000;
/// As many as a node of a disk map names.
const BATCH: usize = 256;
/// The fastest of so many, each with ids of its own draw.
const RUNS: usize = 3;

/// Draws ids that the index has, or has not.
pub(crate) struct Draw {
    numbers: Numbers,
    ids: Ids,
    chance: SeededChance,
}

impl Draw {
    pub(crate) fn new(numbers: Numbers) -> Self {
        let seed = u64::from(std::process::id());
        Self { numbers, ids: Ids::new(numbers.chunks), chance: SeededChance::new(seed) }
    }

    pub(crate) fn hits(&self, count: usize) -> Vec<ChunkId> {
        self.draw(count, 0)
    }

    pub(crate) fn misses(&self, count: usize) -> Vec<ChunkId> {
        self.draw(count, self.numbers.chunks)
    }

    fn draw(&self, count: usize, from: u64) -> Vec<ChunkId> {
        let below = self.numbers.chunks as usize;
        (0..count).map(|_| self.ids.id(from + self.chance.below(below) as u64)).collect()
    }
}

/// Millions of lookups per second, once all pages are there and were checked.
pub(crate) fn warm(index: &Index, numbers: Numbers) -> Result<()> {
    read_all(index)?;
    let draw = Draw::new(numbers);
    let sorted = |mut ids: Vec<ChunkId>| {
        ids.sort_unstable();
        ids
    };
    tell("hits", rate(|| draw.hits(WARM), |ids| first_copies(index, ids))?);
    tell("known", rate(|| draw.hits(WARM), |ids| known(index, ids))?);
    tell("misses", rate(|| draw.misses(WARM), |ids| first_copies(index, ids))?);
    tell("sorted hits", rate(|| sorted(draw.hits(WARM)), |ids| first_copies(index, ids))?);
    tell("batched hits", rate(|| draw.hits(WARM), |ids| in_batches(index, ids))?);
    let (hits, misses) = (|| sorted(draw.hits(WARM)), || sorted(draw.misses(WARM)));
    tell("sorted batched hits", rate(hits, |ids| in_batches(index, ids))?);
    tell("sorted batched misses", rate(misses, |ids| in_batches(index, ids))?);
    tell("sorted batched known", rate(hits, |ids| known_in_batches(index, ids))?);
    tell("marked hits", rate(hits, |ids| marked(index, ids))?);
    tell("marked misses", rate(misses, |ids| marked(index, ids))?);
    Ok(())
}

/// Has all pages come to memory, checked.
pub(crate) fn read_all(index: &Index) -> Result<()> {
    let mut entries = index.segments().iter().flat_map(|segment| segment.entries());
    entries.try_for_each(|entry| entry.map(drop))
}

/// How many of `ids` have a copy, in batches.
fn in_batches(index: &Index, ids: &[ChunkId]) -> Result<usize> {
    let mut count = 0;
    for batch in ids.chunks(BATCH) {
        index.find_copies(batch, |_, _| {
            count += 1;
            true
        })?;
    }
    Ok(count)
}

/// How many of `ids` are there, wherever.
fn known(index: &Index, ids: &[ChunkId]) -> Result<usize> {
    let mut count = 0;
    for id in ids {
        count += usize::from(index.contains(*id)?);
    }
    Ok(count)
}

/// The same in batches, as a backup asks for what it inherits.
fn known_in_batches(index: &Index, ids: &[ChunkId]) -> Result<usize> {
    let mut count = 0;
    ids.chunks(BATCH).try_for_each(|batch| index.contains_each(batch, |_| count += 1))?;
    Ok(count)
}

/// How many of `ids`, of which all or none are there, are there; in batches, as a prune marks.
fn marked(index: &Index, ids: &[ChunkId]) -> Result<usize> {
    let mut marks = index.no_marks();
    let mut count = 0;
    for batch in ids.chunks(BATCH) {
        count += match index.mark_all(batch, &mut marks)? {
            None => batch.len(),
            Some(_) => 0,
        };
    }
    Ok(count)
}

/// The best rate, in millions per second. `look_up` finds all ids or none.
pub(crate) fn rate(
    draw: impl Fn() -> Vec<ChunkId>,
    look_up: impl Fn(&[ChunkId]) -> Result<usize>,
) -> Result<f64> {
    let mut best = 0f64;
    for _ in 0..RUNS {
        let ids = draw();
        let began = Instant::now();
        let copies = look_up(&ids)?;
        best = best.max(ids.len() as f64 / began.elapsed().as_secs_f64() / 1e6);
        assert!(copies == 0 || copies == ids.len(), "{copies} copies of {} chunks", ids.len());
    }
    Ok(best)
}

/// Lookups in an index of which nothing is in memory: thousands per second, and page faults that
/// waited for the medium for each.
fn cold(ids: &[ChunkId], look_up: impl Fn(&[ChunkId]) -> Result<usize>) -> Result<()> {
    let faults = major_faults();
    let began = Instant::now();
    let copies = look_up(ids)?;
    let seconds = began.elapsed().as_secs_f64();
    assert!(copies == 0 || copies == ids.len());
    tell("faults", (major_faults() - faults) as f64 / ids.len() as f64);
    tell("rate", ids.len() as f64 / seconds / 1e3);
    Ok(())
}

pub(crate) fn cold_hits(index: &Index, numbers: Numbers) -> Result<()> {
    cold(&Draw::new(numbers).hits(COLD), |ids| first_copies(index, ids))
}

pub(crate) fn cold_misses(index: &Index, numbers: Numbers) -> Result<()> {
    cold(&Draw::new(numbers).misses(COLD), |ids| first_copies(index, ids))
}

/// How many of `ids` have a copy, as reads ask.
fn first_copies(index: &Index, ids: &[ChunkId]) -> Result<usize> {
    let mut count = 0;
    for id in ids {
        count += usize::from(index.find_copy(*id, |copy| Some(*copy))?.is_some());
    }
    Ok(count)
}

pub(crate) fn cold_batches(index: &Index, numbers: Numbers) -> Result<()> {
    cold(&Draw::new(numbers).hits(COLD), |ids| known_in_batches(index, ids))
}

pub(crate) fn cold_marks(index: &Index, numbers: Numbers) -> Result<()> {
    cold(&Draw::new(numbers).hits(COLD), |ids| marked(index, ids))
}
