//! Who has a VM.

use crate::base::limits::SMALL_OBJECT_BYTES_MAX;
use crate::error::Result;
use crate::format::layout::ObjectName;
use crate::format::session::SessionRecord;
use crate::repo::Repository;
use crate::store::Store;

impl Repository {
    /// Who has the VM of that name, if anybody has: a text for people.
    pub fn vm_holder(&self, vm: &str) -> Result<Option<String>> {
        let lock = ObjectName::vm_lock(vm);
        let store = &**self.store();
        let is_held = store.is_held(&lock)?;
        Ok(is_held.then(|| name(store, &lock).unwrap_or_else(|| "unknown".to_owned())))
    }
}

/// What the text of a lock says about whoever took it last.
pub(super) fn name(store: &dyn Store, lock: &ObjectName) -> Option<String> {
    let bytes = store.read(lock, SMALL_OBJECT_BYTES_MAX).ok()?;
    let SessionRecord { pid, host, began, .. } = SessionRecord::decode(&bytes).ok()?;
    Some(format!("process {pid} on {host}, since {}", began.rfc3339()))
}
