//! The beginning of a backup, until the disks can be read.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::ovirt::backup::events;
use crate::ovirt::backup::tag::Tag;
use crate::ovirt::client::{ApiPath, Engine, Unmade};
use crate::ovirt::poll::until;
use crate::ovirt::wire::{Backup, BackupList, BackupMode, BackupPhase, DiskList, NewBackup};

/// Scratch disks or a snapshot are made on storage that may be slow.
const READY: Duration = Duration::from_secs(30 * 60);
/// How often a backup is asked for whose beginning nobody can tell.
const TRIES: u32 = 3;

/// A backup that is wanted.
#[derive(Debug, Clone)]
pub struct Wanted<'a> {
    /// Id of the VM.
    pub vm: &'a str,
    /// Ids of its disks.
    pub disks: &'a [&'a str],
    /// Whose it is.
    pub tag: Tag,
    /// The id that it is to have, where the engine lets clients choose.
    pub id: Option<&'a str>,
    /// The checkpoint from which on changes are wanted.
    pub from: Option<&'a str>,
    /// Whether it must not begin where the guest cannot be frozen.
    pub needs_consistency: bool,
    /// Whether the engine is to do without a snapshot.
    pub without_snapshot: bool,
}

/// Why a backup did not begin.
#[derive(Debug)]
pub enum NotBegun {
    /// It may begin where another is asked for: in full, or without freezing the guest.
    Unfit {
        /// Why, for people.
        reason: String,
        /// Whether it is certain that only a full one can begin.
        is_full_needed: bool,
    },
    /// Anything else.
    Failed(Error),
}

impl From<Error> for NotBegun {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// A backup whose disks can be read.
#[derive(Debug, Clone)]
pub struct Ready {
    /// The checkpoint that the next backup can begin from, if there is one.
    pub checkpoint: Option<String>,
    /// Whether the engine works by a snapshot.
    pub is_hybrid: bool,
    /// How each disk is read, by its id.
    pub modes: BTreeMap<String, BackupMode>,
}

fn backups(vm: &str) -> ApiPath {
    ApiPath::new(&["vms", vm, "backups"])
}

/// The backup of that id, unless the engine has forgotten it.
pub(super) fn look(engine: &Engine, vm: &str, id: &str) -> Result<Option<Backup>> {
    engine.find(&ApiPath::new(&["vms", vm, "backups", id]))
}

/// Asks the engine to begin. Returns the id of the backup, which may not be ready for long.
pub fn begin(engine: &Engine, wanted: &Wanted<'_>) -> std::result::Result<String, NotBegun> {
    let document = NewBackup {
        id: wanted.id.map(ToOwned::to_owned),
        from_checkpoint_id: wanted.from.map(ToOwned::to_owned),
        ..NewBackup::new(wanted.tag.to_string(), wanted.disks.iter().copied())
    };
    let mut path = backups(wanted.vm);
    if wanted.needs_consistency {
        path = path.with("require_consistency", "true");
    }
    if wanted.without_snapshot {
        path = path.with("legacy", "true");
    }
    let mut tries = 0;
    loop {
        let unmade = match engine.create::<Backup>(&path, &document) {
            Ok(backup) => return Ok(backup.id),
            Err(unmade) => unmade,
        };
        tries += 1;
        // The answer to an earlier try may be lost, and a second one refused because of it.
        if (tries > 1 || matches!(unmade, Unmade::Unknown(_)))
            && let Some(id) = own(engine, wanted)?
        {
            return Ok(id);
        }
        if !matches!(unmade, Unmade::Unknown(_)) || tries >= TRIES {
            return Err(not_begun(unmade, wanted));
        }
    }
}

/// Checkpoints that are unknown or invalid are refused with 400, and so is what the engine cannot
/// do from a checkpoint at all.
fn not_begun(unmade: Unmade, wanted: &Wanted<'_>) -> NotBegun {
    match wanted.from.is_some() && unmade.is_status(400) {
        true => NotBegun::Unfit { reason: unmade.error().to_string(), is_full_needed: true },
        false => NotBegun::Failed(unmade.into()),
    }
}

/// The backup that this session has begun, if the engine knows one.
fn own(engine: &Engine, wanted: &Wanted<'_>) -> Result<Option<String>> {
    if let Some(id) = wanted.id {
        return Ok(look(engine, wanted.vm, id)?.map(|backup| backup.id));
    }
    let list: BackupList = engine.get(&backups(wanted.vm))?;
    let tag = wanted.tag.to_string();
    let is_own = |backup: &Backup| {
        backup.description == tag && !backup.phase.as_ref().is_some_and(BackupPhase::is_over)
    };
    Ok(list.backup.into_iter().find(is_own).map(|backup| backup.id))
}

/// Waits until the disks of the backup can be read, and asks how each is to be.
pub fn ready(
    engine: &Engine,
    wanted: &Wanted<'_>,
    id: &str,
) -> std::result::Result<Ready, NotBegun> {
    let found = until(engine, READY, "the backup is not ready", || {
        let Some(backup) = look(engine, wanted.vm, id)? else { return Ok(Some(None)) };
        Ok(match &backup.phase {
            Some(BackupPhase::Ready) => Some(Some(backup)),
            Some(phase) if phase.is_over() => Some(None),
            // Some engines leave the phase out for a while.
            _ => None,
        })
    })?;
    let Some(backup) = found else {
        let noted = events::about(engine, id);
        let reason = format!("the engine could not begin the backup: {}", noted.told());
        return Err(NotBegun::Unfit { reason, is_full_needed: noted.is_full_needed });
    };
    let modes = modes(engine, wanted, id)?;
    Ok(Ready { checkpoint: backup.to_checkpoint_id, is_hybrid: backup.snapshot.is_some(), modes })
}

/// Demands that the backup still holds its disks. One that the engine has ended may have shown
/// bytes of another moment.
pub fn demand_ready(engine: &Engine, vm: &str, id: &str) -> Result<()> {
    let phase = match look(engine, vm, id)? {
        Some(Backup { phase: None | Some(BackupPhase::Ready), .. }) => return Ok(()),
        Some(Backup { phase: Some(phase), .. }) => phase.to_string(),
        None => "gone".to_owned(),
    };
    let told = events::about(engine, id).told();
    let what = format!("the engine ended the backup while it was read (phase {phase}): {told}");
    Err(Error::new(ErrorKind::Remote, what))
}

/// How each disk is to be read. The engine leaves disks out without a word; that is an error.
fn modes(engine: &Engine, wanted: &Wanted<'_>, id: &str) -> Result<BTreeMap<String, BackupMode>> {
    let list: DiskList = engine.get(&ApiPath::new(&["vms", wanted.vm, "backups", id, "disks"]))?;
    let mode = |mode: Option<BackupMode>| mode.unwrap_or(BackupMode::Full);
    let modes: BTreeMap<_, _> =
        list.disk.into_iter().map(|disk| (disk.id, mode(disk.backup_mode))).collect();
    let asked: BTreeSet<_> = wanted.disks.iter().copied().collect();
    let missing: Vec<_> = asked.into_iter().filter(|disk| !modes.contains_key(*disk)).collect();
    match missing.is_empty() {
        true => Ok(modes),
        false => {
            let what = format!("the engine left disks out of the backup: {}", missing.join(", "));
            Err(Error::new(ErrorKind::Remote, what))
        }
    }
}
