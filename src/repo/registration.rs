//! How sessions register, and the registration of those that commit nothing.

use crate::base::id::{PointId, SessionId};
use crate::error::{Error, ErrorKind, Result};
use crate::format::layout::ObjectName;
use crate::format::session::{SessionKind, SessionRecord};
use crate::repo::Repository;
use crate::store::Held;

/// What a session of this process says of itself, in its registration and in the locks that it has.
pub(super) fn describe(
    repo: &Repository,
    kind: SessionKind,
    vm: Option<&str>,
    point: Option<PointId>,
) -> SessionRecord {
    let environment = repo.environment();
    SessionRecord {
        kind,
        vm: vm.map(ToOwned::to_owned),
        point,
        began: environment.clock.now(),
        host: environment.host.clone(),
        pid: std::process::id(),
    }
}

/// Registers a session under a new id, until the process ends or the value is dropped; the object
/// itself stays.
pub(super) fn register(
    repo: &Repository,
    record: &SessionRecord,
) -> Result<(SessionId, Box<dyn Held>)> {
    let id = SessionId::random(&*repo.environment().chance);
    let held = repo.store().register(&ObjectName::session(id), &record.encode())?;
    Ok((id, held))
}

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
        Self::of(repo, &describe(repo, kind, None, point))
    }

    /// Registers a session that says that of itself.
    pub(super) fn of(repo: &Repository, record: &SessionRecord) -> Result<Self> {
        let (id, held) = register(repo, record)?;
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
        check_not_dropped(repo, point)?;
        Ok(Some(registration))
    }

    /// The session.
    #[must_use]
    pub fn id(&self) -> SessionId {
        self.id
    }
}

/// Fails with [`ErrorKind::NotFound`] if a restore point was dropped. To be called after the
/// registration that names it.
pub(super) fn check_not_dropped(repo: &Repository, point: PointId) -> Result<()> {
    match repo.store().len_bytes(&ObjectName::forgotten(point)) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(_) => {
            let what = format!("restore point {point} was dropped");
            Err(Error::new(ErrorKind::NotFound, what))
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        if let Err(problem) = self.repo.store().delete(&ObjectName::session(self.id)) {
            self.repo.monitor().problem(&problem);
        }
    }
}
