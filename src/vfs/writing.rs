//! Writing into an open disk, over its restore point.

use crate::base::limits::CHUNK_BYTES;
use crate::base::units::{ChunkIndex, ChunkRange};
use crate::error::{Error, ErrorKind, Result};
use crate::vfs::gather::Gathering;
use crate::vfs::open_disk::{OpenDisk, Shelf};
use crate::vfs::overlay::{ChunkBlocks, OverlayDisk};

impl OpenDisk {
    /// Writes `bytes` from `offset` on. [`ErrorKind::Full`] if they go beyond the end of the disk.
    pub(super) fn write(&self, shelf: &Shelf, offset: u64, bytes: &[u8]) -> Result<()> {
        let overlay = self.changeable(offset, bytes.len() as u64)?;
        let mut rest = bytes;
        for range in self.map.grid().ranges(offset, bytes.len() as u64) {
            let (part, behind) = rest.split_at(range.len);
            overlay.write(range, part, &|range| self.below(shelf, range))?;
            rest = behind;
        }
        Ok(())
    }

    /// Makes `len` bytes from `offset` on read as zero. The range may end beyond the disk.
    pub(super) fn zero(&self, shelf: &Shelf, offset: u64, len: u64) -> Result<()> {
        let overlay = self.changeable(offset, 0)?;
        for range in self.map.grid().ranges(offset, len) {
            overlay.zero(range, &|range| self.below(shelf, range))?;
        }
        Ok(())
    }

    /// Makes what was written durable, where it is kept.
    pub(super) fn flush(&self) -> Result<()> {
        self.overlay.as_ref().map_or(Ok(()), |overlay| overlay.flush())
    }

    /// What was written over a chunk.
    pub(super) fn written_over(&self, index: ChunkIndex) -> Option<(&OverlayDisk, ChunkBlocks)> {
        let overlay = self.overlay.as_ref()?;
        overlay.blocks(index).map(|blocks| (&**overlay, blocks))
    }

    fn changeable(&self, offset: u64, len: u64) -> Result<&OverlayDisk> {
        if offset.checked_add(len).is_none_or(|end| end > self.map.grid().disk_bytes()) {
            let what = "a disk of a restore point keeps its length: nothing fits behind its end";
            return Err(Error::new(ErrorKind::Full, what).at_byte(offset));
        }
        self.overlay.as_deref().ok_or_else(|| Error::new(ErrorKind::Denied, "this is read-only"))
    }

    /// The bytes of a range as the restore point has them.
    fn below(&self, shelf: &Shelf, range: ChunkRange) -> Result<Vec<u8>> {
        debug_assert!(range.len <= CHUNK_BYTES, "a range lies in one chunk");
        let mut gathering = Gathering::new(self, shelf, false);
        gathering.add_below(range)?;
        Ok(gathering.hand_out(<[u8]>::to_vec))
    }
}
