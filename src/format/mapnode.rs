//! A node of a disk map: which of its 256 children exist, and their ids.
//!
//! `docs/format/mapnode.md` is the page; a test compares its table with [`FIELDS`].

use crate::base::id::ChunkId;
use crate::base::limits::MAP_FANOUT;
use crate::format::codec::{DecodeError, Field, require};

const MAGIC_BYTES: &[u8; 4] = b"bmap";
const VERSION_WRITTEN: u8 = 1;
/// No disk that a commit may name has a deeper map.
const LEVEL_MAX: u8 = 7;

const MAGIC: Field = Field::new("magic", 0, 4);
const VERSION: Field = Field::new("version", 4, 1);
const LEVEL: Field = Field::new("level", 5, 1);
const RESERVED: Field = Field::new("reserved", 6, 2);
const PRESENT: Field = Field::new("present", 8, 32);

/// Length of a node without its children, in bytes.
pub const MAP_NODE_HEADER_LEN: usize = PRESENT.end();
/// The layout of a node's header, in order. The ids of the children that exist follow it.
pub const FIELDS: &[Field] = &[MAGIC, VERSION, LEVEL, RESERVED, PRESENT];

/// One node. A child that does not exist is a hole: all of what it would cover is zero.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MapNode {
    level: u8,
    children: Vec<Option<ChunkId>>,
}

impl MapNode {
    /// A node without children. At level 0 the children are chunks, above it nodes.
    #[must_use]
    pub fn empty(level: u8) -> Self {
        Self { level, children: vec![None; MAP_FANOUT] }
    }

    /// Height above the chunks: 0 for a node whose children are chunks.
    #[must_use]
    pub fn level(&self) -> u8 {
        self.level
    }

    /// The child at `slot`, or none for a hole.
    ///
    /// # Panics
    ///
    /// If `slot` is not below 256.
    #[must_use]
    pub fn child(&self, slot: usize) -> Option<ChunkId> {
        self.children[slot]
    }

    /// Sets the child at `slot`.
    ///
    /// # Panics
    ///
    /// If `slot` is not below 256.
    pub fn set_child(&mut self, slot: usize, child: Option<ChunkId>) {
        self.children[slot] = child;
    }

    /// Whether all of what the node covers is zero.
    #[must_use]
    pub fn is_hole(&self) -> bool {
        self.children.iter().all(Option::is_none)
    }

    /// The children that exist, with their slots, in order.
    pub fn present(&self) -> impl Iterator<Item = (usize, ChunkId)> + '_ {
        self.children.iter().enumerate().filter_map(|(slot, id)| id.map(|id| (slot, id)))
    }

    /// The bytes of the node; their BLAKE3 is its id.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![0; MAP_NODE_HEADER_LEN];
        MAGIC.put(&mut out, MAGIC_BYTES);
        VERSION.put(&mut out, &[VERSION_WRITTEN]);
        LEVEL.put(&mut out, &[self.level]);
        for (slot, id) in self.present() {
            out[PRESENT.at + slot / 8] |= 1 << (slot % 8);
            out.extend_from_slice(id.as_bytes());
        }
        out
    }

    /// Reads a node. A node has only one encoding: every other one is refused.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        require(bytes.len() >= MAP_NODE_HEADER_LEN, "a disk map node is cut short")?;
        require(MAGIC.of(bytes) == MAGIC_BYTES, "a disk map node does not begin like one")?;
        if VERSION.of(bytes)[0] != VERSION_WRITTEN {
            return Err(DecodeError::newer("a disk map node is newer than this release"));
        }
        let level = LEVEL.of(bytes)[0];
        require(level <= LEVEL_MAX, "a disk map is deeper than any can be")?;
        require(RESERVED.is_zero(bytes), "a disk map node has bits that mean nothing")?;
        let present = PRESENT.of(bytes);
        let count: u32 = present.iter().map(|byte| byte.count_ones()).sum();
        let (ids, rest) = bytes[MAP_NODE_HEADER_LEN..].as_chunks::<{ ChunkId::LEN }>();
        require(
            ids.len() == count as usize && rest.is_empty(),
            "a disk map node has the wrong length",
        )?;
        let mut ids = ids.iter();
        let children = (0..MAP_FANOUT).map(|slot| {
            let is_present = present[slot / 8] >> (slot % 8) & 1 == 1;
            is_present.then(|| ids.next().copied().map(ChunkId::from_bytes)).flatten()
        });
        Ok(Self { level, children: children.collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_reads_back_and_only_from_its_one_encoding() {
        let mut node = MapNode::empty(1);
        for slot in [0, 7, 8, 255] {
            node.set_child(slot, Some(ChunkId::from_bytes([slot as u8; 32])));
        }
        let bytes = node.encode();
        assert_eq!(MapNode::decode(&bytes), Ok(node));
        assert_eq!(bytes.len(), MAP_NODE_HEADER_LEN + 4 * 32);
        assert!((0..bytes.len()).all(|len| MapNode::decode(&bytes[..len]).is_err()));
        let longer = [bytes.as_slice(), &[0]].concat();
        assert!(MapNode::decode(&longer).is_err());
    }
}
