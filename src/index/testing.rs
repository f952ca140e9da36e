//! What the tests of this module share: entries from a seed, and a model to compare with.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::base::chance::Chance;
use crate::base::id::{ChunkId, PackId, RepoId, SegmentId};
use crate::crypto::{Keyring, Sealing};
use crate::format::entry::EntryKind;
use crate::format::layout::ObjectName;
use crate::format::location::Location;
use crate::index::segment::Segment;
use crate::store::Store;
use crate::store::testing::{MemoryStore, SeededChance};

pub(super) const REPO: RepoId = RepoId::from_bytes([7; 16]);

/// A plain repository.
pub(super) fn plain() -> Sealing {
    Sealing::plain(REPO)
}

/// The same repository, encrypted.
pub(super) fn keyed() -> Sealing {
    let chance = SeededChance::new(77);
    Sealing::keyed(REPO, &Keyring::generate(&chance), Arc::new(chance))
}

pub(super) type Entry = (ChunkId, Location);

/// All copies of each chunk, in the order of packs and offsets.
pub(super) type Model = BTreeMap<ChunkId, Vec<Location>>;

/// Draws entries.
pub(super) struct Draw {
    chance: SeededChance,
    /// Entries lie in the packs below this.
    pub(super) packs: usize,
}

impl Draw {
    pub(super) fn new(seed: u64) -> Self {
        Self { chance: SeededChance::new(seed), packs: 300 }
    }

    pub(super) fn chunk(&self) -> ChunkId {
        ChunkId::from_bytes((&self.chance as &dyn Chance).bytes())
    }

    /// An id that shares its first bytes with many others.
    pub(super) fn crowded_chunk(&self) -> ChunkId {
        let mut bytes = [0xaa; 32];
        let tail = 32 - self.chance.below(4);
        self.chance.fill(&mut bytes[tail..]);
        ChunkId::from_bytes(bytes)
    }

    pub(super) fn location(&self) -> Location {
        Location {
            pack: pack(self.chance.below(self.packs)),
            offset: self.chance.next() as u32,
            entry_len: 1000 + self.chance.below(1000) as u32,
            plain_len: 1 + self.chance.below(1 << 20) as u32,
            kind: if self.chance.below(9) == 0 { EntryKind::MapNode } else { EntryKind::Data },
        }
    }

    /// Entries of random chunks, some crowded, some in several copies, some twice the same.
    pub(super) fn entries(&self, count: usize) -> Vec<Entry> {
        let mut entries: Vec<Entry> = Vec::with_capacity(count);
        while entries.len() < count {
            let entry = match (self.chance.below(20), entries.last()) {
                (0, Some(last)) => *last,
                (1 | 2, Some((chunk, _))) => (*chunk, self.location()),
                (3, _) => (self.crowded_chunk(), self.location()),
                _ => (self.chunk(), self.location()),
            };
            entries.push(entry);
        }
        entries
    }
}

/// A pack whose id does not follow the order of the numbers.
pub(super) fn pack(number: usize) -> PackId {
    let mut bytes = [number as u8; 32];
    bytes[1..9].copy_from_slice(&number.to_be_bytes());
    PackId::from_bytes(bytes)
}

pub(super) fn model(entries: &[Entry]) -> Model {
    let mut model = Model::new();
    for (chunk, location) in entries {
        model.entry(*chunk).or_default().push(*location);
    }
    for copies in model.values_mut() {
        copies.sort_by_key(|copy| (copy.pack, copy.offset));
        copies.dedup();
    }
    model
}

/// Everything that a segment says, read in order.
pub(super) fn contents(segment: &Segment) -> Model {
    let entries: Vec<Entry> = segment.entries().map(Result::unwrap).collect();
    let chunks: Vec<ChunkId> = entries.iter().map(|(chunk, _)| *chunk).collect();
    assert!(chunks.is_sorted());
    let model = model(&entries);
    assert_eq!(model.values().map(Vec::len).sum::<usize>(), entries.len(), "each copy once");
    model
}

pub(super) fn open(store: &dyn Store, id: SegmentId) -> Segment {
    Segment::open(store, id, &plain()).unwrap()
}

pub(super) fn segment_bytes(store: &dyn Store, id: SegmentId) -> Vec<u8> {
    store.read(&ObjectName::segment(id), usize::MAX).unwrap()
}

/// A store with nothing but `bytes` under the name of a segment.
pub(super) fn store_with(bytes: &[u8], id: SegmentId) -> MemoryStore {
    let store = MemoryStore::new();
    let _ = store.create(&ObjectName::segment(id), bytes).unwrap();
    store
}

pub(super) fn listed(store: &dyn Store) -> BTreeSet<SegmentId> {
    let names = store.list(crate::format::layout::Area::Index).unwrap();
    names.iter().filter_map(ObjectName::segment_id).collect()
}
