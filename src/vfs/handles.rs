//! What is open, by number.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use crate::error::Result;
use crate::vfs::inodes::Node;
use crate::vfs::listing::not_found;
use crate::vfs::open_disk::OpenDisk;
use crate::vfs::{Access, DirEntry, HandleId};

/// Something open. It keeps its restore point readable.
pub(super) enum Handle {
    /// A disk, and whether it was opened to be written.
    Disk(OpenDisk, Access),
    /// A text.
    Text(Arc<[u8]>),
    /// A directory, and what it held when it was last read from its beginning.
    Directory(Node, Mutex<Arc<[DirEntry]>>),
}

/// All that is open. Numbers are not used again.
#[derive(Default)]
pub(super) struct Handles {
    open: RwLock<HashMap<u64, Arc<Handle>>>,
    last: AtomicU64,
}

impl Handles {
    /// Keeps a handle and says its number.
    pub(super) fn insert(&self, handle: Handle) -> HandleId {
        let id = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        open.insert(id, Arc::new(handle));
        HandleId(id)
    }

    /// The handle of that number.
    pub(super) fn get(&self, id: HandleId) -> Result<Arc<Handle>> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        open.get(&id.0).cloned().ok_or_else(|| not_found("nothing is open under that number"))
    }

    /// Forgets a handle.
    pub(super) fn remove(&self, id: HandleId) {
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        let removed = open.remove(&id.0);
        drop(open);
        drop(removed);
    }

    /// How many are open.
    pub(super) fn len(&self) -> usize {
        self.open.read().unwrap_or_else(PoisonError::into_inner).len()
    }
}
