//! What killed runs have left on the engine.
//!
//! Ours is what a session of this repository has written down, and a backup whose description names
//! such a session; and only once that session is gone. Nothing else is ever touched, whatever it
//! looks like.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::base::id::SessionId;
use crate::error::{ErrorKind, Result};
use crate::format::journal::EngineThing;
use crate::ovirt::backup::checkpoints::remove_of_session;
use crate::ovirt::backup::end::finalize;
use crate::ovirt::backup::tag::Tag;
use crate::ovirt::client::{ApiPath, Engine};
use crate::ovirt::facts::{BackupFacts, Facts};
use crate::ovirt::restore::{discard, is_attached, remove_tagged};
use crate::ovirt::ticket;
use crate::ovirt::wire::{BackupList, BackupPhase};
use crate::repo::{LeftoverNote, Repository};

/// How long the transfers of a backup may take to be ended by the engine, where nobody has written
/// down which they are. Longer than [`IDLE`].
const OPEN_TRANSFERS: Duration = Duration::from_secs(240);
const PAUSE: Duration = Duration::from_secs(5);

/// How long nobody may use a transfer of ours before the engine ends it.
pub const IDLE: Duration = Duration::from_secs(120);

/// A thing on the engine that nobody needs any more.
#[derive(Debug, Clone)]
pub struct Leftover {
    /// The session that created it.
    pub session: SessionId,
    /// What it is.
    pub what: EngineThing,
    /// Its id.
    pub id: String,
    /// Id of the VM that it belongs to.
    pub vm_id: Option<String>,
    /// The engine that it is on.
    pub url: String,
    note: Option<LeftoverNote>,
}

impl From<LeftoverNote> for Leftover {
    fn from(note: LeftoverNote) -> Self {
        Self {
            session: note.session,
            what: note.note.what,
            id: note.note.id.clone(),
            vm_id: note.note.vm_id.clone(),
            url: note.note.url.clone(),
            note: Some(note),
        }
    }
}

impl Leftover {
    fn tagged(session: SessionId, backup: &BackupFacts, vm: &str, url: &str) -> Self {
        Self {
            session,
            what: EngineThing::Backup,
            id: backup.id.clone(),
            vm_id: Some(vm.to_owned()),
            url: url.to_owned(),
            note: None,
        }
    }
}

/// Everything that is written down, on whatever engine.
pub fn noted(repo: &Repository) -> Result<Vec<Leftover>> {
    Ok(repo.leftover_notes()?.into_iter().map(Leftover::from).collect())
}

/// What is left of backups of one VM, in the order in which it is to be ended.
pub fn of_vm(repo: &Repository, engine: &Engine, facts: &Facts) -> Result<Vec<Leftover>> {
    let url = engine.url().to_string();
    let vm = Some(facts.vm.id.as_str());
    let is_ours = |leftover: &Leftover| {
        let is_backup = matches!(leftover.what, EngineThing::Backup | EngineThing::Transfer);
        is_backup && leftover.vm_id.as_deref() == vm && leftover.url == url
    };
    let mut found: Vec<_> = noted(repo)?.into_iter().filter(is_ours).collect();
    for backup in &facts.backups {
        if found.iter().any(|known| known.id == backup.id) {
            continue;
        }
        if let Some(session) = dead_owner(repo, backup)? {
            found.push(Leftover::tagged(session, backup, &facts.vm.id, &url));
        }
    }
    found.sort_by_key(|leftover| rank(leftover.what));
    Ok(found)
}

/// What is left of restores into one VM, in the order in which it is to be ended.
pub fn of_restores(repo: &Repository, engine: &Engine, vm: &str) -> Result<Vec<Leftover>> {
    let url = engine.url().to_string();
    let is_ours = |leftover: &Leftover| {
        let is_of_restore = matches!(leftover.what, EngineThing::Disk | EngineThing::Transfer);
        is_of_restore && leftover.vm_id.as_deref() == Some(vm) && leftover.url == url
    };
    let mut found: Vec<_> = noted(repo)?.into_iter().filter(is_ours).collect();
    found.sort_by_key(|leftover| rank(leftover.what));
    Ok(found)
}

/// What is left of restores that were to make a VM of that name, in the order in which it is to be
/// ended.
pub fn of_new_vm(repo: &Repository, engine: &Engine, name: &str) -> Result<Vec<Leftover>> {
    let url = engine.url().to_string();
    let mut found: Vec<_> = noted(repo)?.into_iter().filter(|one| one.url == url).collect();
    let is_vm = |one: &&Leftover| one.what == EngineThing::Vm && one.id == name;
    let sessions: BTreeSet<_> = found.iter().filter(is_vm).map(|one| one.session).collect();
    found.retain(|one| sessions.contains(&one.session));
    found.sort_by_key(|leftover| rank(leftover.what));
    Ok(found)
}

/// What is left on this engine: everything that is written down, and backups of VMs that have
/// restore points here, in the order in which it is to be ended.
pub fn of_engine(repo: &Repository, engine: &Engine) -> Result<Vec<Leftover>> {
    let url = engine.url().to_string();
    let mut found = noted(repo)?;
    found.retain(|leftover| leftover.url == url);
    let points = repo.points()?;
    let vms: BTreeSet<_> =
        points.iter().filter_map(|point| Some(point.engine.as_ref()?.vm_id.as_str())).collect();
    for vm in vms {
        let path = ApiPath::new(&["vms", vm, "backups"]);
        let list: Option<BackupList> = engine.find(&path)?;
        for backup in list.unwrap_or_default().backup.into_iter().map(BackupFacts::from) {
            if found.iter().all(|known| known.id != backup.id)
                && let Some(session) = dead_owner(repo, &backup)?
            {
                found.push(Leftover::tagged(session, &backup, vm, &url));
            }
        }
    }
    found.sort_by_key(|leftover| rank(leftover.what));
    Ok(found)
}

/// Transfers come before what they are of.
const fn rank(what: EngineThing) -> u8 {
    match what {
        EngineThing::Transfer => 0,
        EngineThing::Backup => 1,
        EngineThing::Vm => 2,
        EngineThing::Disk => 3,
    }
}

/// The session of this repository that began the backup, if it is gone and the backup is not over.
fn dead_owner(repo: &Repository, backup: &BackupFacts) -> Result<Option<SessionId>> {
    let is_over = backup.phase.as_ref().is_some_and(BackupPhase::is_over);
    let tag: Option<Tag> = backup.description.parse().ok();
    match tag.filter(|tag| tag.repo == repo.id() && !is_over) {
        Some(tag) if !repo.is_at_work(tag.session)? => Ok(Some(tag.session)),
        _ => Ok(None),
    }
}

/// Ends a thing and waits until it is over; that it is over already is no error.
pub fn end(repo: &Repository, engine: &Engine, leftover: &Leftover) -> Result<()> {
    let Leftover { what, id, vm_id, .. } = leftover;
    match (what, vm_id) {
        (EngineThing::Transfer, _) => ticket::cancel(engine, id)?,
        (EngineThing::Backup, Some(vm)) => {
            end_backup(engine, vm, id)?;
            forget_checkpoints(repo, engine, vm, leftover.session);
        }
        // A disk that the VM has was whole before it got it.
        (EngineThing::Disk, Some(vm)) if is_attached(engine, vm, id)? => {}
        (EngineThing::Disk, _) => discard(engine, id)?,
        // It is whole, and not ours any more, once its tag is gone.
        (EngineThing::Vm, _) => {
            let tag = Tag { repo: repo.id(), session: leftover.session };
            remove_tagged(engine, id, tag)?;
        }
        (EngineThing::Backup, None) => {}
    }
    leftover.note.as_ref().map_or(Ok(()), |note| note.settle(repo))
}

/// Deletes the checkpoints of a session that made no restore point: nothing will begin from them.
/// One that cannot be deleted now goes with the next backup of the VM.
fn forget_checkpoints(repo: &Repository, engine: &Engine, vm: &str, session: SessionId) {
    let tag = Tag { repo: repo.id(), session };
    let removed = repo.points().and_then(|points| match points.iter().any(|p| p.id == session) {
        true => Ok(()),
        false => remove_of_session(engine, vm, tag),
    });
    if let Err(error) = removed {
        log::info!("checkpoints of a killed run stay: {}", error.chain());
    }
}

/// Finalizes a backup. Where a transfer of it is open that nobody has written down, the engine ends
/// that by itself after a while.
pub fn end_backup(engine: &Engine, vm: &str, id: &str) -> Result<()> {
    let began = Instant::now();
    loop {
        match finalize(engine, vm, id) {
            Err(error) if error.kind() == ErrorKind::Busy && began.elapsed() < OPEN_TRANSFERS => {
                engine.wait(PAUSE)?;
            }
            ended => return ended.map(drop),
        }
    }
}
