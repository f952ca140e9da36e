//! An open disk of a restore point, or its configuration: bytes, data and holes.

use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use crate::base::cache::BoundedCache;
use crate::base::id::{ChunkId, PointId};
use crate::base::sync::lock;
use crate::base::units::ChunkIndex;
use crate::diskmap::DiskMap;
use crate::error::{Error, Result};
use crate::format::commit::CONFIGURATION_NAME;
use crate::format::vm_config::VmConfig;
use crate::monitor::Monitor;
use crate::repo::Registration;
use crate::vfs::ahead::ReadAhead;
use crate::vfs::chunks::Chunks;
use crate::vfs::gather::Gathering;
use crate::vfs::overlay::OverlayDisk;
use crate::vfs::sequence::Streams;
use crate::vfs::shown_point::ShownPoint;

/// Chunks that are decoded ahead of a reader in order.
const CHUNKS_AHEAD: usize = 8;
/// Damaged chunks of which it is remembered that they were told.
const REPORTED_KEPT: usize = 64 << 10;

/// What all open disks share.
pub(super) struct Shelf {
    pub(super) chunks: Arc<Chunks>,
    pub(super) ahead: ReadAhead,
    pub(super) monitor: Arc<dyn Monitor>,
    reported: Mutex<BoundedCache<(PointId, usize, ChunkIndex), ()>>,
}

impl Shelf {
    /// Nothing is read or told yet.
    pub(super) fn new(chunks: Arc<Chunks>, ahead: ReadAhead, monitor: Arc<dyn Monitor>) -> Self {
        let reported = Mutex::new(BoundedCache::new(REPORTED_KEPT));
        Self { chunks, ahead, monitor, reported }
    }
}

/// What `seek` looks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeekKind {
    /// The next byte that is in no hole.
    Data,
    /// The next byte that is in a hole; the end of the disk counts as one.
    Hole,
}

/// A disk that somebody has open. It stays readable if its restore point is dropped.
pub(super) struct OpenDisk {
    point: Arc<ShownPoint>,
    place: usize,
    pub(super) map: DiskMap,
    _reading: Option<Arc<Registration>>,
    pub(super) overlay: Option<Arc<OverlayDisk>>,
    streams: Mutex<Streams>,
    /// Bytes that the last search for a hole found to be data: programs ask again inside of it.
    data: Mutex<Range<u64>>,
}

impl OpenDisk {
    /// What `point` has at that place, which `map` maps. `reading` keeps the restore
    /// point from being pruned.
    pub(super) fn new(
        point: Arc<ShownPoint>,
        place: usize,
        map: DiskMap,
        overlay: Option<Arc<OverlayDisk>>,
        reading: Option<Arc<Registration>>,
    ) -> Self {
        Self {
            point,
            place,
            map,
            _reading: reading,
            overlay,
            streams: Mutex::default(),
            data: Mutex::new(0..0),
        }
    }

    /// Calls `f` once with the bytes from `offset` on: `size` of them, or those up to the end of
    /// the disk.
    pub(super) fn read<R>(
        &self,
        shelf: &Shelf,
        offset: u64,
        size: usize,
        f: impl FnOnce(&[u8]) -> R,
    ) -> Result<R> {
        Ok(self.gather(shelf, offset, size)?.hand_out(f))
    }

    /// The bytes from `offset` on, `size` of them, or those up to the end of the disk.
    pub(super) fn gather<'a>(
        &'a self,
        shelf: &'a Shelf,
        offset: u64,
        size: usize,
    ) -> Result<Gathering<'a>> {
        let began = Instant::now();
        let gathered = self.collect(shelf, offset, size);
        let bytes = gathered.as_ref().ok().map(Gathering::len);
        shelf.chunks.counters.note_read(bytes, began.elapsed());
        gathered
    }

    fn collect<'a>(&'a self, shelf: &'a Shelf, offset: u64, size: usize) -> Result<Gathering<'a>> {
        let ranges = self.map.grid().ranges(offset, size as u64);
        let end = offset.saturating_add(size as u64).min(self.map.grid().disk_bytes());
        let mut is_sequential = false;
        if offset < end {
            let access = lock(&self.streams).note(offset, end);
            is_sequential = access.is_sequential;
            if let Some(from) = access.ahead_from {
                self.read_ahead(shelf, from);
            }
        }
        let mut gathering = Gathering::new(self, shelf, is_sequential);
        for range in ranges {
            gathering.add(range)?;
        }
        Ok(gathering)
    }

    /// All of the configuration, for a file that is one. Its length is bounded by the commit.
    pub(super) fn read_configuration(&self, shelf: &Shelf) -> Result<VmConfig> {
        let len = self.map.grid().disk_bytes() as usize;
        let read = self.read(shelf, 0, len, VmConfig::decode)?;
        read.map_err(|error| {
            let error = error.in_object(CONFIGURATION_NAME);
            self.report(shelf, ChunkIndex(0), None, error)
        })
    }

    /// Asks for the next chunks from `from` on. What is wrong with the map shows when it is read.
    fn read_ahead(&self, shelf: &Shelf, from: ChunkIndex) {
        for (_, chunk) in self.map.leaves(from).take(CHUNKS_AHEAD).map_while(Result::ok) {
            if !shelf.chunks.is_at_hand(chunk) {
                shelf.ahead.want(chunk);
            }
        }
    }

    /// Says where the damage shows, and tells it once per chunk and disk.
    pub(super) fn report(
        &self,
        shelf: &Shelf,
        index: ChunkIndex,
        chunk: Option<ChunkId>,
        cause: Error,
    ) -> Error {
        let record = &self.point.record;
        let (vm, time) = (&record.vm, record.time);
        let part = match record.disks.get(self.place) {
            Some(disk) => format!("disk {:?}", disk.name),
            None => "the configuration".to_owned(),
        };
        let what = format!("cannot read {part} of VM {vm:?}, restore point {time}");
        let mut error = Error::new(cause.kind(), what).at_byte(self.map.grid().chunk_offset(index));
        if let Some(chunk) = chunk {
            error = error.chunk(chunk);
        }
        let error = error.because(cause);
        let key = (record.id, self.place, index);
        let mut reported = lock(&shelf.reported);
        if reported.get(&key).is_none() {
            reported.put(key, (), 1);
            drop(reported);
            shelf.chunks.counters.note_damage();
            shelf.monitor.problem(&error);
        }
        error
    }

    /// Where the next data or hole at or after `offset` begins; none where there is nothing more,
    /// and beyond the end.
    pub(super) fn seek(&self, shelf: &Shelf, offset: u64, kind: SeekKind) -> Result<Option<u64>> {
        let grid = self.map.grid();
        if offset >= grid.disk_bytes() {
            return Ok(None);
        }
        let index = grid.chunk_at(offset);
        if self.overlay.is_some() {
            let found = self.seek_written(index, kind);
            let found = found.map_err(|error| self.report(shelf, index, None, error))?;
            return Ok(found.map(|found| grid.chunk_offset(found).clamp(offset, grid.disk_bytes())));
        }
        let known = lock(&self.data).clone();
        if known.contains(&offset) {
            return Ok(Some(if kind == SeekKind::Data { offset } else { known.end }));
        }
        let fail = |error| self.report(shelf, index, None, error);
        match kind {
            SeekKind::Data => {
                let found = self.map.next_data(index).map_err(fail)?;
                Ok(found.map(|(index, _)| grid.chunk_offset(index).max(offset)))
            }
            SeekKind::Hole => {
                let found = self.map.next_hole(index).map_err(fail)?;
                let hole = grid.chunk_offset(found).clamp(offset, grid.disk_bytes());
                *lock(&self.data) = offset..hole;
                Ok(Some(hole))
            }
        }
    }
}
