//! The end of a backup: the disks are free again.

use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::ovirt::backup::begin::look;
use crate::ovirt::backup::events;
use crate::ovirt::client::{ApiPath, Engine};
use crate::ovirt::poll::until;
use crate::ovirt::wire::BackupPhase;

/// A snapshot that is merged back takes as long as its storage needs.
const OVER: Duration = Duration::from_secs(60 * 60);

/// How a backup ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The engine says that it succeeded.
    Succeeded,
    /// The engine says that it failed: so does one that is ended before it was ready.
    Failed,
    /// It is gone. Engines before 4.4.7 forget backups at once.
    Forgotten,
}

/// Finalizes a backup whatever it is doing, and waits until it is over. That it is over or gone
/// already is no error. All its transfers must be over: the engine refuses otherwise.
pub fn finalize(engine: &Engine, vm: &str, id: &str) -> Result<Ended> {
    let path = ApiPath::new(&["vms", vm, "backups", id, "finalize"]);
    match engine.act(&path) {
        Ok(()) => {}
        Err(unmade) if unmade.is_status(404) => return Ok(Ended::Forgotten),
        // It is being ended already, or it was not ready and is given up: its phase tells.
        Err(unmade) if unmade.is_status(400) => {
            log::debug!("backup {id}: {}", unmade.error());
        }
        Err(unmade) => return Err(unmade.into()),
    }
    let mut last = None;
    let ended = until(engine, OVER, "the engine has not ended the backup", || {
        let Some(backup) = look(engine, vm, id)? else { return Ok(Some(Ended::Forgotten)) };
        last = backup.phase;
        Ok(match &last {
            Some(BackupPhase::Succeeded) => Some(Ended::Succeeded),
            Some(BackupPhase::Failed) => Some(Ended::Failed),
            _ => None,
        })
    });
    ended.map_err(|error| match error.kind() {
        ErrorKind::Remote => {
            let noted = events::about(engine, id).told();
            let phase = last.as_ref().map_or("none", BackupPhase::word);
            Error::new(ErrorKind::Remote, format!("backup {id} is in the phase {phase}: {noted}"))
                .because(error)
        }
        _ => error,
    })
}
