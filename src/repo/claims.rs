//! Chunks that a session has taken on to store and that its index does not show yet.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard};

use crate::base::id::ChunkId;
use crate::base::sync::lock;

const SHARDS: usize = 16;

/// A set of chunk ids, shared by many threads.
#[derive(Debug, Default)]
pub(super) struct Claims {
    shards: [Mutex<HashSet<ChunkId>>; SHARDS],
}

impl Claims {
    /// Whether the caller is the first to claim the chunk, and so the one to store it.
    pub(super) fn claim(&self, chunk: ChunkId) -> bool {
        self.shard(chunk).insert(chunk)
    }

    /// Takes a claim back: the index shows the chunk.
    pub(super) fn release(&self, chunk: ChunkId) {
        self.shard(chunk).remove(&chunk);
    }

    fn shard(&self, chunk: ChunkId) -> MutexGuard<'_, HashSet<ChunkId>> {
        let shard = &self.shards[usize::from(chunk.as_bytes()[0]) % SHARDS];
        lock(shard)
    }
}
