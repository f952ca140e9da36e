//! A session that brings a restore point back to an engine.

use crate::base::id::SessionId;
use crate::error::Result;
use crate::format::layout::ObjectName;
use crate::format::session::{SessionKind, SessionRecord};
use crate::repo::{Repository, holder};
use crate::store::Held;

/// Has the lock of a VM and is registered until it is dropped: no backup of the VM runs meanwhile,
/// and no other restore into it.
pub struct RestoreSession {
    repo: Repository,
    id: SessionId,
    _registration: Box<dyn Held>,
    _vm_lock: Box<dyn Held>,
}

impl RestoreSession {
    /// Begins. [`crate::error::ErrorKind::Busy`] if somebody has the VM.
    pub fn begin(repo: &Repository, vm: &str) -> Result<Self> {
        let store = &**repo.store();
        let environment = repo.environment();
        let record = SessionRecord {
            kind: SessionKind::Restore,
            vm: Some(vm.to_owned()),
            point: None,
            began: environment.clock.now(),
            host: environment.host.clone(),
            pid: std::process::id(),
        };
        let vm_lock = holder::lock(store, vm, &record)?;
        let id = SessionId::random(&*environment.chance);
        let registration = store.register(&ObjectName::session(id), &record.encode())?;
        Ok(Self { repo: repo.clone(), id, _registration: registration, _vm_lock: vm_lock })
    }

    /// Which session it is.
    #[must_use]
    pub fn id(&self) -> SessionId {
        self.id
    }
}

impl Drop for RestoreSession {
    fn drop(&mut self) {
        if let Err(problem) = self.repo.store().delete(&ObjectName::session(self.id)) {
            self.repo.monitor().problem(&problem);
        }
    }
}
