//! What the program has said so far, and what must therefore be found in the repository.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use backstop::base::cancel::Cancel;
use backstop::base::id::PointId;
use backstop::error::{Error, ErrorKind};
use backstop::format::commit::PointRecord;
use backstop::format::layout::Area;
use backstop::repo::{Environment, Repository};
use backstop::scrub::{ScrubLevel, ScrubOptions, scrub};
use backstop::store::DirStore;

use crate::repo::{back_up_bytes, noise, read_back};

/// A broken promise, in words.
pub(crate) type Broken = String;

/// What was told of restore points, each of one disk.
#[derive(Debug, Clone, Default)]
pub(crate) struct Told {
    points: BTreeMap<PointId, Arc<Vec<u8>>>,
    /// Disks whose backup was begun and never told of.
    attempts: Vec<Arc<Vec<u8>>>,
    /// Whether the medium was damaged on purpose: then a disk may be unreadable, never wrong.
    pub(crate) is_damaged: bool,
    /// How many restore points can be read all the same, at least.
    readable_min: usize,
}

impl Told {
    /// A backup of `bytes` reported this restore point.
    pub(crate) fn committed(&mut self, point: PointId, bytes: &Arc<Vec<u8>>) {
        self.points.insert(point, Arc::clone(bytes));
    }

    /// A backup of `bytes` ended without a word that can be relied on.
    pub(crate) fn attempted(&mut self, bytes: &Arc<Vec<u8>>) {
        self.attempts.push(Arc::clone(bytes));
    }

    /// Whether somebody stored such a disk, or began to.
    pub(crate) fn knows(&self, disk: &[u8]) -> bool {
        self.points.values().chain(&self.attempts).any(|bytes| **bytes == disk)
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
        match readable < self.readable_min {
            true => Err(format!("{readable} of {} disks can be read", self.readable_min)),
            false => Ok(()),
        }
    }

    /// From now on no fewer disks may be readable.
    pub(crate) fn remember_what_is_readable(&mut self, repo: &Path) {
        let readable = open(repo).and_then(|repo| self.readable(&repo));
        self.readable_min = readable.unwrap_or_else(|broken| panic!("{broken}"));
    }

    /// Number of restore points that can be read; fails if a promise is broken.
    fn readable(&self, repo: &Repository) -> Result<usize, Broken> {
        let found = repo.points().map_err(said("the restore points cannot be listed"))?;
        if let Some(id) = self.points.keys().find(|id| found.iter().all(|p| p.id != **id)) {
            return Err(format!("the restore point {id} is lost"));
        }
        let mut readable = 0;
        for point in &found {
            readable += usize::from(self.hold_point(repo, point)?);
        }
        Ok(readable)
    }

    /// Whether the restore point can be read.
    fn hold_point(&self, repo: &Repository, point: &PointRecord) -> Result<bool, Broken> {
        let read = match read_back(repo, &point.disks[0], false) {
            Err(error) if self.is_damaged && error.kind() == ErrorKind::Corrupt => {
                return Ok(false);
            }
            read => read.map_err(said(&format!("{} of {} is not whole", point.id, point.vm)))?,
        };
        let is_right = match self.points.get(&point.id) {
            Some(bytes) => **bytes == read,
            None => self.knows(&read),
        };
        if is_right { Ok(true) } else { Err(format!("{} has bytes that nobody stored", point.id)) }
    }

    /// Everything goes on without help: a backup, which clears what others left, and a scrub.
    pub(crate) fn go_on(&self, repo: &Repository) -> Result<(), Broken> {
        let bytes = next_disk();
        let point = back_up_bytes(repo, "next", &bytes).map_err(said("the next backup fails"))?;
        let read = read_back(repo, &point.disks[0], false).map_err(said("it is not whole"))?;
        if read != bytes {
            return Err("the next backup has wrong bytes".to_owned());
        }
        let mut sessions = repo.store().list(Area::Sessions).map_err(said("sessions"))?;
        sessions.retain(|name| !repo.store().is_held(name).is_ok_and(|is_held| is_held));
        if !sessions.is_empty() {
            return Err(format!("registrations are left: {sessions:?}"));
        }
        if !self.is_damaged {
            hold_clean(repo)?;
        }
        let mut told = self.clone();
        told.committed(point.id, &Arc::new(bytes));
        told.hold_in(repo)
    }
}

fn open(repo: &Path) -> Result<Repository, Broken> {
    let store = DirStore::open(repo).map_err(said("the repository does not open"))?;
    let repo = Repository::open(Arc::new(store), Environment::default());
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
