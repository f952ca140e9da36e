//! Walks disk maps and says which bytes of which disks cannot be read.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use crate::base::cancel::Cancel;
use crate::base::id::ChunkId;
use crate::base::limits::{CHUNK_BYTES, MAP_FANOUT};
use crate::base::units::{ChunkGrid, ChunkIndex};
use crate::diskmap::NodeSource;
use crate::error::{Error, ErrorKind, Result};
use crate::format::commit::{MapRef, PointRecord};
use crate::format::entry::EntryKind;
use crate::format::mapnode::MapNode;
use crate::monitor::Monitor;
use crate::repo::ChunkReader;
use crate::scrub::health::{Health, Verdict};
use crate::scrub::ranges::Ranges;
use crate::scrub::report::{AffectedDisk, NAMED_MAX, Named};

/// Walks the maps of many disks; what several of them share is looked at once.
pub(super) struct MapWalk<'a> {
    reader: Arc<ChunkReader>,
    health: &'a Health,
    monitor: &'a dyn Monitor,
    cancel: &'a Cancel,
    /// Nodes under which everything can be read, at whatever place of whatever disk.
    good: HashSet<ChunkId>,
    ranges_left: usize,
    pub(super) affected: Named<AffectedDisk>,
    pub(super) disks: u64,
}

/// A disk on whose map the walk is.
struct Disk {
    grid: ChunkGrid,
    ranges: Ranges,
    cause: Option<String>,
    /// Up to here progress was told, in bytes.
    told: u64,
}

/// A node or chunk in its place.
#[derive(Clone, Copy)]
struct Place {
    id: ChunkId,
    /// 0 for a chunk, otherwise one more than the level of the node.
    height: u8,
    /// The first chunk that it covers.
    first: u64,
}

impl Place {
    fn chunks(self) -> u64 {
        (MAP_FANOUT as u64).pow(self.height.into())
    }

    /// The first chunk under the child at `slot` of this node.
    fn child(self, slot: usize) -> u64 {
        self.first + slot as u64 * (self.chunks() / MAP_FANOUT as u64)
    }

    fn bytes(self, grid: ChunkGrid) -> Range<u64> {
        let end = grid.disk_bytes();
        let at = |chunk: u64| chunk.saturating_mul(CHUNK_BYTES as u64).min(end);
        at(self.first)..at(self.first + self.chunks())
    }
}

impl<'a> MapWalk<'a> {
    pub(super) fn new(
        reader: Arc<ChunkReader>,
        health: &'a Health,
        monitor: &'a dyn Monitor,
        cancel: &'a Cancel,
    ) -> Self {
        Self {
            reader,
            health,
            monitor,
            cancel,
            good: HashSet::new(),
            ranges_left: NAMED_MAX,
            affected: Named::default(),
            disks: 0,
        }
    }

    /// Walks the maps of a restore point.
    pub(super) fn point(&mut self, point: &PointRecord) -> Result<()> {
        for map in point.maps() {
            let disk = self.disk(map)?;
            let Some(cause) = disk.cause else { continue };
            self.affected.push(AffectedDisk {
                vm: point.vm.clone(),
                point: point.id,
                time: point.time,
                disk: map.name.to_owned(),
                bytes: disk.ranges.bytes,
                ranges: disk.ranges.list,
                ranges_omitted: disk.ranges.omitted,
                cause,
            });
        }
        Ok(())
    }

    fn disk(&mut self, map: MapRef<'_>) -> Result<Disk> {
        let grid = ChunkGrid::new(map.size_bytes);
        let mut disk = Disk { grid, ranges: Ranges::default(), cause: None, told: 0 };
        let root = Place { id: map.root, height: grid.map_levels(), first: 0 };
        self.node(&mut disk, root)?;
        self.tell(&mut disk, grid.disk_bytes());
        self.disks += 1;
        self.ranges_left -= disk.ranges.list.len();
        Ok(disk)
    }

    /// Whether all that lies under a node can be read.
    fn node(&mut self, disk: &mut Disk, place: Place) -> Result<bool> {
        if self.cancel.is_requested() {
            return Err(Error::new(ErrorKind::Cancelled, "the scrub was interrupted"));
        }
        // At the end of a disk its length decides how long the last chunk must be, and where the
        // map must end.
        let is_inside = place.bytes(disk.grid).end < disk.grid.disk_bytes();
        if is_inside && self.good.contains(&place.id) {
            self.tell(disk, place.bytes(disk.grid).end);
            return Ok(true);
        }
        let node = match self.load(disk.grid, place) {
            Ok(node) => node,
            Err(error) => {
                let cause = unreadable(error)?.chain();
                self.lose(disk, place, cause);
                return Ok(false);
            }
        };
        let mut is_good = true;
        for (slot, id) in node.present() {
            let child = Place { id, height: place.height - 1, first: place.child(slot) };
            is_good &= match child.height {
                0 => self.leaf(disk, child)?,
                _ => self.node(disk, child)?,
            };
        }
        // With a short chunk at the end it is good nowhere else.
        if is_good && is_inside {
            self.good.insert(place.id);
        }
        self.tell(disk, place.bytes(disk.grid).end);
        Ok(is_good)
    }

    /// Reads a node, and checks that it fits its place.
    fn load(&self, grid: ChunkGrid, place: Place) -> Result<Arc<MapNode>> {
        let node = self.reader.node(place.id)?;
        let last = node.present().last().map_or(place.first, |(slot, _)| place.child(slot));
        if node.level() + 1 != place.height || last >= grid.chunk_count().max(1) {
            return Err(Error::corrupt("a disk map node is out of place").chunk(place.id));
        }
        Ok(node)
    }

    fn leaf(&mut self, disk: &mut Disk, place: Place) -> Result<bool> {
        let len = disk.grid.chunk_len(ChunkIndex(place.first));
        match self.check_chunk(place.id, len) {
            Ok(()) => Ok(true),
            Err(error) => {
                let cause = unreadable(error)?.chain();
                self.lose(disk, place, cause);
                Ok(false)
            }
        }
    }

    /// Fails unless there is a copy of the chunk that was proven, or can be now.
    fn check_chunk(&self, chunk: ChunkId, len: usize) -> Result<()> {
        let copies = self.reader.index().locations(chunk)?;
        if copies.is_empty() {
            return Err(Error::corrupt("the index knows no copy of the chunk").chunk(chunk));
        }
        let mut is_unknown = false;
        for copy in &copies {
            match self.health.of(chunk, copy) {
                Verdict::Good if copy.plain_len as usize == len && copy.kind == EntryKind::Data => {
                    return Ok(());
                }
                Verdict::Unknown => is_unknown = true,
                Verdict::Good | Verdict::Bad => {}
            }
        }
        // A prune has moved it meanwhile, or a backup has stored it again.
        if is_unknown && self.reader.chunk(chunk, Vec::new())?.bytes().len() == len {
            return Ok(());
        }
        Err(Error::corrupt("no copy of the chunk can be read").chunk(chunk))
    }

    fn lose(&mut self, disk: &mut Disk, place: Place, cause: String) {
        disk.cause.get_or_insert(cause);
        disk.ranges.add(place.bytes(disk.grid), self.ranges_left);
    }

    /// Tells the observer that a disk is done up to a byte.
    fn tell(&self, disk: &mut Disk, done: u64) {
        if done > disk.told {
            self.monitor.advance(done - disk.told);
            disk.told = done;
        }
    }
}

/// What tells of stored data; every other error ends the walk.
fn unreadable(error: Error) -> Result<Error> {
    match error.kind() {
        ErrorKind::Corrupt | ErrorKind::Io | ErrorKind::NotFound => Ok(error),
        _ => Err(error),
    }
}
