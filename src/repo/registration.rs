//! The registration of a session that commits nothing.

use crate::base::id::{PointId, SessionId};
use crate::error::Result;
use crate::format::layout::ObjectName;
use crate::format::session::{SessionKind, SessionRecord};
use crate::repo::Repository;
use crate::store::Held;

/// Registered from [`Registration::begin`] until this is dropped.
///
/// Such a session decides nothing, so it needs no commit; a registration that stays because the
/// process died is cleared by the next session.
pub struct Registration {
    repo: Repository,
    id: SessionId,
    _held: Box<dyn Held>,
}

impl Registration {
    /// Registers a session. A prune keeps `point` while it lives.
    pub fn begin(repo: &Repository, kind: SessionKind, point: Option<PointId>) -> Result<Self> {
        let environment = repo.environment();
        let record = SessionRecord {
            kind,
            vm: None,
            point,
            began: environment.clock.now(),
            host: environment.host.clone(),
            pid: std::process::id(),
        };
        let id = SessionId::random(&*environment.chance);
        let held = repo.store().register(&ObjectName::session(id), &record.encode())?;
        Ok(Self { repo: repo.clone(), id, _held: held })
    }

    /// The session.
    #[must_use]
    pub fn id(&self) -> SessionId {
        self.id
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        if let Err(problem) = self.repo.store().delete(&ObjectName::session(self.id)) {
            self.repo.monitor().problem(&problem);
        }
    }
}
