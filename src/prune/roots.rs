//! Which restore points keep data alive.

use std::collections::HashSet;

use crate::base::id::{PointId, SessionId};
use crate::base::limits::SMALL_OBJECT_BYTES_MAX;
use crate::error::{Error, ErrorKind, Result};
use crate::format::commit::{Decision, PointRecord};
use crate::format::layout::{Area, ObjectName};
use crate::format::session::{SessionKind, SessionRecord};
use crate::point;
use crate::prune::forget::held;
use crate::repo::Repository;
use crate::store::Store;

/// What a look at commits, tombstones, holds and sessions found.
#[derive(Debug, Default)]
pub(super) struct Roots {
    /// Restore points that keep data alive: those that were not dropped, and those of the dropped
    /// that are held or that somebody reads.
    pub(super) points: Vec<PointRecord>,
    /// Dropped restore points that nothing keeps and whose commits are there.
    pub(super) dropped: Vec<PointId>,
}

/// Looks. Any commit that cannot be read is an error, and so is one that must be there and is not.
///
/// Commits are read before tombstones, and those before holds and sessions: whoever opens a restore
/// point registers first and then looks for a tombstone, so of a tombstone that is seen here every
/// session that missed it is seen, too.
pub(super) fn read_roots(repo: &Repository) -> Result<Roots> {
    let store = &**repo.store();
    let commits: Vec<_> = ids(store, Area::Commits)?.into_iter().collect();
    let forgotten = ids(store, Area::Forgotten)?;
    let mut kept = held(repo)?;
    kept.extend(read_pins(store)?);
    let mut roots = Roots::default();
    let mut committed = HashSet::new();
    for id in commits {
        let point = match point::decision(store, id)? {
            Some(Decision::Committed { point }) => *point,
            Some(Decision::Fenced | Decision::Aborted) => continue,
            None if forgotten.contains(&id) => continue,
            None => return Err(vanished(id)),
        };
        if point.repo != repo.id() {
            let what = "the commit belongs to another repository";
            return Err(Error::corrupt(what).at(ObjectName::commit(id).to_string()));
        }
        committed.insert(id);
        match forgotten.contains(&id) && !kept.contains(&id) {
            true => roots.dropped.push(id),
            false => roots.points.push(point),
        }
    }
    // Tombstones stay for ever: a predecessor that has neither was left out of a listing, or lost.
    for point in &roots.points {
        if let Some(previous) = point.previous.as_ref().map(|previous| previous.point)
            && !committed.contains(&previous)
            && !forgotten.contains(&previous)
        {
            return Err(vanished(previous));
        }
    }
    Ok(roots)
}

/// Whether any session was ever decided: its register is never deleted without leaving a tombstone.
pub(super) fn has_registers(store: &dyn Store) -> Result<bool> {
    Ok(!ids(store, Area::Commits)?.is_empty() || !ids(store, Area::Forgotten)?.is_empty())
}

fn ids(store: &dyn Store, area: Area) -> Result<HashSet<SessionId>> {
    Ok(store.list(area)?.iter().filter_map(ObjectName::session_id).collect())
}

/// The restore points that living sessions read.
fn read_pins(store: &dyn Store) -> Result<Vec<PointId>> {
    let mut pins = Vec::new();
    for name in store.list(Area::Sessions)? {
        if store.is_held(&name)? {
            pins.extend(read_session(store, &name)?.and_then(|session| session.point));
        }
    }
    Ok(pins)
}

/// What a session says of itself; none if it has just ended.
pub(super) fn read_session(store: &dyn Store, name: &ObjectName) -> Result<Option<SessionRecord>> {
    match store.read(name, SMALL_OBJECT_BYTES_MAX) {
        Ok(bytes) => SessionRecord::decode(&bytes).map(Some).map_err(|error| error.in_object(name)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether a prune waits for sessions of a kind: those that may come to refer to a pack, or write
/// into the index. Whoever only reads is protected by the restore point that it names.
pub(super) fn is_waited_for(kind: SessionKind) -> bool {
    match kind {
        SessionKind::Backup | SessionKind::Rebuild | SessionKind::Undo | SessionKind::Repair => {
            true
        }
        SessionKind::Mount | SessionKind::Restore | SessionKind::Prune | SessionKind::Keys => false,
    }
}

fn vanished(point: PointId) -> Error {
    let what = format!(
        "restore point {point} has neither a commit nor a tombstone, though it was there; nothing \
         was deleted"
    );
    Error::corrupt(what).at(ObjectName::commit(point).to_string())
}
