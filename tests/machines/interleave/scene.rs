//! What is there at first, who does what, and one schedule of it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use backstop::base::cancel::Cancel;
use backstop::base::clock::{Clock, UtcTime};
use backstop::base::id::PointId;
use backstop::chunk::CompressionLevel;
use backstop::error::{Error, ErrorKind};
use backstop::format::commit::PointRecord;
use backstop::format::layout::Area;
use backstop::format::session::SessionKind;
use backstop::ingest::source::{Extent, ExtentKind, ImageSource};
use backstop::ingest::{BackupOptions, BackupRun, DiskInput, PointFacts};
use backstop::prune::forget::{forget, undo};
use backstop::prune::{PruneOptions, prune};
use backstop::repo::{Environment, Registration, Repository, RestoreSession, rebuild_index};
use backstop::store::Store;
use backstop::store::testing::{MemoryStore, SeededChance};

use crate::repo::{environment, noise, read_back, source_input};
use crate::told::{Broken, Told, next_disk, prune_options, said};

use super::lies::{Lie, Lies, objects};
use super::store::TurnStore;
use super::turns::{Actor, Call, Policy, Record, Turns};

/// Prunes after which nothing more is to be done.
const PRUNES_MAX: usize = 3;

/// Disks by number. Equal numbers are equal bytes.
pub(crate) type Disks = &'static [u64];

/// What one actor does. Restore points are named by their place in [`Scene::points`].
#[derive(Debug, Clone, Copy)]
pub(crate) enum Deed {
    BackUp(&'static str, Disks),
    /// Backs up disks that have not changed since the newest restore point of the VM.
    Inherit(&'static str, Disks),
    /// Ends a backup that had registered before anybody began.
    EndEarlier,
    Prune {
        waits: bool,
    },
    Forget(usize),
    Undo(usize),
    /// Opens a restore point as a mount does, and reads all of it.
    Read(usize),
    /// Reads a restore point to bring it back into the VM of that name.
    Restore(&'static str, usize),
    RebuildIndex,
}

impl Deed {
    /// The session of one whose backup began before.
    fn begin(self, repo: &Repository) -> Option<BackupRun> {
        let is_begun = matches!(self, Self::EndEarlier);
        is_begun.then(|| BackupRun::begin(repo, "earlier", &options()).unwrap())
    }
}

impl fmt::Display for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BackUp(vm, _) | Self::Inherit(vm, _) => write!(f, "backup of {vm}"),
            Self::EndEarlier => f.write_str("earlier backup"),
            Self::Prune { .. } => f.write_str("prune"),
            Self::Forget(_) => f.write_str("forget"),
            Self::Undo(_) => f.write_str("undo"),
            Self::Read(_) => f.write_str("mount"),
            Self::Restore(vm, _) => write!(f, "restore into {vm}"),
            Self::RebuildIndex => f.write_str("rebuild-index"),
        }
    }
}

/// A repository and who works on it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scene {
    /// The restore points at first, VM and disks each. Two of the same VM follow each other.
    pub(crate) points: &'static [(&'static str, Disks)],
    /// How many of the first are stored by sessions that do not see each other's chunks.
    pub(crate) apart: usize,
    /// Those that have been dropped.
    pub(crate) dropped: &'static [usize],
    pub(crate) deeds: &'static [Deed],
    pub(crate) lies: &'static [Lie],
}

/// A repository as it is when everybody begins, to be copied for each schedule.
pub(crate) struct Stage {
    scene: Scene,
    objects: MemoryStore,
    points: Vec<PointRecord>,
    told: Told,
}

/// What an actor reports.
enum Done {
    Nothing,
    Committed(PointId),
    Dropped(PointId),
    Returned(PointId),
}

/// A clock that stands, and lets others go on while somebody sleeps.
struct TurnClock {
    actor: Actor,
    turns: Arc<Turns>,
}

impl Clock for TurnClock {
    fn now(&self) -> UtcTime {
        // After everything that the stage has done.
        UtcTime::from_unix_seconds(1_800_000_000).unwrap()
    }

    fn sleep(&self, _: Duration) {
        // Whoever dies in its sleep learns so from the next call.
        let _killed = self.turns.wait(self.actor, Call::Sleep);
    }
}

fn bytes_of(disks: &[u64]) -> Vec<u8> {
    disks.iter().flat_map(|disk| disk_of(*disk)).collect()
}

/// One chunk, of which each number has its own length: what is needed of a pack differs.
fn disk_of(number: u64) -> Vec<u8> {
    noise(1500 + 400 * number as usize, number)
}

/// A disk of which is said that all of it changed since the backup before, or nothing.
struct SmallDisk {
    bytes: Vec<u8>,
    kind: ExtentKind,
}

impl ImageSource for SmallDisk {
    fn size_bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn extent_at(&self, offset_bytes: u64) -> Result<Extent, Error> {
        Ok(Extent { len_bytes: self.size_bytes() - offset_bytes, kind: self.kind })
    }

    fn read_at(&self, offset_bytes: u64, out: &mut [u8]) -> Result<(), Error> {
        out.copy_from_slice(&self.bytes[offset_bytes as usize..][..out.len()]);
        Ok(())
    }

    fn finish(&self) -> Result<(), Error> {
        Ok(())
    }
}

fn options() -> BackupOptions {
    BackupOptions { level: CompressionLevel::default(), threads: 1, cancel: Cancel::default() }
}

fn store_disks(run: &mut BackupRun, disks: Disks, kind: ExtentKind) -> Result<(), Error> {
    let points = run.parent_points();
    for number in disks {
        let name = number.to_string();
        let before =
            points.last().and_then(|point| point.disks.iter().find(|disk| disk.name == name));
        let before = before.filter(|_| kind == ExtentKind::Unchanged);
        let parent = before.map(|disk| run.parent_disk(disk)).transpose()?;
        let disk = SmallDisk { bytes: disk_of(*number), kind };
        run.store_disk(DiskInput { parent, ..source_input(&name, disk) })?;
    }
    Ok(())
}

fn back_up(repo: &Repository, vm: &str, disks: Disks, kind: ExtentKind) -> Result<Done, Error> {
    let mut run = BackupRun::begin(repo, vm, &options())?;
    match store_disks(&mut run, disks, kind) {
        Ok(()) => Ok(Done::Committed(run.commit(PointFacts::default())?.id)),
        Err(error) => {
            run.abort();
            Err(error)
        }
    }
}

impl Stage {
    pub(crate) fn new(scene: &Scene) -> Self {
        let objects = MemoryStore::new();
        let repo = crate::repo::create_repo(Arc::new(objects.clone()), environment(1)).unwrap();
        let begin = |vm: &str| BackupRun::begin(&repo, vm, &options()).unwrap();
        let (apart, after) = scene.points.split_at(scene.apart);
        let together: Vec<_> = apart.iter().map(|(vm, disks)| (begin(vm), *disks)).collect();
        let finish = |(mut run, disks): (BackupRun, Disks)| {
            store_disks(&mut run, disks, ExtentKind::Data).unwrap();
            run.commit(PointFacts::default()).unwrap()
        };
        let mut points: Vec<_> = together.into_iter().map(finish).collect();
        points.extend(after.iter().map(|(vm, disks)| finish((begin(vm), disks))));
        let mut told = Told::default();
        for (point, (_, disks)) in points.iter().zip(scene.points) {
            told.committed(point.id, &bytes_of(disks));
        }
        told.attempted(&next_disk());
        for dropped in scene.dropped {
            forget(&repo, points[*dropped].id).unwrap();
            told.dropped(points[*dropped].id);
        }
        Self { scene: *scene, objects, points, told }
    }

    /// Runs one schedule. What happened, and what was broken, if anything was.
    pub(crate) fn run(&self, policy: Box<dyn Policy>) -> (Record, Result<(), Broken>) {
        let Scene { deeds, lies, .. } = self.scene;
        let store = copy_of(&self.objects);
        let turns = Arc::new(Turns::new(deeds.len(), policy));
        let is_prune = |actor: &Actor| matches!(deeds[*actor], Deed::Prune { .. });
        let lies = Arc::new(Lies::new(lies, (0..deeds.len()).filter(is_prune).collect()));
        let open = |actor: Actor| {
            let (turns, lies) = (Arc::clone(&turns), Arc::clone(&lies));
            let clock = TurnClock { actor, turns: Arc::clone(&turns) };
            let store = TurnStore { actor, turns, inner: store.clone(), lies };
            crate::repo::open_repo(Arc::new(store), world(actor, clock)).unwrap()
        };
        let repos: Vec<_> = (0..deeds.len()).map(open).collect();
        let begun: Vec<_> = deeds.iter().zip(&repos).map(|(deed, repo)| deed.begin(repo)).collect();
        turns.begin();
        let results: Vec<_> = std::thread::scope(|scope| {
            let actors = deeds.iter().zip(&repos).zip(begun).enumerate();
            let actors = actors.map(|(actor, ((deed, repo), begun))| {
                let end = End { actor, turns: Arc::clone(&turns) };
                scope.spawn(move || {
                    let _end = end;
                    self.act(repo, *deed, begun)
                })
            });
            let actors: Vec<_> = actors.collect();
            actors.into_iter().map(|actor| actor.join()).collect()
        });
        let (record, is_stuck) = turns.finish();
        if is_stuck {
            return (record, Err("somebody waits for ever".to_owned()));
        }
        let mut told = self.told.clone();
        let mut heard = Ok(());
        for (actor, result) in results.into_iter().enumerate() {
            let was_killed = turns.was_killed(actor);
            heard = heard.and(match result {
                Ok(result) => self.hear(&mut told, deeds[actor], result, was_killed),
                Err(_) => Err(format!("{} panicked", deeds[actor])),
            });
        }
        let plain = crate::repo::open_repo(Arc::new(store), environment(77)).unwrap();
        (record, heard.and_then(|()| self.judge(told, &plain)))
    }

    fn act(&self, repo: &Repository, deed: Deed, begun: Option<BackupRun>) -> Result<Done, Error> {
        let id = |point: usize| self.points[point].id;
        match deed {
            Deed::BackUp(vm, disks) => back_up(repo, vm, disks, ExtentKind::Data),
            Deed::Inherit(vm, disks) => back_up(repo, vm, disks, ExtentKind::Unchanged),
            Deed::Prune { waits } => {
                let wait = if waits { Duration::MAX } else { Duration::ZERO };
                prune(repo, &PruneOptions { wait, ..prune_options(90) })?;
                Ok(Done::Nothing)
            }
            Deed::Forget(point) => forget(repo, id(point)).map(|()| Done::Dropped(id(point))),
            Deed::Undo(point) => undo(repo, id(point)).map(|()| Done::Returned(id(point))),
            Deed::Read(point) => {
                let _reading = Registration::reading(repo, SessionKind::Mount, id(point))?;
                self.read(repo, point)
            }
            Deed::Restore(vm, point) => {
                let _session = RestoreSession::begin(repo, vm, id(point))?;
                self.read(repo, point)
            }
            Deed::RebuildIndex => rebuild_index(repo, &Cancel::default()).map(|_| Done::Nothing),
            Deed::EndEarlier => {
                begun.into_iter().for_each(BackupRun::abort);
                Ok(Done::Nothing)
            }
        }
    }

    /// What is open is readable. That it is gone may be said before, not here.
    fn read(&self, repo: &Repository, point: usize) -> Result<Done, Error> {
        let lost = |error: Error| {
            let kind =
                if error.kind() == ErrorKind::NotFound { ErrorKind::Corrupt } else { error.kind() };
            Error::new(kind, "what is open cannot be read").because(error.chain())
        };
        let mut read = Vec::new();
        for disk in &self.points[point].disks {
            read.extend(read_back(repo, disk, true).map_err(lost)?);
        }
        match read == bytes_of(self.scene.points[point].1) {
            true => Ok(Done::Nothing),
            false => Err(Error::corrupt("wrong bytes were read")),
        }
    }

    /// Everything that was reported is there. Where nothing is missing on purpose, all goes on.
    fn judge(&self, told: Told, repo: &Repository) -> Result<(), Broken> {
        told.hold_in(repo)?;
        if self.scene.lies.is_empty() { go_on(told, repo) } else { Ok(()) }
    }

    /// Takes down what an actor reports; fails if it may not end so.
    fn hear(
        &self,
        told: &mut Told,
        deed: Deed,
        result: Result<Done, Error>,
        was_killed: bool,
    ) -> Result<(), Broken> {
        let error = match result {
            Ok(Done::Nothing) => return Ok(()),
            Ok(Done::Committed(id)) => {
                let (Deed::BackUp(_, disks) | Deed::Inherit(_, disks)) = deed else {
                    unreachable!()
                };
                told.committed(id, &bytes_of(disks));
                return Ok(());
            }
            Ok(Done::Dropped(id)) => {
                told.dropped(id);
                return Ok(());
            }
            Ok(Done::Returned(id)) => {
                told.returned(id);
                return Ok(());
            }
            Err(error) => error,
        };
        match deed {
            Deed::BackUp(_, disks) | Deed::Inherit(_, disks) => told.attempted(&bytes_of(disks)),
            Deed::Forget(point) | Deed::Undo(point)
                if was_killed || !self.scene.lies.is_empty() =>
            {
                told.in_doubt(self.points[point].id)
            }
            _ => {}
        }
        let is_proper = match error.kind() {
            ErrorKind::Busy => !matches!(deed, Deed::Forget(_) | Deed::Read(_)),
            ErrorKind::NotFound => {
                matches!(deed, Deed::Forget(_) | Deed::Undo(_) | Deed::Read(_) | Deed::Restore(..))
            }
            _ => false,
        };
        // Where something is missing, it is enough that nothing is lost.
        match was_killed || is_proper || !self.scene.lies.is_empty() {
            true => Ok(()),
            false => Err(format!("{deed} fails: {}", error.chain())),
        }
    }
}

/// Everything goes on without help, and prunes come to an end.
fn go_on(mut told: Told, repo: &Repository) -> Result<(), Broken> {
    told.go_on(repo)?;
    // Copies that there are too many of may take more than one.
    for _ in 0..PRUNES_MAX {
        let pruned = prune(repo, &prune_options(90)).map_err(said("a prune fails"))?;
        if pruned.deleted_packs == 0 {
            return Ok(());
        }
    }
    Err("prunes always find something to do".to_owned())
}

/// Ends the actor however its thread ends.
struct End {
    actor: Actor,
    turns: Arc<Turns>,
}

impl Drop for End {
    fn drop(&mut self) {
        self.turns.end(self.actor);
    }
}

fn world(actor: Actor, clock: TurnClock) -> Environment {
    Environment {
        clock: Arc::new(clock),
        chance: Arc::new(SeededChance::new(1000 + actor as u64)),
        ..Environment::default()
    }
}

fn copy_of(objects_of: &MemoryStore) -> MemoryStore {
    let copy = MemoryStore::new();
    for area in Area::ALL {
        for (name, bytes) in objects(objects_of, area).unwrap() {
            let _created = copy.create(&name, &bytes).unwrap();
        }
    }
    copy
}
