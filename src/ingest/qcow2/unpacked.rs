//! The last few clusters that were decompressed.
//!
//! A cluster can be larger than a chunk, or be read in smaller parts: each part must not unpack it
//! again. One cache serves a whole chain, so a long chain needs no more memory than one image.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use crate::base::sync::lock;
use crate::error::Result;
use crate::ingest::qcow2::entry::Packed;

/// Clusters that are kept. The largest cluster has 2 MiB, so the cache holds 16 MiB at most; it is
/// 512 KiB with the usual clusters of 64 KiB.
const CLUSTERS: usize = 8;

/// Which cluster: the number of the file in its chain, and where in that file it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ClusterKey {
    /// 0 is the lowest file.
    pub(super) layer: usize,
    /// The packed bytes.
    pub(super) packed: Packed,
}

type Cluster = Arc<Vec<u8>>;
/// Empty while its cluster is being made.
type Slot = Arc<Mutex<Option<Cluster>>>;

/// Decompressed clusters, shared by the threads that read a chain.
#[derive(Debug, Default)]
pub(super) struct UnpackedClusters {
    recent: Mutex<VecDeque<(ClusterKey, Slot)>>,
}

impl UnpackedClusters {
    /// The cluster of that key, made by `unpack` if it is not here. Threads that ask for one
    /// cluster at the same time wait for the first of them instead of doing its work again.
    pub(super) fn get(
        &self,
        key: ClusterKey,
        unpack: impl FnOnce() -> Result<Cluster>,
    ) -> Result<Cluster> {
        let slot = self.slot(key);
        let mut slot = lock(&slot);
        if let Some(cluster) = &*slot {
            return Ok(cluster.clone());
        }
        Ok(slot.insert(unpack()?).clone())
    }

    /// The slot of that key, moved to the front of the row.
    fn slot(&self, key: ClusterKey) -> Slot {
        let mut recent = lock(&self.recent);
        let found = recent.iter().position(|(kept, _)| *kept == key);
        let entry = found.and_then(|at| recent.remove(at)).unwrap_or_else(|| (key, Arc::default()));
        let slot = entry.1.clone();
        recent.push_front(entry);
        recent.truncate(CLUSTERS);
        slot
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Error, ErrorKind};

    fn key(offset_bytes: u64) -> ClusterKey {
        ClusterKey { layer: 0, packed: Packed { offset_bytes, len_bytes: 512 } }
    }

    fn made(byte: u8) -> Result<Cluster> {
        Ok(Arc::new(vec![byte]))
    }

    fn must_be_kept() -> Result<Cluster> {
        panic!("the cluster was unpacked twice")
    }

    #[test]
    fn a_recent_cluster_is_unpacked_once_and_an_old_one_is_let_go() {
        let cache = UnpackedClusters::default();
        cache.get(key(0), || made(0)).unwrap();
        for at in 1..CLUSTERS as u64 {
            cache.get(key(at), || made(1)).unwrap();
            assert_eq!(*cache.get(key(0), must_be_kept).unwrap(), [0]);
        }
        cache.get(key(100), || made(2)).unwrap();
        assert_eq!(*cache.get(key(1), || made(3)).unwrap(), [3]);
    }

    #[test]
    fn one_offset_in_two_files_is_two_clusters() {
        let cache = UnpackedClusters::default();
        cache.get(key(7), || made(1)).unwrap();
        let other = ClusterKey { layer: 1, ..key(7) };
        assert_eq!(*cache.get(other, || made(2)).unwrap(), [2]);
        assert_eq!(*cache.get(key(7), must_be_kept).unwrap(), [1]);
    }

    #[test]
    fn a_cluster_that_could_not_be_unpacked_is_tried_again() {
        let cache = UnpackedClusters::default();
        let failed = cache.get(key(1), || Err(Error::new(ErrorKind::Source, "bad luck")));
        assert_eq!(failed.unwrap_err().to_string(), "bad luck");
        assert_eq!(*cache.get(key(1), || made(5)).unwrap(), [5]);
    }
}
