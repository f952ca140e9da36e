//! A session that brings a restore point back to an engine.

use crate::base::id::{PointId, SessionId};
use crate::error::Result;
use crate::format::session::SessionKind;
use crate::repo::registration::{Registration, check_not_dropped, describe};
use crate::repo::{Repository, holder};
use crate::store::Held;

/// Has the lock of a VM and is registered until it is dropped: no backup of the VM runs meanwhile,
/// no other restore into it, and no prune takes what it reads.
pub struct RestoreSession {
    registration: Registration,
    _vm_lock: Box<dyn Held>,
}

impl RestoreSession {
    /// Begins a restore of `point` into `vm`.
    ///
    /// [`crate::error::ErrorKind::Busy`] if somebody has the VM,
    /// [`crate::error::ErrorKind::NotFound`] if the restore point was dropped.
    pub fn begin(repo: &Repository, vm: &str, point: PointId) -> Result<Self> {
        let record = describe(repo, SessionKind::Restore, Some(vm), Some(point));
        let vm_lock = holder::lock(repo, vm, &record)?;
        let registration = Registration::of(repo, &record)?;
        check_not_dropped(repo, point)?;
        Ok(Self { registration, _vm_lock: vm_lock })
    }

    /// Which session it is.
    #[must_use]
    pub fn id(&self) -> SessionId {
        self.registration.id()
    }
}
