//! A backup session: the one order in which a restore point comes to exist.
//!
//! | step | what | if the machine stops after it |
//! |---|---|---|
//! | B0 | lock the VM | nothing happened |
//! | B1 | register the session | a registration that nobody holds; the next session fences it |
//! | B2 | read what prunes have condemned | as B1 |
//! | B3 | read the index and the VM's last restore point | as B1 |
//! | B4 | store chunks: refer to what is there, append what is new | as B1 |
//! | B5 | publish packs | packs that nothing refers to; found again once they are indexed |
//! | B6, B7 | publish segments over the packs of data and of map nodes | as B5, and found again |
//! | B8 | check that every own pack is there | as B7 |
//! | B10 | publish `commit/<session>`, create-exclusive | the restore point exists |
//! | B12 | delete the registration, unlock the VM | the restore point exists |
//!
//! Registration comes before every read, and what is condemned is read before the index: a prune
//! waits for the sessions that were registered when it published its list, and looks again after.
//! Many sessions of different VMs run at once. `docs/durability.md` has the reasons.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::base::clock::UtcTime;
use crate::base::hash::blake3_256;
use crate::base::id::{ChunkId, PackId, SessionId};
use crate::base::limits::SMALL_OBJECT_BYTES_MAX;
use crate::chunk::{ChunkEncoder, CompressionLevel};
use crate::diskmap::NodeSink;
use crate::error::{Error, ErrorKind, Result};
use crate::format::codec::DecodeError;
use crate::format::commit::{BackupStats, Decision, DiskRecord, PointRecord, Previous};
use crate::format::engine::{Configuration, EngineRecord, LeftOut};
use crate::format::entry::EntryKind;
use crate::format::layout::{Area, ObjectName};
use crate::format::lists::Damaged;
use crate::format::mapnode::MapNode;
use crate::format::session::SessionKind;
use crate::monitor::Monitor;
use crate::pack::{PackTotals, PackWriter};
use crate::point::{Commits, PointEntry, Points};
use crate::repo::alone::check_not_repaired;
use crate::repo::holder;
use crate::repo::open::RELEASE;
use crate::repo::registration::{describe, register};
use crate::repo::room::{check_room, stow_ballast};
use crate::repo::segments::{SessionIndex, Unusable};
use crate::repo::{Repository, condemned_lists, condemned_packs, gather_commits, trust};
use crate::store::{Held, Published, Store};

/// Buffers of packs of data that go round: one grows while three are published, so that one slow
/// sync stops nobody.
const DATA_BUFFERS: usize = 4;
/// Map nodes are few; two buffers never make anybody wait.
const MAP_BUFFERS: usize = 2;
/// Every map node is stored twice: one lost node hides up to 256 chunks.
pub const MAP_COPIES: u8 = 2;

/// What became of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// It was new.
    New,
    /// The repository held it already.
    Duplicate,
}

/// What a restore point holds.
#[derive(Debug, Clone, Default)]
pub struct PointContents {
    /// The disks.
    pub disks: Vec<DiskRecord>,
    /// The configuration of a VM of an engine.
    pub configuration: Option<Configuration>,
    /// How it came from the engine.
    pub engine: Option<EngineRecord>,
    /// Disks of the VM that are not among those.
    pub left_out: Vec<LeftOut>,
}

/// A running backup of one VM. Ends with [`BackupSession::commit`] or [`BackupSession::abort`];
/// one that is dropped is fenced by the next session.
pub struct BackupSession {
    repo: Repository,
    id: SessionId,
    vm: String,
    time: UtcTime,
    points: Vec<PointEntry>,
    /// Commits that were in no catalogue when the session began.
    uncatalogued: usize,
    index: Arc<SessionIndex>,
    data: PackWriter,
    map: PackWriter,
    _registration: Box<dyn Held>,
    _vm_lock: Box<dyn Held>,
}

impl BackupSession {
    /// Steps B0 to B3. [`ErrorKind::Busy`] if another backup of `vm`, or a repair, runs.
    pub fn begin(repo: &Repository, vm: &str) -> Result<Self> {
        let store = &**repo.store();
        check_room(store, 0)?;
        let record = describe(repo, SessionKind::Backup, Some(vm), None);
        let vm_lock = holder::lock(repo, vm, &record)?;
        let (id, registration) = register(repo, &record)?;
        if let Err(error) = check_not_repaired(store) {
            store.delete(&ObjectName::session(id))?;
            return Err(error);
        }
        fence_dead_sessions(store)?;
        if let Err(problem) = store.sweep() {
            repo.monitor().problem(&problem);
        }
        let unusable = read_unusable(repo)?;
        let index = Arc::new(SessionIndex::load(repo, unusable)?);
        let Points { entries, problems, uncatalogued } = repo.commits().points()?;
        let (of_vm, more) = commits_of(store, vm, entries);
        problems.iter().chain(&more).for_each(|problem| repo.monitor().problem(problem));
        let time = free_time(record.began, &of_vm);
        let sink = || Arc::<SessionIndex>::clone(&index);
        let data = repo.write_packs(EntryKind::Data, 1, DATA_BUFFERS, sink())?;
        let map = repo.write_packs(EntryKind::MapNode, MAP_COPIES, MAP_BUFFERS, sink())?;
        Ok(Self {
            repo: repo.clone(),
            id,
            vm: vm.to_owned(),
            time,
            points: of_vm,
            uncatalogued,
            index,
            data,
            map,
            _registration: registration,
            _vm_lock: vm_lock,
        })
    }

    /// Which session it is: the id of the restore point, if it comes to be.
    #[must_use]
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// The restore points of the VM as of step B3, the newest last.
    pub fn points(&self) -> impl DoubleEndedIterator<Item = &PointRecord> {
        self.points.iter().map(|entry| &entry.record)
    }

    /// Step B4 for one chunk of a disk: refers to it, or stores it.
    pub fn put_chunk(&self, encoder: &mut ChunkEncoder, plain: &[u8]) -> Result<(ChunkId, Stored)> {
        let hash = self.repo.sealing().ids().hash(plain);
        if !self.index.must_store(hash.id())? {
            return Ok((hash.id(), Stored::Duplicate));
        }
        let entry = encoder.encode(EntryKind::Data, &hash, plain)?;
        self.data.append(hash.id(), plain.len(), entry)?;
        Ok((hash.id(), Stored::New))
    }

    /// Whether of each of `chunks`, best sorted, a copy is there that a restore point may refer to:
    /// indexed, and in no pack that is condemned or known to be damaged there.
    #[must_use]
    pub fn have_usable_copies(&self, chunks: &[ChunkId]) -> Vec<bool> {
        self.index.have_usable_copies(chunks)
    }

    /// The repository.
    #[must_use]
    pub fn repo(&self) -> &Repository {
        &self.repo
    }

    /// The observer of the run.
    #[must_use]
    pub fn monitor(&self) -> &dyn Monitor {
        self.repo.monitor()
    }

    /// Steps B5 to B12: the restore point exists when this returns it. `stats` is told the bytes
    /// that the session added to the repository.
    pub fn commit(
        self,
        contents: PointContents,
        stats: impl FnOnce(u64) -> BackupStats,
    ) -> Result<PointRecord> {
        let Self { repo, id, vm, time, points, uncatalogued, index, data, map, .. } = self;
        let store = repo.store();
        let stored = publish_rest(data, map, &index)
            .and_then(|bytes| check_packs(&**store, &index.own_packs()).map(|()| bytes));
        let stored_bytes = match stored {
            Ok(bytes) => bytes,
            Err(error) => {
                if let Err(problem) = give_up(&**store, id) {
                    repo.monitor().problem(&problem);
                }
                return Err(error);
            }
        };
        index.merge_if_many();
        let parent = points.into_iter().next_back();
        let previous = parent.as_ref().map(|parent| Previous {
            point: parent.record.id,
            commit_blake3: parent.commit_blake3,
        });
        let point = PointRecord {
            id,
            repo: repo.id(),
            vm,
            time,
            sequence: parent.map_or(1, |parent| parent.record.sequence.saturating_add(1)),
            previous,
            disks: contents.disks,
            configuration: contents.configuration,
            engine: contents.engine,
            left_out: contents.left_out,
            stats: stats(stored_bytes),
            written_by: RELEASE.to_owned(),
        };
        let decision = Decision::Committed { point: Box::new(point.clone()) };
        match store.create(&ObjectName::commit(id), &decision.encode())? {
            Published::Created => {}
            Published::Existed => {
                let what = "the session was fenced before it could commit";
                return Err(Error::new(ErrorKind::Busy, what));
            }
        }
        // The restore point exists: what fails from here on is only untidy.
        let is_gathering_due = uncatalogued + 1 > repo.environment().few_commits;
        let ended = remember(&repo, &point, &decision)
            .and_then(|()| if is_gathering_due { gather_commits(&repo) } else { Ok(()) })
            .and(store.delete(&ObjectName::session(id)))
            .and_then(|()| stow_ballast(&repo));
        if let Err(problem) = ended {
            repo.monitor().problem(&problem);
        }
        Ok(point)
    }

    /// Ends the session without a restore point. What it stored is kept and indexed, so that the
    /// next backup finds it.
    pub fn abort(self) -> Result<()> {
        let Self { repo, id, index, data, map, .. } = self;
        let stored = publish_rest(data, map, &index);
        let decided = give_up(&**repo.store(), id);
        stored.and(decided)
    }
}

/// The restore points of a VM among `points`, as their commits say, and what is wrong with those:
/// what a new one refers to or inherits from is read from no copy.
fn commits_of(
    store: &dyn Store,
    vm: &str,
    mut points: Vec<PointEntry>,
) -> (Vec<PointEntry>, Vec<Error>) {
    points.retain(|point| point.record.vm == vm);
    if points.iter().all(|point| !point.is_copy) {
        return (points, Vec::new());
    }
    let ids: Vec<_> = points.iter().map(|point| point.record.id).collect();
    let mut read = Commits::one_by_one(store).points_of(&ids);
    read.entries.retain(|point| point.record.vm == vm);
    (read.entries, read.problems)
}

/// Has this host remember that it has seen the restore point.
fn remember(repo: &Repository, point: &PointRecord, decision: &Decision) -> Result<()> {
    let Some(trust) = repo.trust() else { return Ok(()) };
    let commit_blake3 = ChunkId::from_bytes(blake3_256(&decision.encode()));
    let entry = PointEntry { record: point.clone(), commit_blake3, is_copy: false };
    trust::advance(&entry, repo.id(), trust)
}

/// Nodes are encoded by whoever completes them; that is rare, so the encoder is made anew.
impl NodeSink for BackupSession {
    fn put_node(&self, node: &MapNode) -> Result<ChunkId> {
        let plain = node.encode();
        let sealing = self.repo.sealing();
        let hash = sealing.ids().hash(&plain);
        if self.index.must_store(hash.id())? {
            let mut encoder = ChunkEncoder::new(CompressionLevel::default(), sealing)?;
            let entry = encoder.encode(EntryKind::MapNode, &hash, &plain)?;
            self.map.append(hash.id(), plain.len(), entry)?;
        }
        Ok(hash.id())
    }
}

/// Publishes the packs that are left, then a segment over all that were published; says how many
/// bytes the packs of the session have. A medium that had no room for a pack may have room for the
/// segment: without it the next backup would not know of the packs before, and store them again.
fn publish_rest(data: PackWriter, map: PackWriter, index: &SessionIndex) -> Result<u64> {
    let finished = [data.finish(), map.finish()];
    let flushed = index.flush();
    let totals: Vec<PackTotals> = finished.into_iter().collect::<Result<_>>()?;
    flushed?;
    Ok(totals.iter().map(|totals| totals.bytes).sum())
}

/// Decides a session that will not commit, and takes its registration back.
fn give_up(store: &dyn Store, id: SessionId) -> Result<()> {
    let _decided = store.create(&ObjectName::commit(id), &Decision::Aborted.encode())?;
    store.delete(&ObjectName::session(id))
}

/// Decides the sessions whose process is gone, so that none of them can ever commit.
pub fn fence_dead_sessions(store: &dyn Store) -> Result<()> {
    for name in store.list(Area::Sessions)? {
        let Some(id) = name.session_id() else { continue };
        if store.is_held(&name)? {
            continue;
        }
        let _decided = store.create(&ObjectName::commit(id), &Decision::Fenced.encode())?;
        store.delete(&name)?;
    }
    Ok(())
}

pub(super) fn read_unusable(repo: &Repository) -> Result<Unusable> {
    let store = &**repo.store();
    let packs = condemned_packs(&condemned_lists(store)?);
    let mut unusable = Unusable { packs, ..Unusable::default() };
    for damaged in read_all(store, Area::Damaged, Damaged::decode)? {
        match damaged {
            Ok(damaged) => {
                unusable.packs.extend(damaged.missing_packs);
                unusable.copies.extend(damaged.copies);
            }
            // What it named can be found again by a scrub; that is no reason to have no backup.
            Err(problem) => repo.monitor().problem(&problem),
        }
    }
    Ok(unusable)
}

/// Reads all objects of an area. One that is deleted meanwhile is left out.
fn read_all<T>(
    store: &dyn Store,
    area: Area,
    decode: fn(&[u8]) -> std::result::Result<T, DecodeError>,
) -> Result<Vec<Result<T>>> {
    let mut all = Vec::new();
    for name in store.list(area)? {
        match store.read(&name, SMALL_OBJECT_BYTES_MAX) {
            Ok(bytes) => all.push(decode(&bytes).map_err(|error| error.in_object(&name))),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => all.push(Err(error)),
        }
    }
    Ok(all)
}

/// The time, moved on by the seconds that restore points of the same VM have taken.
fn free_time(now: UtcTime, points: &[PointEntry]) -> UtcTime {
    let taken: BTreeSet<_> = points.iter().map(|point| point.record.time.unix_seconds()).collect();
    let free = (now.unix_seconds()..).find(|second| !taken.contains(second));
    free.and_then(UtcTime::from_unix_seconds).unwrap_or(now)
}

fn check_packs(store: &dyn Store, packs: &[PackId]) -> Result<()> {
    packs.iter().try_for_each(|pack| store.len_bytes(&ObjectName::pack(*pack)).map(drop))
}
