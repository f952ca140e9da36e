//! Reads a disk map node by node. Whatever the nodes hold, a walk stays on the disk.

use std::sync::Arc;

use crate::base::id::ChunkId;
use crate::base::limits::MAP_FANOUT;
use crate::base::units::{ChunkGrid, ChunkIndex};
use crate::error::{Error, Result};
use crate::format::mapnode::MapNode;

/// Gives verified nodes by their id.
pub trait NodeSource: Send + Sync {
    /// The node of that id.
    fn node(&self, id: ChunkId) -> Result<Arc<MapNode>>;
}

/// The map of one disk of one restore point.
#[derive(Clone)]
pub struct DiskMap {
    grid: ChunkGrid,
    root: ChunkId,
    nodes: Arc<dyn NodeSource>,
}

/// A node met on a walk: its id, its level, and the first chunk that it covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    id: ChunkId,
    level: u8,
    first: u64,
}

impl DiskMap {
    /// The map with that root of a disk of that grid. Reads nothing yet.
    #[must_use]
    pub fn new(grid: ChunkGrid, root: ChunkId, nodes: Arc<dyn NodeSource>) -> Self {
        Self { grid, root, nodes }
    }

    /// The grid of the disk.
    #[must_use]
    pub fn grid(&self) -> ChunkGrid {
        self.grid
    }

    /// The id of the root node.
    #[must_use]
    pub fn root(&self) -> ChunkId {
        self.root
    }

    /// The chunk at `index`, or none for a hole.
    pub fn leaf(&self, index: ChunkIndex) -> Result<Option<ChunkId>> {
        let mut place = self.root_place();
        loop {
            let node = self.load(place)?;
            let span = span(place.level);
            let slot = ((index.0 - place.first) / span) as usize;
            if slot >= MAP_FANOUT {
                return Ok(None);
            }
            match node.child(slot) {
                Some(id) if place.level > 0 => {
                    let first = place.first + slot as u64 * span;
                    place = Place { id, level: place.level - 1, first };
                }
                leaf => return Ok(leaf),
            }
        }
    }

    /// The first chunk at or after `from` that is no hole, with its id.
    pub fn next_data(&self, from: ChunkIndex) -> Result<Option<(ChunkIndex, ChunkId)>> {
        self.leaves(from).next().transpose()
    }

    /// The first hole at or after `from`; the chunk after the disk's last if there is none.
    pub fn next_hole(&self, from: ChunkIndex) -> Result<ChunkIndex> {
        self.next_hole_before(from, ChunkIndex(self.grid.chunk_count()))
    }

    /// The first hole at or after `from`, or `end` if all before that is data. What comes behind
    /// `end` is not looked at.
    pub fn next_hole_before(&self, from: ChunkIndex, end: ChunkIndex) -> Result<ChunkIndex> {
        let mut expected = from;
        for leaf in self.leaves(from) {
            if expected >= end || leaf?.0 != expected {
                break;
            }
            expected = expected.next();
        }
        Ok(expected.min(end).max(from))
    }

    /// All chunks at or after `from` that are no holes, in order. Ends after the first error.
    pub fn leaves(&self, from: ChunkIndex) -> Leaves<'_> {
        Leaves { map: self, from: from.0, stack: Vec::new(), started: false }
    }

    #[cfg(test)]
    pub(super) fn on_grid(&self, grid: ChunkGrid) -> Self {
        Self { grid, ..self.clone() }
    }

    fn root_place(&self) -> Place {
        Place { id: self.root, level: self.grid.map_levels() - 1, first: 0 }
    }

    /// Loads a node and checks that it fits its place: the right level, nothing beyond the disk.
    fn load(&self, place: Place) -> Result<Arc<MapNode>> {
        let node = self.nodes.node(place.id)?;
        if node.level() != place.level {
            return Err(Error::corrupt("a disk map node is at the wrong level").chunk(place.id));
        }
        let last = node.present().last().map(|(slot, _)| slot as u64);
        if last
            .is_some_and(|slot| place.first + slot * span(place.level) >= self.grid.chunk_count())
        {
            return Err(Error::corrupt("a disk map goes on beyond its disk").chunk(place.id));
        }
        Ok(node)
    }
}

/// Chunks under one child of a node of that level.
fn span(level: u8) -> u64 {
    (MAP_FANOUT as u64).pow(level.into())
}

/// Iterator over the chunks of a map that are no holes.
pub struct Leaves<'a> {
    map: &'a DiskMap,
    from: u64,
    stack: Vec<(Place, Arc<MapNode>, usize)>,
    started: bool,
}

impl Leaves<'_> {
    fn enter(&mut self, place: Place) -> Result<()> {
        let node = self.map.load(place)?;
        let slot = (self.from.saturating_sub(place.first) / span(place.level)) as usize;
        self.stack.push((place, node, slot));
        Ok(())
    }

    fn step(&mut self) -> Result<Option<(ChunkIndex, ChunkId)>> {
        if !self.started {
            self.started = true;
            self.enter(self.map.root_place())?;
        }
        while let Some((place, node, slot)) = self.stack.last_mut() {
            if *slot >= MAP_FANOUT {
                self.stack.pop();
                continue;
            }
            let child = node.child(*slot);
            let first = place.first + *slot as u64 * span(place.level);
            let level = place.level;
            *slot += 1;
            match child {
                Some(id) if level == 0 => return Ok(Some((ChunkIndex(first), id))),
                Some(id) => self.enter(Place { id, level: level - 1, first })?,
                None => {}
            }
        }
        Ok(None)
    }
}

impl Iterator for Leaves<'_> {
    type Item = Result<(ChunkIndex, ChunkId)>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step().transpose();
        if matches!(step, Some(Err(_))) {
            self.stack.clear();
            self.started = true;
        }
        step
    }
}
