//! Where an open disk has data, and where holes: by whole chunks.

use crate::base::units::ChunkIndex;
use crate::error::Result;
use crate::vfs::open_disk::{OpenDisk, SeekKind, Shelf};

/// A stretch of a disk that is all data, or all a hole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Which of the two.
    pub kind: SeekKind,
    /// Its end, in bytes from the beginning of the disk.
    pub end: u64,
}

impl OpenDisk {
    /// The stretch that the byte at `offset` lies in, as far as it goes on before `end`; none if
    /// `offset` is not before both `end` and the end of the disk. Looks at nothing behind `end`.
    pub(super) fn extent(&self, shelf: &Shelf, offset: u64, end: u64) -> Result<Option<Extent>> {
        let grid = self.map.grid();
        let end = end.min(grid.disk_bytes());
        if offset >= end {
            return Ok(None);
        }
        let (first, stop) = (grid.chunk_at(offset), grid.chunk_at(end - 1).next());
        let found = self.run(first, stop);
        let (kind, at) = found.map_err(|error| self.report(shelf, first, None, error))?;
        Ok(Some(Extent { kind, end: grid.chunk_offset(at).min(end) }))
    }

    /// The next chunk from `from` on that is data, or a hole; the end counts as a hole.
    pub(super) fn seek_written(
        &self,
        from: ChunkIndex,
        kind: SeekKind,
    ) -> Result<Option<ChunkIndex>> {
        let end = ChunkIndex(self.map.grid().chunk_count());
        let mut at = from;
        while at < end {
            let (found, stop) = self.stretch(at, end)?;
            if found == kind {
                return Ok(Some(at));
            }
            at = stop;
        }
        Ok((kind == SeekKind::Hole).then_some(end))
    }

    /// Whether the chunk `at` is data or a hole, and where that ends before `end`.
    fn run(&self, at: ChunkIndex, end: ChunkIndex) -> Result<(SeekKind, ChunkIndex)> {
        let (kind, mut stop) = self.stretch(at, end)?;
        while stop < end {
            let (next, further) = self.stretch(stop, end)?;
            if next != kind {
                break;
            }
            stop = further;
        }
        Ok((kind, stop))
    }

    /// Whether the chunk `at` is data or a hole, and up to where that is known to go on.
    fn stretch(&self, at: ChunkIndex, end: ChunkIndex) -> Result<(SeekKind, ChunkIndex)> {
        let next = self.overlay.as_ref().and_then(|overlay| overlay.next(at));
        if let Some((index, blocks)) = next
            && index == at
        {
            let is_zero = blocks.is_zero(self.map.grid().chunk_len(at));
            let is_hole = is_zero || !blocks.has_written() && self.map.leaf(at)?.is_none();
            let kind = if is_hole { SeekKind::Hole } else { SeekKind::Data };
            return Ok((kind, at.next()));
        }
        let end = next.map_or(end, |(index, _)| index.min(end));
        match self.map.next_data(at)? {
            Some((data, _)) if data == at => {
                Ok((SeekKind::Data, self.map.next_hole_before(at, end)?))
            }
            Some((data, _)) => Ok((SeekKind::Hole, data.min(end))),
            None => Ok((SeekKind::Hole, end)),
        }
    }
}
