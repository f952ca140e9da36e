//! Walks disk maps node by node, and passes over what several of them share.

use crate::base::id::ChunkId;
use crate::base::limits::MAP_FANOUT;
use crate::base::units::ChunkGrid;
use crate::diskmap::NodeSource;
use crate::error::{Error, Result};

/// Told of what a walk meets.
pub(super) trait Visitor {
    /// A node of a map. Whether it is new; what lies under one that is not is passed over.
    fn node(&mut self, node: ChunkId) -> Result<bool>;
    /// A chunk of a disk.
    fn chunk(&mut self, chunk: ChunkId) -> Result<()>;
}

/// Visits every node and chunk of the map with that root of a disk of `grid`.
///
/// A node that cannot be read, or that does not fit its place, ends the walk: what lies under it is
/// not known.
pub(super) fn walk_map(
    nodes: &dyn NodeSource,
    root: ChunkId,
    grid: ChunkGrid,
    visitor: &mut dyn Visitor,
) -> Result<()> {
    let place = Place { id: root, level: grid.map_levels() - 1, first: 0 };
    // A root is looked at in any case: a disk of another length may have its node elsewhere.
    let is_new = visitor.node(root)?;
    walk_node(nodes, place, grid, is_new, visitor)
}

#[derive(Clone, Copy)]
struct Place {
    id: ChunkId,
    level: u8,
    /// The first chunk that it covers.
    first: u64,
}

fn walk_node(
    nodes: &dyn NodeSource,
    place: Place,
    grid: ChunkGrid,
    is_new: bool,
    visitor: &mut dyn Visitor,
) -> Result<()> {
    let node = nodes.node(place.id)?;
    let span = (MAP_FANOUT as u64).pow(place.level.into());
    let last =
        node.present().last().map_or(place.first, |(slot, _)| place.first + slot as u64 * span);
    if node.level() != place.level || last >= grid.chunk_count().max(1) {
        return Err(Error::corrupt("a disk map node is out of place").chunk(place.id));
    }
    if !is_new {
        return Ok(());
    }
    for (slot, id) in node.present() {
        if place.level == 0 {
            visitor.chunk(id)?;
        } else if visitor.node(id)? {
            let first = place.first + slot as u64 * span;
            let child = Place { id, level: place.level - 1, first };
            walk_node(nodes, child, grid, true, visitor)?;
        }
    }
    Ok(())
}
