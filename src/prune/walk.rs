//! Walks disk maps node by node, and passes over what several of them share.

use std::sync::Arc;

use crate::base::cache::BoundedCache;
use crate::base::id::ChunkId;
use crate::base::limits::MAP_FANOUT;
use crate::base::units::ChunkGrid;
use crate::diskmap::NodeSource;
use crate::error::{Error, Result};
use crate::format::mapnode::MapNode;

/// Nodes that a walk remembers: up to 17 MiB, which reach 512 GiB of disk.
const NODES_KEPT: usize = 2048;

/// Told of what a walk meets.
pub(super) trait Visitor {
    /// These nodes come next.
    fn expect(&self, nodes: &[ChunkId]);
    /// A node of a map. Whether it is new; what lies under one that is not is passed over.
    fn node(&mut self, node: ChunkId) -> Result<bool>;
    /// Chunks of a disk. Those that a map before had in the same places may be left out.
    fn chunks(&mut self, chunks: &[ChunkId]) -> Result<()>;
}

/// Visits maps, best those of one disk one after the other: two nodes that follow each other in one
/// place differ in what a backup changed, and only that is visited again.
pub(super) struct Walk<'a> {
    nodes: &'a dyn NodeSource,
    visitor: &'a mut dyn Visitor,
    /// Of each place, by level and first chunk, the node that was walked there last: the visitor
    /// knows everything that it names.
    last: BoundedCache<(u8, u64), Arc<MapNode>>,
}

#[derive(Clone, Copy)]
struct Place {
    id: ChunkId,
    level: u8,
    /// The first chunk that it covers.
    first: u64,
}

impl<'a> Walk<'a> {
    pub(super) fn new(nodes: &'a dyn NodeSource, visitor: &'a mut dyn Visitor) -> Self {
        Self { nodes, visitor, last: BoundedCache::new(NODES_KEPT) }
    }

    /// Visits every node and chunk of the map with that root of a disk of `grid`.
    ///
    /// A node that cannot be read, or that does not fit its place, ends the walk: what lies under
    /// it is not known.
    pub(super) fn map(&mut self, root: ChunkId, grid: ChunkGrid) -> Result<()> {
        let place = Place { id: root, level: grid.map_levels() - 1, first: 0 };
        // A root is looked at in any case: a disk of another length may have its node elsewhere.
        let is_new = self.visitor.node(root)?;
        self.node(place, grid, is_new)
    }

    fn node(&mut self, place: Place, grid: ChunkGrid, is_new: bool) -> Result<()> {
        let node = self.nodes.node(place.id)?;
        let span = (MAP_FANOUT as u64).pow(place.level.into());
        let last =
            node.present().last().map_or(place.first, |(slot, _)| place.first + slot as u64 * span);
        if node.level() != place.level || last >= grid.chunk_count().max(1) {
            return Err(Error::corrupt("a disk map node is out of place").chunk(place.id));
        }
        if !is_new {
            return Ok(());
        }
        let before = self.last.get(&(place.level, place.first));
        let is_new = |slot, id| before.as_ref().is_none_or(|node| node.child(slot) != Some(id));
        let (slots, ids): (Vec<_>, Vec<_>) =
            node.present().filter(|(slot, id)| is_new(*slot, *id)).unzip();
        if place.level == 0 {
            self.visitor.chunks(&ids)?;
        } else {
            self.visitor.expect(&ids);
            for (slot, id) in slots.into_iter().zip(ids) {
                if self.visitor.node(id)? {
                    let first = place.first + slot as u64 * span;
                    self.node(Place { id, level: place.level - 1, first }, grid, true)?;
                }
            }
        }
        self.last.put((place.level, place.first), node, 1);
        Ok(())
    }
}
