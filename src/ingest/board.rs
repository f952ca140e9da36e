//! Which chunks are under way, and what is known of those that are done.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::base::id::ChunkId;
use crate::base::sync::lock;
use crate::base::units::{ChunkGrid, ChunkIndex};
use crate::diskmap::{MapBuilder, NodeSink};
use crate::error::{Error, Result};

/// What a finished chunk was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// All zero.
    Zero,
    /// The repository held it already.
    Duplicate(ChunkId),
    /// It is new.
    New(ChunkId),
}

/// Bytes by what became of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct DiskCounts {
    /// Bytes read from the source.
    pub read_bytes: u64,
    /// Bytes in chunks that are all zero.
    pub zero_bytes: u64,
    /// Bytes in chunks that the repository held already.
    pub duplicate_bytes: u64,
    /// Bytes in new chunks.
    pub new_plain_bytes: u64,
}

impl DiskCounts {
    /// Adds the counts of another disk.
    pub(super) fn add(&mut self, other: &Self) {
        self.read_bytes += other.read_bytes;
        self.zero_bytes += other.zero_bytes;
        self.duplicate_bytes += other.duplicate_bytes;
        self.new_plain_bytes += other.new_plain_bytes;
    }
}

/// Shared by the workers on one disk.
#[derive(Default)]
pub(super) struct Board {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    begun: u64,
    under_way: BTreeSet<u64>,
    map: MapBuilder,
    counts: DiskCounts,
    failure: Option<Error>,
}

impl Board {
    /// Notes that a chunk is under way. Chunks begin in order.
    pub(super) fn begin(&self, index: ChunkIndex) {
        let mut state = self.state();
        state.under_way.insert(index.0);
        state.begun = index.0 + 1;
    }

    /// Notes chunks that are known to be zero without a look.
    pub(super) fn skip_zero(&self, bytes: u64) {
        self.state().counts.zero_bytes += bytes;
    }

    /// Notes what a chunk of `len` bytes was, of which `read_bytes` were read from the source, and
    /// stores map nodes that are complete by that.
    pub(super) fn complete(
        &self,
        index: ChunkIndex,
        len: u64,
        read_bytes: u64,
        outcome: Outcome,
        sink: &dyn NodeSink,
    ) -> Result<()> {
        let mut state = self.state();
        state.counts.read_bytes += read_bytes;
        match outcome {
            Outcome::Zero => state.counts.zero_bytes += len,
            Outcome::Duplicate(chunk) => {
                state.counts.duplicate_bytes += len;
                state.map.set(index, chunk);
            }
            Outcome::New(chunk) => {
                state.counts.new_plain_bytes += len;
                state.map.set(index, chunk);
            }
        }
        state.under_way.remove(&index.0);
        let settled = state.under_way.first().copied().unwrap_or(state.begun);
        state.map.settle(ChunkIndex(settled), sink)
    }

    /// Keeps the first failure; all workers end when they see that there is one.
    pub(super) fn fail(&self, error: Error) {
        self.state().failure.get_or_insert(error);
    }

    pub(super) fn has_failed(&self) -> bool {
        self.state().failure.is_some()
    }

    /// The root of the map and the counts, or the first failure.
    pub(super) fn finish(
        self,
        grid: ChunkGrid,
        sink: &dyn NodeSink,
    ) -> Result<(ChunkId, DiskCounts)> {
        let state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        match state.failure {
            Some(error) => Err(error),
            None => Ok((state.map.finish(grid, sink)?, state.counts)),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}
