//! The mount as a session of the repository, so that a prune knows of it.

use std::sync::Arc;

use crate::base::id::SessionId;
use crate::error::{ErrorKind, Result};
use crate::format::layout::ObjectName;
use crate::format::session::{SessionKind, SessionRecord};
use crate::repo::Repository;
use crate::store::Held;

/// Registered from [`Registration::begin`] until this is dropped.
pub(super) struct Registration {
    repo: Repository,
    name: ObjectName,
    _held: Box<dyn Held>,
}

impl Registration {
    /// Registers a mount, where the medium can be written. Reading must work where that fails, on
    /// a full medium for example, so a failure is told and gives none.
    pub(super) fn begin(repo: &Repository) -> Option<Self> {
        match Self::register(repo) {
            Ok(registration) => Some(registration),
            Err(error) if error.kind() == ErrorKind::Denied => None,
            Err(error) => {
                repo.monitor().problem(&error);
                None
            }
        }
    }

    fn register(repo: &Repository) -> Result<Self> {
        let environment = repo.environment();
        let record = SessionRecord {
            kind: SessionKind::Mount,
            vm: None,
            began: environment.clock.now(),
            host: environment.host.clone(),
            pid: std::process::id(),
        };
        let name = ObjectName::session(SessionId::random(&*environment.chance));
        let held = Arc::clone(repo.store()).register(&name, &record.encode())?;
        Ok(Self { repo: repo.clone(), name, _held: held })
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        if let Err(problem) = self.repo.store().delete(&self.name) {
            self.repo.monitor().problem(&problem);
        }
    }
}
