//! What is under way, what is done, and whose turn it is.

use std::collections::BTreeSet;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::base::id::ChunkId;
use crate::base::sync::lock;
use crate::base::units::{ChunkGrid, ChunkIndex};
use crate::crypto::Sealing;
use crate::diskmap::{MapBuilder, NodeSink};
use crate::error::{Error, ErrorKind, Result};
use crate::format::mapnode::MapNode;
use crate::restore::work::Piece;

/// Bytes of a disk by what was done about them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Bytes in chunks that were read, verified and written.
    pub(super) data_bytes: u64,
    /// Bytes in chunks that are all zero.
    pub(super) zero_bytes: u64,
}

/// Shared by the workers on one disk.
pub(super) struct Ledger<W> {
    state: Mutex<State<W>>,
    turn: Condvar,
    is_ordered: bool,
    nodes: HashOnly,
}

struct State<W> {
    work: W,
    grid: ChunkGrid,
    /// First chunks of the pieces that were handed out and are not done. The lowest has its turn.
    under_way: BTreeSet<ChunkIndex>,
    next: ChunkIndex,
    map: MapBuilder,
    counts: Counts,
    failure: Option<Error>,
}

impl<W: Iterator<Item = Result<Piece>>> Ledger<W> {
    /// Hands out the pieces of `work`. If `is_ordered`, [`Ledger::await_turn`] lets them through
    /// one after the other. `sealing` gives the nodes of the map their ids.
    pub(super) fn new(grid: ChunkGrid, work: W, is_ordered: bool, sealing: &Sealing) -> Self {
        let state = State {
            work,
            grid,
            under_way: BTreeSet::new(),
            next: ChunkIndex(0),
            map: MapBuilder::default(),
            counts: Counts::default(),
            failure: None,
        };
        let nodes = HashOnly(sealing.clone());
        Self { state: Mutex::new(state), turn: Condvar::new(), is_ordered, nodes }
    }

    /// The next piece; none at the end of the disk or after a failure.
    pub(super) fn claim(&self) -> Result<Option<Piece>> {
        let mut state = self.state();
        if state.failure.is_some() {
            return Ok(None);
        }
        let piece = state.work.next().transpose()?;
        if let Some(piece) = &piece {
            state.under_way.insert(piece.first);
            state.next = piece.first.next();
        }
        Ok(piece)
    }

    /// Waits until all pieces before this one are done, where order matters. False after a
    /// failure: the piece is not to be written then.
    pub(super) fn await_turn(&self, piece: &Piece) -> bool {
        let mut state = self.state();
        while self.is_ordered
            && state.failure.is_none()
            && state.under_way.first() != Some(&piece.first)
        {
            state = self.turn.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.failure.is_none()
    }

    /// Notes that a piece was written, and with it a leaf of the map.
    pub(super) fn complete(&self, piece: &Piece) -> Result<()> {
        let mut state = self.state();
        match piece.chunk {
            Some(chunk) => {
                state.counts.data_bytes += piece.len_bytes;
                state.map.set(piece.first, chunk);
            }
            None => state.counts.zero_bytes += piece.len_bytes,
        }
        state.under_way.remove(&piece.first);
        let settled = state.under_way.first().copied().unwrap_or(state.next);
        let result = state.map.settle(settled, &self.nodes);
        drop(state);
        self.turn.notify_all();
        result
    }

    /// Keeps the first failure; all workers end when they see that there is one.
    pub(super) fn fail(&self, error: Error) {
        self.state().failure.get_or_insert(error);
        self.turn.notify_all();
    }

    /// The root of the map of all that was written and the counts, or the first failure.
    pub(super) fn finish(self) -> Result<(ChunkId, Counts)> {
        let state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        match state.failure {
            Some(error) => Err(error),
            None => Ok((state.map.finish(state.grid, &self.nodes)?, state.counts)),
        }
    }

    fn state(&self) -> MutexGuard<'_, State<W>> {
        lock(&self.state)
    }
}

/// Fails the run if its worker panics, so that no other waits for its turn for ever.
pub(super) struct OnPanic<'a, W: Iterator<Item = Result<Piece>>>(pub(super) &'a Ledger<W>);

impl<W: Iterator<Item = Result<Piece>>> Drop for OnPanic<'_, W> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail(Error::new(ErrorKind::Io, "a thread of the restore failed"));
        }
    }
}

/// Gives nodes their ids and keeps none.
struct HashOnly(Sealing);

impl NodeSink for HashOnly {
    fn put_node(&self, node: &MapNode) -> Result<ChunkId> {
        Ok(self.0.ids().hash(&node.encode()).id())
    }
}
