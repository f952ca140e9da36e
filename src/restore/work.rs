//! Cuts a disk into pieces of work: chunks to read, and zero ranges between them.

use crate::base::id::ChunkId;
use crate::base::limits::CHUNK_BYTES;
use crate::base::units::{ChunkGrid, ChunkIndex};
use crate::error::Result;

/// Chunks of the longest zero piece: short enough that a request to end is soon seen.
const ZERO_CHUNKS_MAX: u64 = 64;

/// A part of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    /// Its first chunk.
    pub(super) first: ChunkIndex,
    /// First byte, counted from the start of the disk.
    pub(super) offset_bytes: u64,
    /// Number of bytes; never zero.
    pub(super) len_bytes: u64,
    /// The one chunk that it is, or none where all of it is zero.
    pub(super) chunk: Option<ChunkId>,
}

/// The pieces of a disk, in order and without a gap.
#[derive(Debug)]
pub(super) struct Work<L> {
    leaves: L,
    grid: ChunkGrid,
    next: u64,
    /// The chunk that the zeros before it have to wait for.
    ahead: Option<(ChunkIndex, ChunkId)>,
    has_ended: bool,
}

impl<L: Iterator<Item = Result<(ChunkIndex, ChunkId)>>> Work<L> {
    /// The pieces of a disk whose chunks that are no holes are `leaves`, in order.
    pub(super) fn new(grid: ChunkGrid, leaves: L) -> Self {
        Self { leaves, grid, next: 0, ahead: None, has_ended: false }
    }

    fn look_ahead(&mut self) -> Result<()> {
        if self.ahead.is_none() && !self.has_ended {
            self.ahead = self.leaves.next().transpose()?;
            self.has_ended = self.ahead.is_none();
        }
        Ok(())
    }

    fn piece(&mut self, end: u64, chunk: Option<ChunkId>) -> Piece {
        let first = ChunkIndex(std::mem::replace(&mut self.next, end));
        let offset_bytes = self.grid.chunk_offset(first);
        let end_bytes = (end * CHUNK_BYTES as u64).min(self.grid.disk_bytes());
        Piece { first, offset_bytes, len_bytes: end_bytes - offset_bytes, chunk }
    }
}

impl<L: Iterator<Item = Result<(ChunkIndex, ChunkId)>>> Iterator for Work<L> {
    type Item = Result<Piece>;

    fn next(&mut self) -> Option<Result<Piece>> {
        if let Err(error) = self.look_ahead() {
            self.has_ended = true;
            self.next = self.grid.chunk_count();
            return Some(Err(error));
        }
        let data = self.ahead.map_or(self.grid.chunk_count(), |(index, _)| index.0);
        if self.next < data {
            let end = data.min(self.next + ZERO_CHUNKS_MAX);
            return Some(Ok(self.piece(end, None)));
        }
        let (index, chunk) = self.ahead.take()?;
        Some(Ok(self.piece(index.0 + 1, Some(chunk))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn id(n: u64) -> ChunkId {
        ChunkId::from_bytes([n as u8; 32])
    }

    proptest! {
        #[test]
        fn the_pieces_cover_the_disk_once_and_in_order(
            size in 0u64..400 << 20,
            picks in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        ) {
            let grid = ChunkGrid::new(size);
            let count = grid.chunk_count();
            let data: BTreeSet<_> = match count {
                0 => BTreeSet::new(),
                _ => picks.iter().map(|pick| pick.index(count as usize) as u64).collect(),
            };
            let leaves = data.iter().map(|index| Ok((ChunkIndex(*index), id(*index))));
            let mut at = 0;
            let mut found = BTreeSet::new();
            for piece in Work::new(grid, leaves) {
                let piece = piece.unwrap();
                prop_assert_eq!(piece.offset_bytes, at);
                prop_assert_eq!(grid.chunk_offset(piece.first), at);
                prop_assert!(piece.len_bytes > 0);
                if let Some(chunk) = piece.chunk {
                    prop_assert_eq!(chunk, id(piece.first.0));
                    prop_assert_eq!(piece.len_bytes, grid.chunk_len(piece.first) as u64);
                    found.insert(piece.first.0);
                }
                at += piece.len_bytes;
            }
            prop_assert_eq!(at, size);
            prop_assert_eq!(found, data);
        }
    }

    #[test]
    fn nothing_follows_an_error() {
        let leaves = [Ok((ChunkIndex(1), id(1))), Err(Error::corrupt("bad"))];
        let mut work = Work::new(ChunkGrid::new(10 << 20), leaves.into_iter());
        assert!(work.next().unwrap().is_ok() && work.next().unwrap().is_ok());
        assert!(work.next().unwrap().is_err());
        assert!(work.next().is_none());
    }
}
