//! Reads commits. A restore point exists where a commit says so and no tombstone stands.

use std::collections::HashSet;

use crate::base::hash::blake3_256;
use crate::base::id::{ChunkId, PointId, RepoId, SessionId};
use crate::base::limits::SMALL_OBJECT_BYTES_MAX;
use crate::error::{Error, ErrorKind, Result};
use crate::format::commit::{Decision, PointRecord};
use crate::format::layout::{Area, ObjectName};
use crate::point::catalogue::each_catalogue;
use crate::store::Store;

/// How a session was decided; none if it is not.
pub fn decision(store: &dyn Store, session: SessionId) -> Result<Option<Decision>> {
    Ok(read(store, session)?.map(|read| read.decision))
}

/// A restore point with the hash of its commit object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PointEntry {
    /// What the commit says.
    pub record: PointRecord,
    /// BLAKE3-256 of the commit object.
    pub commit_blake3: ChunkId,
    /// Whether that was read from a catalogue and not from the commit itself.
    pub is_copy: bool,
}

/// A decision that was read.
#[derive(Debug)]
pub struct ReadDecision {
    /// How the session was decided.
    pub decision: Decision,
    /// BLAKE3-256 of the commit object.
    pub commit_blake3: ChunkId,
    /// Whether it was read from a catalogue and not from the commit itself.
    pub is_copy: bool,
}

/// Restore points, ordered by VM, then from the oldest to the newest.
#[derive(Debug, Default)]
pub struct Points {
    /// The restore points.
    pub entries: Vec<PointEntry>,
    /// One error for every commit that cannot be read, and for every catalogue.
    pub problems: Vec<Error>,
    /// Commits that were found in no catalogue.
    pub uncatalogued: usize,
}

/// The restore point of that id; [`ErrorKind::NotFound`] if there is none or it was dropped.
pub fn committed(store: &dyn Store, point: PointId) -> Result<PointEntry> {
    let forgotten = store.len_bytes(&ObjectName::forgotten(point)).is_ok();
    let found = if forgotten { None } else { read(store, point)? };
    found.and_then(ReadDecision::into_entry).ok_or_else(|| {
        Error::new(ErrorKind::NotFound, format!("there is no restore point {point}"))
    })
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

/// The commits of a repository, read one by one or, where many are wanted, out of catalogues.
#[derive(Debug, Clone, Copy)]
pub struct Commits<'a> {
    store: &'a dyn Store,
    /// The repository whose catalogues are used, and up to how many commits none is.
    catalogues: Option<(RepoId, usize)>,
}

impl<'a> Commits<'a> {
    /// Uses the catalogues of `repo` where more than `few` commits are wanted.
    #[must_use]
    pub fn catalogued(store: &'a dyn Store, repo: RepoId, few: usize) -> Self {
        Self { store, catalogues: Some((repo, few)) }
    }

    /// Uses no catalogue.
    #[must_use]
    pub fn one_by_one(store: &'a dyn Store) -> Self {
        Self { store, catalogues: None }
    }

    /// All restore points.
    pub fn points(&self) -> Result<Points> {
        Ok(self.points_of(&candidates(self.store)?))
    }

    /// The restore points that were dropped and whose commits no prune has deleted yet.
    pub fn dropped_points(&self) -> Result<Points> {
        let commits = self.store.list(Area::Commits)?;
        let commits: HashSet<_> = commits.iter().filter_map(ObjectName::session_id).collect();
        let forgotten = self.store.list(Area::Forgotten)?;
        let mut ids: Vec<_> = forgotten.iter().filter_map(ObjectName::session_id).collect();
        ids.retain(|id| commits.contains(id));
        Ok(self.points_of(&ids))
    }

    /// The restore points among those sessions.
    #[must_use]
    pub fn points_of(&self, ids: &[SessionId]) -> Points {
        let mut points = Points::default();
        let mut unreadable = Vec::new();
        points.problems = self.read(ids, |_, read| match read {
            Ok(Some(read)) => {
                points.uncatalogued += usize::from(!read.is_copy);
                points.entries.extend(read.into_entry());
            }
            Ok(None) => {}
            Err(error) => unreadable.push(error),
        });
        points.problems.extend(unreadable);
        sort(&mut points.entries);
        points
    }

    /// Calls `take` once for each of those sessions, in no particular order, with its decision or
    /// none if it is not decided. Returns what is wrong with catalogues.
    pub fn read(
        &self,
        ids: &[SessionId],
        mut take: impl FnMut(SessionId, Result<Option<ReadDecision>>),
    ) -> Vec<Error> {
        let mut problems = Vec::new();
        let catalogues = self.catalogues.filter(|(_, few)| ids.len() > *few);
        let Some((repo, _)) = catalogues else {
            ids.iter().for_each(|id| take(*id, read(self.store, *id)));
            return problems;
        };
        let mut wanted: HashSet<SessionId> = ids.iter().copied().collect();
        let looked = each_catalogue(self.store, repo, |_, catalogue| {
            let catalogue = match catalogue {
                Ok(catalogue) => catalogue,
                Err(error) => {
                    problems.push(unusable(error));
                    return true;
                }
            };
            for (session, bytes) in &catalogue.commits {
                if wanted.contains(session)
                    // Of a copy that is no commit, the commit itself tells what is wrong.
                    && let Ok(decided) = decode(*session, bytes, true)
                {
                    wanted.remove(session);
                    take(*session, Ok(Some(decided)));
                }
            }
            !wanted.is_empty()
        });
        problems.extend(looked.err().map(unusable));
        let rest = ids.iter().filter(|id| wanted.contains(id));
        rest.for_each(|id| take(*id, read(self.store, *id)));
        problems
    }
}

fn unusable(cause: Error) -> Error {
    let what = "a catalogue of commits cannot be used, so the commits are read one by one";
    Error::new(cause.kind(), what).because(cause)
}

/// Orders restore points by VM, then from the oldest to the newest.
pub fn sort(points: &mut [PointEntry]) {
    points.sort_by(|a, b| order(&a.record).cmp(&order(&b.record)));
}

fn order(point: &PointRecord) -> (&str, u64, i64, PointId) {
    (&point.vm, point.sequence, point.time.unix_seconds(), point.id)
}

impl ReadDecision {
    /// The restore point, if the session committed one.
    #[must_use]
    pub fn into_entry(self) -> Option<PointEntry> {
        let Self { decision, commit_blake3, is_copy } = self;
        Some(PointEntry { record: decision.point()?, commit_blake3, is_copy })
    }
}

fn read(store: &dyn Store, session: SessionId) -> Result<Option<ReadDecision>> {
    match read_bytes(store, session)? {
        Some(bytes) => decode(session, &bytes, false).map(Some),
        None => Ok(None),
    }
}

/// The bytes of a commit; none if the session is not decided.
pub fn read_bytes(store: &dyn Store, session: SessionId) -> Result<Option<Vec<u8>>> {
    match store.read(&ObjectName::commit(session), SMALL_OBJECT_BYTES_MAX) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The decision about `session` that these bytes are.
pub fn decode(session: SessionId, bytes: &[u8], is_copy: bool) -> Result<ReadDecision> {
    let name = ObjectName::commit(session);
    let decision = Decision::decode(bytes).map_err(|error| error.in_object(&name))?;
    if let Decision::Committed { point } = &decision
        && point.id != session
    {
        let what = "the commit is that of another session than its name says";
        return Err(Error::corrupt(what).at(name.to_string()));
    }
    let commit_blake3 = ChunkId::from_bytes(blake3_256(bytes));
    Ok(ReadDecision { decision, commit_blake3, is_copy })
}
