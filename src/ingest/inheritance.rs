//! Which chunks of the parent disk may be referred to: found out for many at once.

use std::sync::{Arc, Mutex};

use crate::base::cache::BoundedCache;
use crate::base::id::ChunkId;
use crate::base::limits::MAP_FANOUT;
use crate::base::sync::lock;
use crate::base::units::ChunkIndex;
use crate::ingest::parent::ParentDisk;
use crate::repo::BackupSession;

/// Groups that are remembered: workers are in neighbouring ones.
const GROUPS_KEPT: usize = 8;

/// What the parent has in one place: a chunk, a hole, or nothing that may be referred to.
type Inherited = Option<Option<ChunkId>>;

/// What a disk may inherit. Every chunk is looked up, because a prune may be about to delete the
/// pack that it lies in; those of a node of the parent's map together, because the index answers
/// many at once several times as fast as one after the other.
pub(super) struct Inheritance<'a> {
    parent: &'a ParentDisk,
    session: &'a BackupSession,
    /// By the number of the node, what it has in each of its places.
    known: Mutex<BoundedCache<u64, Arc<[Inherited]>>>,
}

impl<'a> Inheritance<'a> {
    pub(super) fn new(parent: &'a ParentDisk, session: &'a BackupSession) -> Self {
        Self { parent, session, known: Mutex::new(BoundedCache::new(GROUPS_KEPT)) }
    }

    /// What the parent has at `index`, if that may be referred to.
    pub(super) fn get(&self, index: ChunkIndex) -> Inherited {
        let (group, slot) = (index.0 / MAP_FANOUT as u64, index.0 % MAP_FANOUT as u64);
        // The lock is held meanwhile: others will want the same.
        let mut known = lock(&self.known);
        let inherited = known.get(&group).unwrap_or_else(|| {
            let inherited = self.look_up(group * MAP_FANOUT as u64);
            known.put(group, Arc::clone(&inherited), 1);
            inherited
        });
        inherited.get(slot as usize).copied().flatten()
    }

    /// The same for all chunks of the node that begins at `first`.
    fn look_up(&self, first: u64) -> Arc<[Inherited]> {
        let indices = (first..first + MAP_FANOUT as u64).map(ChunkIndex);
        let mut inherited: Vec<Inherited> =
            indices.map(|index| self.parent.leaf(index).ok()).collect();
        let mut chunks: Vec<(ChunkId, usize)> = inherited
            .iter()
            .zip(0..)
            .filter_map(|(leaf, slot)| Some((leaf.flatten()?, slot)))
            .collect();
        chunks.sort_unstable();
        let ids: Vec<ChunkId> = chunks.iter().map(|(id, _)| *id).collect();
        for ((_, slot), is_there) in chunks.iter().zip(self.session.have_usable_copies(&ids)) {
            if !is_there {
                inherited[*slot] = None;
            }
        }
        inherited.into()
    }
}
