//! Open files of packs, so that reading many chunks of one pack opens it once.

use std::collections::HashMap;
use std::fs::File;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use crate::error::Result;
use crate::format::layout::ObjectName;

/// Few enough for the usual limit of 1024 open files per process, beside a mount's own.
const OPEN_FILES_MAX: usize = 64;

/// The most recently used files.
#[derive(Debug, Default)]
pub(super) struct Handles {
    open: RwLock<HashMap<ObjectName, Handle>>,
    clock: AtomicU64,
}

#[derive(Debug)]
struct Handle {
    file: Arc<File>,
    used: AtomicU64,
}

impl Handles {
    /// The open file of an object; `open` opens it if it is not there.
    pub(super) fn get(
        &self,
        name: &ObjectName,
        open: impl FnOnce() -> Result<File>,
    ) -> Result<Arc<File>> {
        if let Some(file) = self.cached(name) {
            return Ok(file);
        }
        let file = Arc::new(open()?);
        let used = AtomicU64::new(self.tick());
        let mut files = self.open.write().unwrap_or_else(PoisonError::into_inner);
        if files.len() >= OPEN_FILES_MAX {
            evict_oldest(&mut files);
        }
        files.insert(name.clone(), Handle { file: Arc::clone(&file), used });
        Ok(file)
    }

    /// Closes the file of an object once nobody reads it any more.
    pub(super) fn forget(&self, name: &ObjectName) {
        self.open.write().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    fn cached(&self, name: &ObjectName) -> Option<Arc<File>> {
        let files = self.open.read().unwrap_or_else(PoisonError::into_inner);
        let handle = files.get(name)?;
        handle.used.store(self.tick(), Ordering::Relaxed);
        Some(Arc::clone(&handle.file))
    }

    fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::Relaxed)
    }
}

fn evict_oldest(files: &mut HashMap<ObjectName, Handle>) {
    let oldest = files.iter().min_by_key(|(_, handle)| handle.used.load(Ordering::Relaxed));
    if let Some(name) = oldest.map(|(name, _)| name.clone()) {
        files.remove(&name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::id::PackId;
    use std::cell::Cell;

    #[test]
    fn a_file_in_use_stays_open_and_the_oldest_is_closed() {
        let handles = Handles::default();
        let opened = Cell::new(0);
        let get = |number: u8| {
            let open = || {
                opened.set(opened.get() + 1);
                Ok(tempfile::tempfile().unwrap())
            };
            handles.get(&ObjectName::pack(PackId::from_bytes([number; 32])), open).unwrap();
        };
        for number in 0..=OPEN_FILES_MAX as u8 {
            get(number);
            get(0);
        }
        assert_eq!(opened.get(), OPEN_FILES_MAX + 1);
        assert_eq!(handles.open.read().unwrap().len(), OPEN_FILES_MAX);
        get(1);
        assert_eq!(opened.get(), OPEN_FILES_MAX + 2);
    }
}
