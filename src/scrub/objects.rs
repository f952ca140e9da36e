//! The small objects: each is read and decoded, and compared with what others say of it.

use std::collections::{HashMap, HashSet};

use crate::base::hash::blake3_256;
use crate::base::id::{ChunkId, PackId, PointId, RepoId};
use crate::base::limits::SMALL_OBJECT_BYTES_MAX;
use crate::error::{Error, ErrorKind, Result};
use crate::format::catalogue::Catalogue;
use crate::format::codec::DecodeError;
use crate::format::commit::PointRecord;
use crate::format::config::{CONFIG_COPIES, Config};
use crate::format::journal::EngineNote;
use crate::format::key_slot::SLOT_COPIES;
use crate::format::layout::{Area, ObjectName};
use crate::format::lists::{Condemned, Damaged, DamagedCopy, Forgotten, Hold};
use crate::format::sealed::SealedObject;
use crate::format::session::SessionRecord;
use crate::point::{self, Commits, PointEntry};
use crate::repo::{KeySlots, Repository};
use crate::scrub::report::{Finding, Named};
use crate::store::Store;

/// What the small objects say.
#[derive(Debug, Default)]
pub(super) struct Objects {
    /// Number of objects that were read.
    pub(super) count: u64,
    /// All restore points, ordered by VM, then from the oldest to the newest.
    pub(super) points: Vec<PointRecord>,
    /// Copies that earlier scrubs wrote down as damaged.
    pub(super) known_copies: HashSet<DamagedCopy>,
    /// Packs that earlier scrubs wrote down as missing.
    pub(super) known_packs: HashSet<PackId>,
}

/// Reads all small objects.
pub(super) fn check_objects(repo: &Repository, findings: &mut Named<Finding>) -> Result<Objects> {
    let mut reader = Reader { store: &**repo.store(), findings, count: 0 };
    let mut objects = Objects::default();
    reader.check_config(repo.config())?;
    if repo.config().is_encrypted() {
        reader.check_slots(repo.id())?;
    }
    reader.each(Area::Sessions, SessionRecord::decode, |_, _| None)?;
    reader.each(Area::Holds, Hold::decode, |_, _| None)?;
    reader.each(Area::Condemned, Condemned::decode, |_, _| None)?;
    reader.each(Area::Engine, EngineNote::decode, |_, _| None)?;
    reader.each(Area::Damaged, Damaged::decode, |_, damaged| {
        objects.known_copies.extend(damaged.copies);
        objects.known_packs.extend(damaged.missing_packs);
        None
    })?;
    objects.points = reader.check_points(repo)?;
    objects.count = reader.count;
    Ok(objects)
}

/// Reads all small objects of an encrypted repository as far as that goes without keys: their
/// frames, and what is not sealed. The number of objects that were read.
pub(super) fn check_frames(
    store: &dyn Store,
    config: &Config,
    findings: &mut Named<Finding>,
) -> Result<u64> {
    let mut reader = Reader { store, findings, count: 0 };
    reader.check_config(config)?;
    reader.check_slots(config.repo)?;
    for area in [
        Area::Sessions,
        Area::Commits,
        Area::Catalogues,
        Area::Forgotten,
        Area::Holds,
        Area::Condemned,
        Area::Engine,
        Area::Damaged,
    ] {
        reader.each(area, |bytes| SealedObject::decode(bytes).map(drop), |_, ()| None)?;
    }
    Ok(reader.count)
}

struct Reader<'a> {
    store: &'a dyn Store,
    findings: &'a mut Named<Finding>,
    count: u64,
}

impl Reader<'_> {
    /// Reads an object; none if there is none or it is damaged. That it is damaged is a finding.
    fn read<T>(
        &mut self,
        name: &ObjectName,
        decode: impl Fn(&[u8]) -> std::result::Result<T, DecodeError>,
    ) -> Result<Option<T>> {
        let bytes = self.store.read(name, SMALL_OBJECT_BYTES_MAX);
        let value = bytes.and_then(|bytes| decode(&bytes).map_err(|error| error.in_object(name)));
        match value {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            _ => self.count += 1,
        }
        match value {
            Ok(value) => Ok(Some(value)),
            Err(error) => damage(error).map(|error| {
                self.findings.push(Finding::object(name, &error));
                None
            }),
        }
    }

    /// Reads all objects of an area. `take` may have something to say about what it is given.
    fn each<T>(
        &mut self,
        area: Area,
        decode: fn(&[u8]) -> std::result::Result<T, DecodeError>,
        mut take: impl FnMut(&ObjectName, T) -> Option<&'static str>,
    ) -> Result<()> {
        for name in self.store.list(area)? {
            if let Some(value) = self.read(&name, decode)?
                && let Some(what) = take(&name, value)
            {
                self.findings.push(object(&name, what));
            }
        }
        Ok(())
    }

    fn check_config(&mut self, expected: &Config) -> Result<()> {
        for copy in 0..CONFIG_COPIES {
            let name = ObjectName::config(copy);
            let is_there = self.store.len_bytes(&name).map(|_| true);
            let is_there = is_there.or_else(|error| match error.kind() {
                ErrorKind::NotFound => Ok(false),
                _ => Err(error),
            })?;
            let problem = match self.read(&name, Config::decode)? {
                Some(config) if config == *expected => continue,
                Some(_) => "the configuration differs from its other copies",
                None if is_there => continue,
                None => "a copy of the configuration is missing",
            };
            self.findings.push(object(&name, problem));
        }
        Ok(())
    }

    fn check_slots(&mut self, repo: RepoId) -> Result<()> {
        let found = KeySlots::read(self.store, repo)?;
        self.count += found.ids.len() as u64 * u64::from(SLOT_COPIES);
        for error in found.problems {
            let name = error.path().map(|path| path.display().to_string()).unwrap_or_default();
            self.findings.push(Finding::object(name, &damage(error)?));
        }
        Ok(())
    }

    /// Reads commits and tombstones. All restore points that are no more have a tombstone, so a
    /// commit that another one names and that is neither there nor has one was lost.
    fn check_points(&mut self, repo: &Repository) -> Result<Vec<PointRecord>> {
        let commits = self.store.list(Area::Commits)?;
        let mut forgotten = HashSet::new();
        self.each(Area::Forgotten, Forgotten::decode, |name, tombstone| {
            forgotten.insert(tombstone.point);
            let is_right = name.session_id() == Some(tombstone.point);
            (!is_right).then_some("the tombstone is that of another restore point")
        })?;
        // A tombstone counts by its name, too, so that a damaged one loses no more than itself.
        let names = self.store.list(Area::Forgotten)?;
        forgotten.extend(names.iter().filter_map(ObjectName::session_id));
        self.count += commits.len() as u64;
        let (points, unreadable) = self.check_commits(repo, &commits)?;
        let names: HashSet<_> = names.iter().filter_map(ObjectName::session_id).collect();
        let is_there = |point: &PointEntry| !names.contains(&point.record.id);
        let points: Vec<_> = points.into_iter().filter(is_there).collect();
        let hashes = points.iter().map(|entry| (entry.record.id, entry.commit_blake3)).collect();
        let records: Vec<_> = points.into_iter().map(|entry| entry.record).collect();
        forgotten.extend(unreadable);
        for point in &records {
            if let Some(finding) = check_place(repo, point, &hashes, &forgotten) {
                self.findings.push(finding);
            }
        }
        Ok(records)
    }

    /// Reads commits, each itself, and compares catalogues with them. The restore points, in order,
    /// and the sessions whose commits cannot be read.
    fn check_commits(
        &mut self,
        repo: &Repository,
        names: &[ObjectName],
    ) -> Result<(Vec<PointEntry>, Vec<PointId>)> {
        let ids: Vec<_> = names.iter().filter_map(ObjectName::session_id).collect();
        let mut points = Vec::new();
        let mut hashes = HashMap::new();
        let mut unreadable = Vec::new();
        Commits::one_by_one(self.store).read(&ids, |id, read| match read {
            Ok(Some(read)) => {
                hashes.insert(id, read.commit_blake3);
                points.extend(read.into_entry());
            }
            Ok(None) => {}
            Err(error) => unreadable.push((id, error)),
        });
        let mut ids = Vec::new();
        for (id, error) in unreadable {
            self.findings.push(Finding::object(ObjectName::commit(id), &damage(error)?));
            ids.push(id);
        }
        self.check_catalogues(repo, &hashes)?;
        point::sort(&mut points);
        Ok((points, ids))
    }

    /// Compares what catalogues hold with the commits of which these are the hashes. That one is of
    /// a newer release is no damage, and it was told to whoever wanted to use it.
    fn check_catalogues(
        &mut self,
        repo: &Repository,
        hashes: &HashMap<PointId, ChunkId>,
    ) -> Result<()> {
        let mut problems = Vec::new();
        point::each_catalogue(self.store, repo.id(), |name, catalogue| {
            self.count += 1;
            let problem = match catalogue {
                Ok(catalogue) => differing(catalogue, hashes).map(|id| {
                    let what = format!("it says something else of session {id} than its commit");
                    Error::corrupt(what).at(name.to_string())
                }),
                Err(error) => Some(error),
            };
            problems.extend(problem.map(|problem| (name.clone(), problem)));
            true
        })?;
        for (name, error) in problems {
            if error.kind() != ErrorKind::Unsupported {
                self.findings.push(Finding::object(&name, &damage(error)?));
            }
        }
        Ok(())
    }
}

/// A session of whose commit a catalogue does not hold the bytes, if there is one. Of commits that
/// are gone or cannot be read, nothing can be said.
fn differing(catalogue: &Catalogue<'_>, hashes: &HashMap<PointId, ChunkId>) -> Option<PointId> {
    let differs = |(id, bytes): &&(PointId, &[u8])| {
        hashes.get(id).is_some_and(|hash| *hash.as_bytes() != blake3_256(bytes))
    };
    catalogue.commits.iter().find(differs).map(|(id, _)| *id)
}

/// What is wrong with the place of a restore point among the others. That those of `explained` are
/// not to be seen has a reason that was told.
fn check_place(
    repo: &Repository,
    point: &PointRecord,
    hashes: &HashMap<PointId, ChunkId>,
    explained: &HashSet<PointId>,
) -> Option<Finding> {
    let finding = |id, problem| Some(object(&ObjectName::commit(id), problem));
    if point.repo != repo.id() {
        return finding(point.id, "the restore point belongs to another repository");
    }
    let previous = point.previous.as_ref()?;
    match hashes.get(&previous.point) {
        Some(hash) if *hash == previous.commit_blake3 => None,
        Some(_) => finding(previous.point, "the commit is not the one that the next one follows"),
        None if explained.contains(&previous.point) => None,
        None => finding(previous.point, "the commit is missing, and no tombstone says why"),
    }
}

fn object(name: &ObjectName, problem: &str) -> Finding {
    Finding::Object { name: name.to_string(), problem: problem.to_owned() }
}

/// Lets an error through that tells of damage, and fails with every other: that something is
/// forbidden or of a newer release says nothing about what is stored.
pub(super) fn damage(error: Error) -> Result<Error> {
    match error.kind() {
        ErrorKind::Corrupt | ErrorKind::Io => Ok(error),
        _ => Err(error),
    }
}
