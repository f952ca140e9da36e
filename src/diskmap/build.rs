//! Builds a disk map from leaves that arrive nearly in order, in memory bounded by the disk's
//! length divided by 256 MiB.

use std::collections::BTreeMap;

use crate::base::id::ChunkId;
use crate::base::limits::MAP_FANOUT;
use crate::base::units::{ChunkGrid, ChunkIndex};
use crate::error::Result;
use crate::format::mapnode::MapNode;

/// Takes finished nodes.
pub trait NodeSink {
    /// Stores a node unless it is stored already, and says its id.
    fn put_node(&self, node: &MapNode) -> Result<ChunkId>;
}

/// Builds the map of one disk. Every chunk that is not set is a hole.
///
/// The length of the disk need not be known before [`MapBuilder::finish`].
#[derive(Debug, Default)]
pub struct MapBuilder {
    /// Nodes of level 0 that may still get leaves, by their position.
    growing: BTreeMap<u64, MapNode>,
    /// Ids of the nodes of level 0 that are stored, by their position. Holes are absent.
    stored: BTreeMap<u64, ChunkId>,
}

impl MapBuilder {
    /// Sets a leaf.
    ///
    /// # Panics
    ///
    /// If its node was stored already because [`MapBuilder::settle`] was told that it is complete.
    pub fn set(&mut self, index: ChunkIndex, chunk: ChunkId) {
        let position = index.0 / MAP_FANOUT as u64;
        assert!(!self.stored.contains_key(&position), "the node is not settled yet");
        let node = self.growing.entry(position).or_insert_with(|| MapNode::empty(0));
        node.set_child((index.0 % MAP_FANOUT as u64) as usize, Some(chunk));
    }

    /// Says that all leaves below `index` are set; nodes that are complete by that are stored.
    pub fn settle(&mut self, index: ChunkIndex, sink: &dyn NodeSink) -> Result<()> {
        while let Some(first) = self.growing.first_entry() {
            let position = *first.key();
            if (position + 1) * MAP_FANOUT as u64 > index.0 {
                break;
            }
            let node = first.remove();
            self.stored.insert(position, sink.put_node(&node)?);
        }
        Ok(())
    }

    /// Stores the rest of the map and says the id of its root. Every map has a root, that of an
    /// all-zero disk too.
    ///
    /// # Panics
    ///
    /// If a leaf was set beyond the end of the disk.
    pub fn finish(mut self, grid: ChunkGrid, sink: &dyn NodeSink) -> Result<ChunkId> {
        let end = grid.chunk_count().div_ceil(MAP_FANOUT as u64);
        let last = self.growing.keys().chain(self.stored.keys()).max();
        assert!(last.is_none_or(|last| *last < end), "every leaf is on the disk");
        let levels = grid.map_levels();
        if levels == 1 {
            let root = self.growing.remove(&0).unwrap_or_else(|| MapNode::empty(0));
            return match self.stored.remove(&0) {
                Some(stored) => Ok(stored),
                None => sink.put_node(&root),
            };
        }
        self.settle(ChunkIndex(u64::MAX), sink)?;
        let mut below = self.stored;
        for level in 1..levels - 1 {
            let nodes = parents(level, &below);
            below = BTreeMap::new();
            for (position, node) in nodes {
                below.insert(position, sink.put_node(&node)?);
            }
        }
        let root = parents(levels - 1, &below).remove(&0);
        sink.put_node(&root.unwrap_or_else(|| MapNode::empty(levels - 1)))
    }
}

fn parents(level: u8, below: &BTreeMap<u64, ChunkId>) -> BTreeMap<u64, MapNode> {
    let mut nodes = BTreeMap::new();
    for (position, id) in below {
        let node =
            nodes.entry(position / MAP_FANOUT as u64).or_insert_with(|| MapNode::empty(level));
        node.set_child((position % MAP_FANOUT as u64) as usize, Some(*id));
    }
    nodes
}
