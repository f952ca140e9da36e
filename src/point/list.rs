//! Reads commits. A restore point exists where a commit says so and no tombstone stands.

use std::collections::HashSet;

use crate::base::hash::blake3_256;
use crate::base::id::{ChunkId, PointId, SessionId};
use crate::base::limits::SMALL_OBJECT_BYTES_MAX;
use crate::error::{Error, ErrorKind, Result};
use crate::format::commit::{Decision, PointRecord};
use crate::format::layout::{Area, ObjectName};
use crate::store::Store;

/// How a session was decided; none if it is not.
pub fn decision(store: &dyn Store, session: SessionId) -> Result<Option<Decision>> {
    Ok(read(store, session)?.map(|(decision, _)| decision))
}

/// A restore point with the hash of its commit object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PointEntry {
    /// What the commit says.
    pub record: PointRecord,
    /// BLAKE3-256 of the commit object.
    pub commit_blake3: ChunkId,
}

/// The restore point of that id; [`ErrorKind::NotFound`] if there is none or it was dropped.
pub fn committed(store: &dyn Store, point: PointId) -> Result<PointEntry> {
    let forgotten = store.len_bytes(&ObjectName::forgotten(point)).is_ok();
    let found = if forgotten { None } else { read(store, point)? };
    match found {
        Some((Decision::Committed { point }, commit_blake3)) => {
            Ok(PointEntry { record: *point, commit_blake3 })
        }
        _ => Err(Error::new(ErrorKind::NotFound, format!("there is no restore point {point}"))),
    }
}

/// Ids of all sessions that may have committed and were not dropped. Reads names only.
pub fn candidates(store: &dyn Store) -> Result<Vec<PointId>> {
    // Commits before tombstones: a point that is dropped meanwhile is then left out, not found to
    // be broken.
    let commits = store.list(Area::Commits)?;
    let forgotten = store.list(Area::Forgotten)?;
    let forgotten: HashSet<_> = forgotten.iter().filter_map(ObjectName::session_id).collect();
    let mut ids: Vec<_> = commits.iter().filter_map(ObjectName::session_id).collect();
    ids.retain(|id| !forgotten.contains(id));
    Ok(ids)
}

/// All restore points, ordered by VM, then from the oldest to the newest; and one error for every
/// commit that cannot be read.
pub fn points(store: &dyn Store) -> Result<(Vec<PointEntry>, Vec<Error>)> {
    read_points(store, candidates(store)?)
}

/// The same for restore points that were dropped and whose commits no prune has deleted yet.
pub fn dropped_points(store: &dyn Store) -> Result<(Vec<PointEntry>, Vec<Error>)> {
    let forgotten = store.list(Area::Forgotten)?;
    read_points(store, forgotten.iter().filter_map(ObjectName::session_id).collect())
}

fn read_points(store: &dyn Store, ids: Vec<PointId>) -> Result<(Vec<PointEntry>, Vec<Error>)> {
    let mut points = Vec::new();
    let mut problems = Vec::new();
    for id in ids {
        match read(store, id) {
            Ok(Some((Decision::Committed { point }, commit_blake3))) => {
                points.push(PointEntry { record: *point, commit_blake3 });
            }
            Ok(_) => {}
            Err(error) => problems.push(error),
        }
    }
    points.sort_by(|a, b| order(&a.record).cmp(&order(&b.record)));
    Ok((points, problems))
}

fn order(point: &PointRecord) -> (&str, u64, i64, PointId) {
    (&point.vm, point.sequence, point.time.unix_seconds(), point.id)
}

fn read(store: &dyn Store, session: SessionId) -> Result<Option<(Decision, ChunkId)>> {
    let name = ObjectName::commit(session);
    let bytes = match store.read(&name, SMALL_OBJECT_BYTES_MAX) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let decision = Decision::decode(&bytes).map_err(|error| error.in_object(&name))?;
    if let Decision::Committed { point } = &decision
        && point.id != session
    {
        let what = "the commit is that of another session than its name says";
        return Err(Error::corrupt(what).at(name.to_string()));
    }
    Ok(Some((decision, ChunkId::from_bytes(blake3_256(&bytes)))))
}
