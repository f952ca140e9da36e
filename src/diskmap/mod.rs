//! Disk maps: the Merkle tree that says, for every chunk of a disk, hole or chunk id.

mod build;
mod read;

pub use build::{MapBuilder, NodeSink};
pub use read::{DiskMap, NodeSource};

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::{BTreeMap, HashMap};
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::base::hash::blake3_256;
    use crate::base::id::ChunkId;
    use crate::base::limits::CHUNK_BYTES;
    use crate::base::units::{ChunkGrid, ChunkIndex};
    use crate::error::{Error, Result};
    use crate::format::mapnode::MapNode;

    #[derive(Default)]
    struct Nodes(RefCell<HashMap<ChunkId, Vec<u8>>>);

    impl NodeSink for Nodes {
        fn put_node(&self, node: &MapNode) -> Result<ChunkId> {
            let bytes = node.encode();
            let id = ChunkId::from_bytes(blake3_256(&bytes));
            self.0.borrow_mut().insert(id, bytes);
            Ok(id)
        }
    }

    struct Stored(HashMap<ChunkId, Vec<u8>>);

    impl NodeSource for Stored {
        fn node(&self, id: ChunkId) -> Result<Arc<MapNode>> {
            let bytes = self.0.get(&id).ok_or_else(|| Error::corrupt("no such node"))?;
            MapNode::decode(bytes).map(Arc::new).map_err(|error| error.in_object("node"))
        }
    }

    fn grid(chunks: u64) -> ChunkGrid {
        ChunkGrid::new(chunks * CHUNK_BYTES as u64)
    }

    fn id(n: u64) -> ChunkId {
        ChunkId::from_bytes(blake3_256(&n.to_le_bytes()))
    }

    fn build(chunks: u64, leaves: &BTreeMap<u64, ChunkId>) -> (ChunkId, usize, DiskMap) {
        let nodes = Nodes::default();
        let mut builder = MapBuilder::default();
        for (index, chunk) in leaves {
            builder.settle(ChunkIndex(*index), &nodes).unwrap();
            builder.set(ChunkIndex(*index), *chunk);
        }
        let root = builder.finish(grid(chunks), &nodes).unwrap();
        let stored = Stored(nodes.0.into_inner());
        let count = stored.0.len();
        (root, count, DiskMap::new(grid(chunks), root, Arc::new(stored)))
    }

    proptest! {
        #[test]
        fn a_map_says_what_was_set_and_where_data_and_holes_begin(
            chunks in 1u64..140_000,
            picks in prop::collection::vec((any::<prop::sample::Index>(), 1u64..600), 0..6),
        ) {
            let mut leaves = BTreeMap::new();
            for (at, run) in picks {
                let first = at.index(chunks as usize) as u64;
                leaves.extend((first..chunks.min(first + run)).map(|index| (index, id(index))));
            }
            let (_, _, map) = build(chunks, &leaves);
            let found = map.leaves(ChunkIndex(0)).map(|leaf| leaf.map(|(i, id)| (i.0, id)));
            let found: BTreeMap<_, _> = found.collect::<Result<_>>().unwrap();
            prop_assert_eq!(&found, &leaves);
            let edges = leaves.keys().flat_map(|i| [i.saturating_sub(1), *i, i + 1]).take(300);
            for at in edges.chain([0, chunks - 1]).filter(|at| *at < chunks) {
                prop_assert_eq!(map.leaf(ChunkIndex(at)).unwrap(), leaves.get(&at).copied());
                let data = leaves.range(at..).next().map(|(i, id)| (ChunkIndex(*i), *id));
                prop_assert_eq!(map.next_data(ChunkIndex(at)).unwrap(), data);
                let hole = (at..chunks).find(|i| !leaves.contains_key(i)).unwrap_or(chunks);
                prop_assert_eq!(map.next_hole(ChunkIndex(at)).unwrap(), ChunkIndex(hole));
            }
        }
    }

    #[test]
    fn one_changed_chunk_of_a_large_disk_makes_one_new_node_per_level() {
        let mut leaves: BTreeMap<_, _> = (0..70_000).map(|index| (index, id(index))).collect();
        let chunks = 70_000;
        let nodes = Nodes::default();
        let before = {
            let mut builder = MapBuilder::default();
            leaves.iter().for_each(|(index, chunk)| builder.set(ChunkIndex(*index), *chunk));
            builder.finish(grid(chunks), &nodes).unwrap()
        };
        let count = nodes.0.borrow().len();
        leaves.insert(300, id(u64::MAX));
        let mut builder = MapBuilder::default();
        leaves.iter().for_each(|(index, chunk)| builder.set(ChunkIndex(*index), *chunk));
        assert_ne!(builder.finish(grid(chunks), &nodes).unwrap(), before);
        assert_eq!(nodes.0.borrow().len(), count + 3);
    }

    #[test]
    fn a_disk_that_is_all_zero_has_a_map_of_one_node_whatever_its_length() {
        for chunks in [0, 1, 256, 257, 10 << 20] {
            let (_, nodes, map) = build(chunks, &BTreeMap::new());
            assert_eq!(nodes, 1);
            assert!(map.leaves(ChunkIndex(0)).next().is_none());
        }
    }

    #[test]
    fn a_map_that_goes_on_beyond_its_disk_or_has_the_wrong_height_is_corrupt() {
        let leaves: BTreeMap<_, _> = (0..300).map(|index| (index, id(index))).collect();
        let (_, _, map) = build(300, &leaves);
        for chunks in [299, 200, 70_000] {
            let bent = map.on_grid(grid(chunks));
            assert!(bent.leaves(ChunkIndex(0)).any(|leaf| leaf.is_err()), "{chunks} chunks");
        }
    }
}
