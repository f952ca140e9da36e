//! What an overlay holds of one chunk: blocks of 4 KiB, two bits for each.

use std::ops::Range;

use crate::base::limits::CHUNK_BYTES;

/// The unit in which an overlay takes the place of what lies below it.
pub(in crate::vfs) const BLOCK_BYTES: usize = 4096;
/// Blocks of a chunk; a disk's last chunk has fewer, and the rest of its bits are zero.
const BLOCKS: usize = CHUNK_BYTES / BLOCK_BYTES;
/// Bytes of the record of one chunk.
pub(super) const RECORD_BYTES: usize = BLOCKS / 4;

/// Where the bytes of a block are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::vfs) enum BlockState {
    /// In the restore point.
    Below = 0,
    /// Nowhere: it reads as zero.
    Zero = 1,
    /// In the overlay.
    Written = 2,
}

/// The states of the blocks of one chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::vfs) struct ChunkBlocks([u8; RECORD_BYTES]);

impl Default for ChunkBlocks {
    /// Everything lies below.
    fn default() -> Self {
        Self([0; RECORD_BYTES])
    }
}

impl ChunkBlocks {
    /// The record of the chunk.
    pub(super) fn encode(&self) -> [u8; RECORD_BYTES] {
        self.0
    }

    /// Reads a record; none if a block has a state that there is not.
    pub(super) fn decode(record: [u8; RECORD_BYTES]) -> Option<Self> {
        let is_known = |byte: &u8| (0..4).all(|at| byte >> (2 * at) & 3 != 3);
        record.iter().all(is_known).then_some(Self(record))
    }

    /// The state of a block.
    pub(super) fn get(&self, block: usize) -> BlockState {
        match self.0[block / 4] >> (2 * (block % 4)) & 3 {
            0 => BlockState::Below,
            1 => BlockState::Zero,
            _ => BlockState::Written,
        }
    }

    /// Gives blocks a state.
    pub(super) fn set(&mut self, blocks: Range<usize>, state: BlockState) {
        for block in blocks {
            let shift = 2 * (block % 4);
            let byte = &mut self.0[block / 4];
            *byte = *byte & !(3 << shift) | (state as u8) << shift;
        }
    }

    /// How many of the blocks have that state.
    pub(super) fn count(&self, blocks: Range<usize>, state: BlockState) -> u64 {
        blocks.filter(|block| self.get(*block) == state).count() as u64
    }

    /// Whether a byte of the chunk lies in the overlay.
    pub(in crate::vfs) fn has_written(&self) -> bool {
        self.count(0..BLOCKS, BlockState::Written) > 0
    }

    /// Whether a chunk of `chunk_len` bytes reads as zero whatever lies below.
    pub(in crate::vfs) fn is_zero(&self, chunk_len: usize) -> bool {
        let blocks = chunk_len.div_ceil(BLOCK_BYTES);
        self.count(0..blocks, BlockState::Zero) == blocks as u64
    }

    /// Cuts a range of bytes of the chunk into ranges whose blocks have one state.
    pub(in crate::vfs) fn runs(
        &self,
        bytes: Range<usize>,
    ) -> impl Iterator<Item = (BlockState, Range<usize>)> {
        let mut at = bytes.start;
        std::iter::from_fn(move || {
            if at >= bytes.end {
                return None;
            }
            let start = at;
            let state = self.get(start / BLOCK_BYTES);
            while at < bytes.end && self.get(at / BLOCK_BYTES) == state {
                at = (at / BLOCK_BYTES + 1) * BLOCK_BYTES;
            }
            at = at.min(bytes.end);
            Some((state, start..at))
        })
    }
}

/// The blocks that a range of bytes covers as a whole; `chunk_len` is where the last one ends.
pub(super) fn whole_blocks(bytes: Range<usize>, chunk_len: usize) -> Range<usize> {
    let first = bytes.start.div_ceil(BLOCK_BYTES);
    let end = match bytes.end == chunk_len {
        true => bytes.end.div_ceil(BLOCK_BYTES),
        false => bytes.end / BLOCK_BYTES,
    };
    first..end.max(first)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn runs_cover_the_range_in_order_and_tell_each_block_as_it_was_set(
            changes in prop::collection::vec((0..BLOCKS, 1usize..40, 0u8..3), 0..12),
            start in 0..CHUNK_BYTES,
            len in 1..CHUNK_BYTES,
        ) {
            let states = [BlockState::Below, BlockState::Zero, BlockState::Written];
            let mut blocks = ChunkBlocks::default();
            let mut model = [BlockState::Below; BLOCKS];
            for (first, count, state) in changes {
                let range = first..BLOCKS.min(first + count);
                blocks.set(range.clone(), states[usize::from(state)]);
                model[range].fill(states[usize::from(state)]);
            }
            let end = CHUNK_BYTES.min(start + len);
            let mut at = start;
            for (state, run) in blocks.runs(start..end) {
                prop_assert_eq!(run.start, at);
                prop_assert!(run.end > at);
                let touched = run.start / BLOCK_BYTES..run.end.div_ceil(BLOCK_BYTES);
                prop_assert!(model[touched].iter().all(|block| *block == state));
                at = run.end;
            }
            prop_assert_eq!(at, end);
            prop_assert_eq!(ChunkBlocks::decode(blocks.encode()), Some(blocks));
        }
    }

    #[test]
    fn a_record_with_an_unknown_state_is_refused() {
        let mut record = [0; RECORD_BYTES];
        record[63] = 0b1100_0000;
        assert_eq!(ChunkBlocks::decode(record), None);
    }

    #[test]
    fn the_short_last_block_of_a_disk_counts_as_whole() {
        assert_eq!(whole_blocks(0..5000, 5000), 0..2);
        assert_eq!(whole_blocks(0..5000, 9000), 0..1);
        assert_eq!(whole_blocks(100..200, 9000), 1..1);
        assert_eq!(whole_blocks(4096..9000, 9000), 1..3);
    }
}
