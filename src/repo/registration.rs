//! The registration of a session that commits nothing.

use crate::base::id::{PointId, SessionId};
use crate::error::{Error, ErrorKind, Result};
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

    /// Registers a session that reads `point`; none where the medium cannot be written, which is
    /// told unless it is forbidden: reading must work all the same.
    ///
    /// [`ErrorKind::NotFound`] if the restore point was dropped by then. That is looked at after
    /// the registration, and a prune looks in the other order, so one of the two sees the other.
    pub fn reading(repo: &Repository, kind: SessionKind, point: PointId) -> Result<Option<Self>> {
        let registration = match Self::begin(repo, kind, Some(point)) {
            Ok(registration) => registration,
            Err(error) => {
                if error.kind() != ErrorKind::Denied {
                    repo.monitor().problem(&error);
                }
                return Ok(None);
            }
        };
        match repo.store().len_bytes(&ObjectName::forgotten(point)) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Some(registration)),
            Err(error) => Err(error),
            Ok(_) => {
                let what = format!("restore point {point} was dropped");
                Err(Error::new(ErrorKind::NotFound, what))
            }
        }
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
