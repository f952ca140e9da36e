//! What this host has seen of an encrypted repository, so that an old state of it is not taken for
//! the present one.
//!
//! The storage cannot write anything under a seal, but it can delete, and it can show what was
//! there before. A restore point that is dropped leaves a sealed tombstone, which stays for ever;
//! so who remembers the newest point of each VM notices.

use std::collections::BTreeMap;

use crate::base::id::{ChunkId, PointId, RepoId};
use crate::base::limits::SMALL_OBJECT_BYTES_MAX;
use crate::error::{Error, ErrorKind, Result};
use crate::format::layout::ObjectName;
use crate::format::lists::Forgotten;
use crate::point::{self, Commits, PointEntry};
use crate::repo::Repository;
use crate::store::Store;

/// The newest restore point of a VM that was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Newest {
    /// Its id.
    pub point: PointId,
    /// Its number among those of the VM.
    pub sequence: u64,
    /// The hash of its commit.
    pub commit_blake3: ChunkId,
}

/// The newest restore point of each VM.
pub type Seen = BTreeMap<String, Newest>;

/// Where a host remembers what it has seen.
pub trait TrustStore: Send + Sync {
    /// What was seen of a repository; nothing at the first contact.
    fn load(&self, repo: RepoId) -> Result<Seen>;
    /// Remembers it.
    fn save(&self, repo: RepoId, seen: &Seen) -> Result<()>;
    /// Whether an older state is to be taken for the present one from now on.
    fn accepts_rollback(&self) -> bool;
}

/// What the repository shows of a restore point that was seen.
enum Shown {
    /// It is there, or somebody with the keys dropped it.
    Explained,
    Gone(String),
}

/// Fails with [`ErrorKind::Rollback`] if something that was seen is not there any more and nobody
/// with the keys dropped it. Reads one commit for each VM.
pub(super) fn check(repo: &Repository, trust: &dyn TrustStore) -> Result<()> {
    let seen = trust.load(repo.id())?;
    let mut gone = Vec::new();
    for (vm, newest) in &seen {
        if let Shown::Gone(what) = shown(&**repo.store(), newest)? {
            gone.push(format!("VM {vm:?}: {what}"));
        }
    }
    if gone.is_empty() {
        return Ok(());
    }
    if trust.accepts_rollback() {
        let points = Commits::one_by_one(&**repo.store()).points()?;
        return trust.save(repo.id(), &newest_of(&points.entries));
    }
    let what =
        format!("the repository shows an older state than this host has seen: {}", gone.join("; "));
    Err(Error::new(ErrorKind::Rollback, what))
}

/// Remembers the newest of all restore points.
pub(super) fn remember(points: &[PointEntry], repo: RepoId, trust: &dyn TrustStore) -> Result<()> {
    let now = newest_of(points);
    match trust.load(repo)? == now {
        true => Ok(()),
        false => trust.save(repo, &now),
    }
}

/// Remembers a restore point that was just made.
pub(super) fn advance(point: &PointEntry, repo: RepoId, trust: &dyn TrustStore) -> Result<()> {
    let mut seen = trust.load(repo)?;
    seen.insert(point.record.vm.clone(), newest(point));
    trust.save(repo, &seen)
}

fn shown(store: &dyn Store, newest: &Newest) -> Result<Shown> {
    let id = newest.point;
    match point::committed(store, id) {
        Ok(entry) if entry.commit_blake3 == newest.commit_blake3 => Ok(Shown::Explained),
        Ok(_) => Ok(Shown::Gone(format!("restore point {id} has another commit"))),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let name = ObjectName::forgotten(id);
            match store.read(&name, SMALL_OBJECT_BYTES_MAX) {
                // Only a holder of the keys can have written one that opens under this name.
                Ok(bytes) if Forgotten::decode(&bytes).is_ok_and(|it| it.point == id) => {
                    Ok(Shown::Explained)
                }
                _ => Ok(Shown::Gone(format!("restore point {id} is gone without a trace"))),
            }
        }
        Err(error) if error.kind() == ErrorKind::Corrupt => {
            Ok(Shown::Gone(format!("the commit of restore point {id} is damaged")))
        }
        Err(error) => Err(error),
    }
}

/// The points are ordered by VM, then from the oldest to the newest: the last one of each stays.
fn newest_of(points: &[PointEntry]) -> Seen {
    points.iter().map(|point| (point.record.vm.clone(), newest(point))).collect()
}

fn newest(point: &PointEntry) -> Newest {
    Newest {
        point: point.record.id,
        sequence: point.record.sequence,
        commit_blake3: point.commit_blake3,
    }
}
