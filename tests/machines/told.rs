//! What the program has said so far, and what must therefore be found in the repository.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use backstop::base::cancel::Cancel;
use backstop::base::hash::blake3_256;
use backstop::base::id::PointId;
use backstop::error::{Error, ErrorKind};
use backstop::format::commit::PointRecord;
use backstop::format::layout::{Area, ObjectName};
use backstop::prune::forget::{dropped, forget, undo};
use backstop::prune::{PruneOptions, prune};
use backstop::repair::{RepairOptions, repair};
use backstop::repo::{Environment, Repository};
use backstop::scrub::{ScrubLevel, ScrubOptions, scrub};
use backstop::store::DirStore;

use crate::repo::{back_up_bytes, noise, read_back};

/// A broken promise, in words.
pub(crate) type Broken = String;

/// BLAKE3 of a disk, or of several disks one after the other.
type Digest = [u8; 32];

/// What was told of restore points.
#[derive(Debug, Clone, Default)]
pub(crate) struct Told {
    points: BTreeMap<PointId, Digest>,
    /// Restore points that somebody dropped or brought back, or began to.
    fates: BTreeMap<PointId, Fate>,
    held: BTreeSet<PointId>,
    /// Disks whose backup was begun and never told of.
    attempts: BTreeSet<Digest>,
    /// Whether the medium was damaged on purpose: then a disk may be unreadable, never wrong.
    is_damaged: bool,
    /// Whether something was taken away on purpose that only a repair brings back, and without
    /// which all can be read.
    is_weak: bool,
    /// How many restore points can be read all the same, at least.
    readable_min: usize,
}

/// What became of a restore point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    There,
    Dropped,
    /// A command that drops it or brings it back ended without a word that can be relied on.
    InDoubt,
}

impl Told {
    /// The medium was damaged on purpose.
    pub(crate) fn damaged(mut self) -> Self {
        self.is_damaged = true;
        self
    }

    /// A backup of `bytes` reported this restore point.
    pub(crate) fn committed(&mut self, point: PointId, bytes: &[u8]) {
        self.points.insert(point, blake3_256(bytes));
    }

    /// A backup of `bytes` ended without a word that can be relied on.
    pub(crate) fn attempted(&mut self, bytes: &[u8]) {
        self.attempts.insert(blake3_256(bytes));
    }

    /// A restore point was dropped.
    pub(crate) fn dropped(&mut self, point: PointId) {
        self.fates.insert(point, Fate::Dropped);
    }

    /// One that had been dropped was brought back.
    pub(crate) fn returned(&mut self, point: PointId) {
        self.fates.insert(point, Fate::There);
    }

    /// Somebody began to drop it or to bring it back.
    pub(crate) fn in_doubt(&mut self, point: PointId) {
        self.fates.insert(point, Fate::InDoubt);
    }

    /// A restore point is held.
    pub(crate) fn held(&mut self, point: PointId) {
        self.held.insert(point);
    }

    /// Somebody began to take the hold back.
    pub(crate) fn released(&mut self, point: PointId) {
        self.held.remove(&point);
    }

    /// Somebody took away what only a repair brings back, or is going to.
    pub(crate) fn weakened(&mut self) {
        self.is_weak = true;
    }

    /// The restore point of such a disk.
    pub(crate) fn point_with(&self, disk: &[u8]) -> Option<PointId> {
        let disk = blake3_256(disk);
        self.points.iter().find(|(_, digest)| **digest == disk).map(|(id, _)| *id)
    }

    /// Whether somebody stored such a disk, or began to.
    pub(crate) fn knows(&self, disk: &[u8]) -> bool {
        let disk = blake3_256(disk);
        self.attempts.contains(&disk) || self.points.values().any(|digest| *digest == disk)
    }

    /// Holds a repository in a directory to everything that was told.
    pub(crate) fn hold(&self, repo: &Path) -> Result<Repository, Broken> {
        let repo = open(repo)?;
        self.hold_in(&repo)?;
        Ok(repo)
    }

    /// The same for a repository that is open.
    pub(crate) fn hold_in(&self, repo: &Repository) -> Result<(), Broken> {
        let readable = self.readable(repo)?;
        match self.is_damaged && readable < self.readable_min {
            true => Err(format!("{readable} of {} disks can be read", self.readable_min)),
            false => Ok(()),
        }
    }

    /// Where the medium is damaged, no fewer disks may be readable from now on.
    pub(crate) fn remember_what_is_readable(&mut self, repo: &Path) {
        let readable = open(repo).and_then(|repo| self.readable(&repo));
        self.readable_min = readable.unwrap_or_else(|broken| panic!("{broken}"));
    }

    /// Number of restore points that can be read; fails if a promise is broken.
    fn readable(&self, repo: &Repository) -> Result<usize, Broken> {
        let found = repo.points().map_err(said("the restore points cannot be listed"))?;
        let found_ids: BTreeSet<_> = found.iter().map(|point| point.id).collect();
        if let Some(id) = self.promised().find(|id| !found_ids.contains(id)) {
            return Err(format!("the restore point {id} is lost"));
        }
        if let Some(id) = found_ids.iter().find(|id| self.fate(id) == Some(Fate::Dropped)) {
            return Err(format!("the restore point {id} was dropped and is there"));
        }
        let mut readable = 0;
        for point in &found {
            readable += usize::from(self.hold_point(repo, point)?);
        }
        Ok(readable)
    }

    fn fate(&self, point: &PointId) -> Option<Fate> {
        self.fates.get(point).copied()
    }

    /// Restore points that must be there.
    pub(crate) fn promised(&self) -> impl Iterator<Item = &PointId> {
        let all = self.points.keys().chain(self.fates.keys());
        all.filter(|id| matches!(self.fate(id), None | Some(Fate::There)))
    }

    /// Whether the restore point can be read.
    fn hold_point(&self, repo: &Repository, point: &PointRecord) -> Result<bool, Broken> {
        let disks = point.disks.iter().map(|disk| read_back(repo, disk, false));
        let read = match disks.collect::<Result<Vec<_>, _>>().map(|disks| disks.concat()) {
            Err(error) if self.is_damaged && error.kind() == ErrorKind::Corrupt => {
                return Ok(false);
            }
            read => read.map_err(said(&format!("{} of {} is not whole", point.id, point.vm)))?,
        };
        let is_right = match self.points.get(&point.id) {
            Some(digest) => *digest == blake3_256(&read),
            None => self.knows(&read),
        };
        if is_right { Ok(true) } else { Err(format!("{} has bytes that nobody stored", point.id)) }
    }

    /// Everything goes on without help: a backup, which clears what others left, bringing back what
    /// was dropped, a prune, and a scrub. Only what was taken away on purpose takes a repair.
    pub(crate) fn go_on(&mut self, repo: &Repository) -> Result<(), Broken> {
        if self.is_weak {
            repair(repo, &repair_options()).map_err(said("the repair fails"))?;
        }
        let bytes = next_disk();
        let point = back_up_bytes(repo, "next", &bytes).map_err(said("the next backup fails"))?;
        self.committed(point.id, &bytes);
        self.hold_holds(repo)?;
        self.bring_back_one(repo)?;
        self.prune(repo)?;
        hold_tidy(repo)?;
        if !self.is_damaged {
            hold_clean(repo)?;
        }
        self.hold_in(repo)
    }

    /// What is held cannot be dropped.
    fn hold_holds(&self, repo: &Repository) -> Result<(), Broken> {
        let is_kept = |point: &&PointId| {
            forget(repo, **point).is_err_and(|error| error.kind() == ErrorKind::Refused)
        };
        match self.held.iter().find(|point| !is_kept(point)) {
            Some(point) => Err(format!("the restore point {point} was held and is not")),
            None => Ok(()),
        }
    }

    /// Brings back one restore point that was dropped, unless a prune has begun to take it.
    fn bring_back_one(&mut self, repo: &Repository) -> Result<(), Broken> {
        let dropped = dropped(repo).map_err(said("dropped restore points cannot be listed"))?;
        let Some(point) = dropped.first() else { return Ok(()) };
        match undo(repo, point.id) {
            Err(error) if error.kind() == ErrorKind::Busy => Ok(()),
            Err(error) if self.is_damaged && error.kind() == ErrorKind::Corrupt => Ok(()),
            undone => {
                undone.map_err(said("what was dropped cannot be brought back"))?;
                self.returned(point.id);
                Ok(())
            }
        }
    }

    /// A prune does all its work; on a damaged medium it may stop instead.
    fn prune(&self, repo: &Repository) -> Result<(), Broken> {
        let pruned = prune(repo, &prune_options(90));
        match pruned {
            Err(error) if self.is_damaged && error.kind() == ErrorKind::Corrupt => Ok(()),
            Ok(report) if !report.waits_for.is_empty() => Err(format!("it waits: {report:?}")),
            pruned => pruned.map(drop).map_err(said("the next prune fails")),
        }
    }
}

/// How the machines prune: without waiting.
pub(crate) fn prune_options(live_percent: u8) -> PruneOptions {
    PruneOptions { dry_run: false, wait: Duration::ZERO, live_percent, cancel: Cancel::default() }
}

/// How the machines repair.
pub(crate) fn repair_options() -> RepairOptions {
    RepairOptions { apply: true, threads: 1, cancel: Cancel::default() }
}

/// Nothing is left that only a run at work needs, nor parity of packs that are gone.
pub(crate) fn hold_tidy(repo: &Repository) -> Result<(), Broken> {
    let list = |area| repo.store().list(area).map_err(said("a directory cannot be listed"));
    let mut left = list(Area::Sessions)?;
    left.retain(|name| !repo.store().is_held(name).is_ok_and(|is_held| is_held));
    left.extend(list(Area::Condemned)?);
    let packs = list(Area::Packs)?;
    let packs: BTreeSet<_> = packs.iter().filter_map(ObjectName::pack_id).collect();
    let is_orphan =
        |name: &ObjectName| name.protected_pack().is_none_or(|pack| !packs.contains(&pack));
    left.extend(list(Area::Parity)?.into_iter().filter(is_orphan));
    if left.is_empty() { Ok(()) } else { Err(format!("these are left: {left:?}")) }
}

fn open(repo: &Path) -> Result<Repository, Broken> {
    let store = DirStore::open(repo).map_err(said("the repository does not open"))?;
    let repo = crate::repo::open_repo(Arc::new(store), Environment::default());
    repo.map_err(said("the repository does not open"))
}

/// What [`Told::go_on`] backs up.
pub(crate) fn next_disk() -> Vec<u8> {
    noise(50_000, 77)
}

/// A scrub finds nothing.
pub(crate) fn hold_clean(repo: &Repository) -> Result<(), Broken> {
    let options = ScrubOptions { level: ScrubLevel::Points, threads: 2, cancel: Cancel::default() };
    let report = scrub(repo, &options).map_err(said("the scrub fails"))?;
    if report.is_clean() { Ok(()) } else { Err(format!("the scrub finds {report:?}")) }
}

/// Puts words in front of an error.
pub(crate) fn said(what: &str) -> impl Fn(Error) -> Broken + '_ {
    move |error| format!("{what}: {}", error.chain())
}
