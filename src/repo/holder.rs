//! Who has a VM, one backup of it at a time or one restore into it; and whose a session is.

use crate::base::id::SessionId;
use crate::base::limits::SMALL_OBJECT_BYTES_MAX;
use crate::error::{Error, ErrorKind, Result};
use crate::format::layout::ObjectName;
use crate::format::session::{SessionKind, SessionRecord};
use crate::repo::Repository;
use crate::store::{Held, Store};

/// Who has a VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VmHolder {
    /// What it does with the VM.
    pub kind: SessionKind,
    /// Which process it is, for people.
    pub who: String,
}

impl Repository {
    /// Who has the VM of that name, if anybody has.
    pub fn vm_holder(&self, vm: &str) -> Result<Option<VmHolder>> {
        let lock = self.sealing().vm_lock(vm);
        let store = &**self.store();
        let is_held = store.is_held(&lock)?;
        Ok(is_held.then(|| read(store, &lock)))
    }

    /// Which process a session is, for people; none if it has ended.
    pub fn session_process(&self, session: SessionId) -> Result<Option<String>> {
        let name = ObjectName::session(session);
        let store = &**self.store();
        let is_held = store.is_held(&name)?;
        Ok(is_held.then(|| read(store, &name).who))
    }
}

/// Takes the lock of a VM. [`ErrorKind::Busy`] if somebody has it.
pub(super) fn lock(repo: &Repository, vm: &str, record: &SessionRecord) -> Result<Box<dyn Held>> {
    let name = repo.sealing().vm_lock(vm);
    let store = &**repo.store();
    if let Some(held) = store.lock(&name, &record.encode())? {
        return Ok(held);
    }
    let VmHolder { kind, who } = read(store, &name);
    let doing = match kind {
        SessionKind::Restore => "a restore into",
        _ => "another backup of",
    };
    Err(Error::new(ErrorKind::Busy, format!("{doing} VM {vm:?} is running ({who})")))
}

/// What the text of a lock or registration says about whoever took it last. It may be just being
/// written.
pub(super) fn read(store: &dyn Store, lock: &ObjectName) -> VmHolder {
    let bytes = store.read(lock, SMALL_OBJECT_BYTES_MAX).ok();
    match bytes.and_then(|bytes| SessionRecord::decode(&bytes).ok()) {
        Some(SessionRecord { kind, pid, host, began, .. }) => {
            VmHolder { kind, who: format!("process {pid} on {host}, since {}", began.rfc3339()) }
        }
        None => VmHolder { kind: SessionKind::Backup, who: "unknown".to_owned() },
    }
}
