//! Chunk indices, and the only arithmetic between bytes and chunks.

use crate::base::limits::{CHUNK_BYTES, MAP_FANOUT, SLICE_BYTES};

/// Position of a chunk in its disk: chunk 0 covers the first [`CHUNK_BYTES`] bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkIndex(pub u64);

impl ChunkIndex {
    /// The chunk after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// Position of a slice in its chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SliceIndex(pub u8);

/// A byte range inside one chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkRange {
    /// Which chunk.
    pub index: ChunkIndex,
    /// First byte, counted from the start of the chunk.
    pub start: usize,
    /// Number of bytes; never zero.
    pub len: usize,
}

/// The grid that a disk of a certain length is cut on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkGrid {
    disk_bytes: u64,
}

impl ChunkGrid {
    /// The grid of a disk of `disk_bytes` bytes.
    #[must_use]
    pub fn new(disk_bytes: u64) -> Self {
        Self { disk_bytes }
    }

    /// Length of the disk, in bytes.
    #[must_use]
    pub fn disk_bytes(&self) -> u64 {
        self.disk_bytes
    }

    /// Number of chunks; the last one may be short.
    #[must_use]
    pub fn chunk_count(&self) -> u64 {
        self.disk_bytes.div_ceil(CHUNK_BYTES as u64)
    }

    /// The chunk that holds the byte at `offset`.
    #[must_use]
    pub fn chunk_at(&self, offset: u64) -> ChunkIndex {
        ChunkIndex(offset / CHUNK_BYTES as u64)
    }

    /// First byte of a chunk, counted from the start of the disk.
    #[must_use]
    pub fn chunk_offset(&self, index: ChunkIndex) -> u64 {
        index.0 * CHUNK_BYTES as u64
    }

    /// Length of a chunk in bytes: [`CHUNK_BYTES`] for all but a disk's last, 0 beyond its end.
    #[must_use]
    pub fn chunk_len(&self, index: ChunkIndex) -> usize {
        let left = self.disk_bytes.saturating_sub(index.0.saturating_mul(CHUNK_BYTES as u64));
        left.min(CHUNK_BYTES as u64) as usize
    }

    /// Cuts a byte range into ranges of single chunks, clamped to the end of the disk.
    pub fn ranges(&self, offset: u64, len: u64) -> impl Iterator<Item = ChunkRange> + use<> {
        let end = offset.saturating_add(len).min(self.disk_bytes);
        let mut at = offset;
        std::iter::from_fn(move || {
            if at >= end {
                return None;
            }
            let start = (at % CHUNK_BYTES as u64) as usize;
            let len = ((CHUNK_BYTES - start) as u64).min(end - at) as usize;
            let range = ChunkRange { index: ChunkIndex(at / CHUNK_BYTES as u64), start, len };
            at += len as u64;
            Some(range)
        })
    }

    /// Levels of the disk map: the least number (at least 1) whose nodes reach every chunk.
    #[must_use]
    pub fn map_levels(&self) -> u8 {
        let mut levels = 1;
        let mut reach = MAP_FANOUT as u64;
        while reach < self.chunk_count() {
            reach = reach.saturating_mul(MAP_FANOUT as u64);
            levels += 1;
        }
        levels
    }
}

/// Number of slices of a chunk of `chunk_len` bytes; an empty chunk has none.
#[must_use]
pub fn slice_count(chunk_len: usize) -> usize {
    chunk_len.div_ceil(SLICE_BYTES)
}

/// The byte range of a slice in a chunk of `chunk_len` bytes; empty beyond its end.
#[must_use]
pub fn slice_range(slice: SliceIndex, chunk_len: usize) -> std::ops::Range<usize> {
    let start = (usize::from(slice.0) * SLICE_BYTES).min(chunk_len);
    start..(start + SLICE_BYTES).min(chunk_len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_cover_a_read_once_and_stop_at_the_end_of_the_disk() {
        let grid = ChunkGrid::new(CHUNK_BYTES as u64 * 2 + 512);
        let ranges: Vec<_> = grid.ranges(CHUNK_BYTES as u64 - 1, u64::MAX).collect();
        assert_eq!(
            ranges,
            [
                ChunkRange { index: ChunkIndex(0), start: CHUNK_BYTES - 1, len: 1 },
                ChunkRange { index: ChunkIndex(1), start: 0, len: CHUNK_BYTES },
                ChunkRange { index: ChunkIndex(2), start: 0, len: 512 },
            ]
        );
        assert_eq!(grid.ranges(grid.disk_bytes(), 1).count(), 0);
    }

    #[test]
    fn map_levels_grow_when_a_level_is_full() {
        let chunks = |n: u64| ChunkGrid::new(n * CHUNK_BYTES as u64).map_levels();
        assert_eq!([chunks(0), chunks(1), chunks(256), chunks(257)], [1, 1, 1, 2]);
        assert_eq!([chunks(65_536), chunks(65_537), chunks(1 << 24)], [2, 3, 3]);
    }
}
