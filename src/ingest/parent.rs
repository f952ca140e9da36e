//! The disk that a disk inherits from: what a restore point before holds of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::base::id::ChunkId;
use crate::base::units::ChunkIndex;
use crate::base::verified::VerifiedChunk;
use crate::diskmap::DiskMap;
use crate::error::{Error, Result};
use crate::format::commit::DiskRecord;
use crate::monitor::Monitor;
use crate::repo::{ChunkReader, Repository};

/// A disk of a restore point that was there when the session began, to inherit from.
///
/// Where it cannot be read, the source is read instead: damage costs time and no restore point.
pub struct ParentDisk {
    map: DiskMap,
    reader: Arc<ChunkReader>,
    monitor: Arc<dyn Monitor>,
    has_told: AtomicBool,
}

impl ParentDisk {
    pub(super) fn new(repo: &Repository, reader: Arc<ChunkReader>, disk: &DiskRecord) -> Self {
        let map = repo.disk_map(&reader, disk);
        let monitor = Arc::clone(&repo.environment().monitor);
        Self { map, reader, monitor, has_told: AtomicBool::new(false) }
    }

    /// Length of the disk, in bytes.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.map.grid().disk_bytes()
    }

    /// Bytes that the disk has of a chunk.
    pub(super) fn chunk_len(&self, index: ChunkIndex) -> usize {
        self.map.grid().chunk_len(index)
    }

    /// The chunk at `index`, or none for a hole. Damage was told when this fails.
    pub(super) fn leaf(&self, index: ChunkIndex) -> Result<Option<ChunkId>> {
        self.map.leaf(index).inspect_err(|error| self.tell(error))
    }

    /// The bytes of a chunk. Damage was told when this fails.
    pub(super) fn chunk(&self, chunk: ChunkId) -> Result<VerifiedChunk> {
        self.reader.chunk(chunk, Vec::new()).inspect_err(|error| self.tell(error))
    }

    /// One damaged pack is met by many chunks.
    fn tell(&self, cause: &Error) {
        if !self.has_told.swap(true, Ordering::Relaxed) {
            let what = "the restore point before is damaged: the source is read instead";
            let told = Error::new(cause.kind(), what);
            self.monitor.problem(&told.because(cause.chain()));
        }
    }
}
