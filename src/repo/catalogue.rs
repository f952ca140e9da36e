//! Gathers commits into catalogues. Only sessions that write do, after their commit, and whatever
//! fails or stops on the way costs nothing but speed.
//!
//! | step | what | if the machine stops after it |
//! |---|---|---|
//! | 1 | see which commits no catalogue holds; choose catalogues to merge with them | as before |
//! | 2 | publish new catalogues over both | entries that are there twice, which means nothing |
//! | 3 | delete those that were merged | nothing is left to do |
//!
//! Nothing is locked: of two that gather at once each deletes only what its own catalogues hold, or
//! what the other one has merged. Readers that miss a catalogue read commits.

use std::collections::{BTreeMap, HashSet};

use crate::base::id::{CatalogueId, SessionId};
use crate::base::limits::{CATALOGUE_BYTES_MAX, CATALOGUED_COMMIT_BYTES_MAX};
use crate::error::{Error, ErrorKind, Result};
use crate::format::catalogue::{CATALOGUE_HEADER_LEN, CATALOGUE_ROW_LEN, Catalogue};
use crate::format::commit::Decision;
use crate::format::layout::{Area, ObjectName};
use crate::point;
use crate::repo::Repository;
use crate::repo::room::check_room;
use crate::store::{Published, Store};

/// A catalogue of at least that many bytes is not merged for its size any more.
const FULL_BYTES: usize = CATALOGUE_BYTES_MAX / 2;
/// A catalogue up to so many times as long as all that is to be merged joins it: the lengths of
/// those that stay differ by more than this factor, so that each commit is copied a few times only.
const GROWTH: usize = 2;

/// Gathers commits if more than a few are in no catalogue, or if half of what one holds is gone.
/// Where there is no room for that, another session will.
pub fn gather_commits(repo: &Repository) -> Result<()> {
    match gather(repo) {
        Err(error) if error.kind() == ErrorKind::Full => Ok(()),
        gathered => gathered,
    }
}

fn gather(repo: &Repository) -> Result<()> {
    let mut loose: HashSet<_> = point::candidates(&**repo.store())?.into_iter().collect();
    let mut found = Vec::new();
    point::each_catalogue(&**repo.store(), repo.id(), |name, catalogue| {
        // What cannot be read is left as it is: a scrub tells of it.
        found.extend(catalogue.ok().map(|catalogue| Found::look(name, catalogue, &mut loose)));
        true
    })?;
    let is_worn = found.iter().any(Found::is_worn);
    if loose.len() <= repo.environment().few_commits && !is_worn {
        return Ok(());
    }
    let mut gathering = Gathering::new(repo);
    gathering.add_commits(loose.into_iter().collect())?;
    if gathering.held == 0 && !is_worn {
        return Ok(());
    }
    let merged = choose(found, gathering.bytes);
    let mut replaced = Vec::new();
    for catalogue in merged {
        if gathering.add_copies(&catalogue)? {
            replaced.push(catalogue.name);
        }
    }
    gathering.finish(&replaced)
}

/// Makes all catalogues anew from the commits, and deletes those that were there. Says how many
/// commits they hold: none where there are only a few, or where there is no room, which is told.
pub(super) fn rebuild_catalogues(repo: &Repository) -> Result<u64> {
    match rebuild(repo) {
        Err(error) if error.kind() == ErrorKind::Full => {
            repo.monitor().problem(&error);
            Ok(0)
        }
        rebuilt => rebuilt,
    }
}

fn rebuild(repo: &Repository) -> Result<u64> {
    let old = repo.store().list(Area::Catalogues)?;
    let living = point::candidates(&**repo.store())?;
    let mut gathering = Gathering::new(repo);
    if living.len() > repo.environment().few_commits {
        gathering.add_commits(living)?;
    }
    let held = gathering.held;
    gathering.finish(&old)?;
    Ok(held)
}

/// A catalogue that is there.
struct Found {
    name: ObjectName,
    /// Number of its commits.
    commits: usize,
    /// Those of them that restore points are, and that no catalogue before it holds.
    own: Vec<SessionId>,
    /// What those take in it, in bytes.
    own_bytes: usize,
}

impl Found {
    /// Takes what it holds out of `loose`.
    fn look(name: &ObjectName, catalogue: &Catalogue<'_>, loose: &mut HashSet<SessionId>) -> Self {
        let mut found = Self {
            name: name.clone(),
            commits: catalogue.commits.len(),
            own: Vec::new(),
            own_bytes: 0,
        };
        for (session, bytes) in &catalogue.commits {
            if loose.remove(session) {
                found.own.push(*session);
                found.own_bytes += CATALOGUE_ROW_LEN + bytes.len();
            }
        }
        found
    }

    /// Whether half of it is of no use.
    fn is_worn(&self) -> bool {
        self.own.len() * 2 <= self.commits
    }
}

/// The catalogues to merge with new ones of `bytes` bytes.
fn choose(mut found: Vec<Found>, mut bytes: usize) -> Vec<Found> {
    found.sort_by_key(|catalogue| (!catalogue.is_worn(), catalogue.own_bytes));
    found.retain(|catalogue| {
        let is_small = catalogue.own_bytes < FULL_BYTES.min(bytes.saturating_mul(GROWTH));
        let joins = catalogue.is_worn() || is_small;
        bytes += if joins { catalogue.own_bytes } else { 0 };
        joins
    });
    found
}

/// New catalogues, one after the other.
struct Gathering<'a> {
    repo: &'a Repository,
    /// The next catalogue.
    pending: BTreeMap<SessionId, Vec<u8>>,
    /// Its length so far.
    bytes: usize,
    /// Number of commits in all catalogues.
    held: u64,
}

impl<'a> Gathering<'a> {
    fn new(repo: &'a Repository) -> Self {
        Self { repo, pending: BTreeMap::new(), bytes: CATALOGUE_HEADER_LEN, held: 0 }
    }

    fn store(&self) -> &dyn Store {
        &**self.repo.store()
    }

    /// Adds commits. Those that cannot be read are left out.
    fn add_commits(&mut self, mut sessions: Vec<SessionId>) -> Result<()> {
        sessions.sort_unstable();
        for session in sessions {
            if let Ok(Some(bytes)) = point::read_bytes(self.store(), session) {
                self.add(session, bytes)?;
            }
        }
        Ok(())
    }

    /// Adds what a catalogue has of its own. Whether it is there still, and whole.
    fn add_copies(&mut self, catalogue: &Found) -> Result<bool> {
        let own: HashSet<_> = catalogue.own.iter().copied().collect();
        let repo = self.repo;
        point::with_catalogue(&**repo.store(), repo.id(), &catalogue.name, |read| {
            let Ok(read) = read else { return Ok(false) };
            for (session, bytes) in read.commits.iter().filter(|(id, _)| own.contains(id)) {
                self.add(*session, bytes.to_vec())?;
            }
            Ok(true)
        })
    }

    fn add(&mut self, session: SessionId, bytes: Vec<u8>) -> Result<()> {
        if !self.may_be_copied(session, &bytes) {
            return Ok(());
        }
        let more = CATALOGUE_ROW_LEN + bytes.len();
        if self.bytes + more > CATALOGUE_BYTES_MAX {
            self.publish()?;
        }
        self.bytes += more;
        self.held += 1;
        self.pending.insert(session, bytes);
        Ok(())
    }

    fn may_be_copied(&self, session: SessionId, bytes: &[u8]) -> bool {
        let decided = point::decode(session, bytes, true).map(|read| read.decision);
        let is_ours = match &decided {
            Ok(Decision::Committed { point }) => point.repo == self.repo.id(),
            decided => decided.is_ok(),
        };
        is_ours && bytes.len() <= CATALOGUED_COMMIT_BYTES_MAX
    }

    fn publish(&mut self) -> Result<()> {
        let pending = std::mem::take(&mut self.pending);
        self.bytes = CATALOGUE_HEADER_LEN;
        if pending.is_empty() {
            return Ok(());
        }
        let id = CatalogueId::random(&*self.repo.environment().chance);
        let commits = pending.iter().map(|(session, bytes)| (*session, bytes.as_slice())).collect();
        let bytes = Catalogue { id, repo: self.repo.id(), commits }.encode();
        check_room(self.store(), bytes.len() as u64)?;
        let name = ObjectName::catalogue(id);
        match self.store().create(&name, &bytes)? {
            Published::Created => Ok(()),
            Published::Existed => {
                let what = "another catalogue has this name";
                Err(Error::new(ErrorKind::AlreadyExists, what).at(name.to_string()))
            }
        }
    }

    /// Publishes the last catalogue, then deletes those that the new ones replace.
    fn finish(mut self, replaced: &[ObjectName]) -> Result<()> {
        self.publish()?;
        replaced.iter().try_for_each(|name| self.store().delete(name))
    }
}
