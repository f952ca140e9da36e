//! Random commands on a simulated disk, and what was told of them.

use std::result;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use backstop::base::cancel::Cancel;
use backstop::base::id::PointId;
use backstop::error::{ErrorKind, Result};
use backstop::format::commit::PointRecord;
use backstop::format::layout::{Area, ObjectName};
use backstop::ingest::{BackupOptions, back_up};
use backstop::prune::forget::{dropped, forget, hold, release, undo};
use backstop::prune::{PruneOptions, PruneReport, prune};
use backstop::repair::repair;
use backstop::repo::{Environment, Repository, rebuild_index};
use backstop::scrub::{ScrubLevel, ScrubOptions, scrub};
use backstop::store::Store;
use backstop::store::testing::{MemoryStore, Omit, SeededChance};

use crate::repo::{MIB, disk_input, environment, noise, options};
use crate::scale::seed;
use crate::told::{Broken, Told, prune_options, repair_options, said};

const VMS: [&str; 3] = ["db", "mail", "web"];
/// About as many steps of the store as one command has.
pub(crate) const STEPS_PER_COMMAND: usize = 36;

/// What can be done to a repository, as often as it stands here.
const COMMANDS: &[Command] = &[
    Command::BackUp,
    Command::BackUp,
    Command::BackUp,
    Command::BackUp,
    Command::BackUpTwo,
    Command::BackUpAndPrune,
    Command::Forget,
    Command::Forget,
    Command::Forget,
    Command::Undo,
    Command::Hold,
    Command::Prune,
    Command::Prune,
    Command::Rebuild,
    Command::Repair,
    Command::Scrub,
];
/// Shares of packs below which prunes write them anew, in percent: from never to always.
const LIVE_PERCENTS: [u8; 4] = [0, 50, 90, 100];

#[derive(Clone, Copy)]
enum Command {
    BackUp,
    /// Two VMs at once.
    BackUpTwo,
    /// Both at once.
    BackUpAndPrune,
    Forget,
    Undo,
    /// Holds a restore point, tries to drop it, and lets it go.
    Hold,
    Prune,
    Rebuild,
    /// Takes a copy of the configuration away, and the parity of a pack, and has them brought back.
    Repair,
    Scrub,
}

/// A world with its disks, and what was told of them.
pub(crate) struct History {
    pub(crate) dice: SeededChance,
    pub(crate) store: MemoryStore,
    disks: [Vec<u8>; VMS.len()],
    pub(crate) told: Told,
    pruned: Pruned,
}

/// What prunes have done.
#[derive(Debug, Default)]
struct Pruned {
    deleted_packs: u64,
    compacted_packs: u64,
}

/// A world in which commits are gathered in catalogues from the second restore point on.
fn world(seed: u64) -> Environment {
    Environment { few_commits: 1, ..environment(seed) }
}

impl History {
    /// Every other one has parity, and every other one begins with restore points of two chunks.
    pub(crate) fn new(seed: u64, omit: Omit) -> Self {
        let dice = SeededChance::new(seed);
        let store = MemoryStore::new();
        let create = match dice.below(2) {
            0 => crate::repo::create_repo,
            _ => crate::repo::create_repo_with_parity,
        };
        let repo = create(Arc::new(store.clone()), world(dice.next())).unwrap();
        let mut disks = VMS.map(|_| noise(2000 + dice.below(6000), dice.next()));
        if dice.below(2) == 0 {
            disks[0].resize(MIB, 0);
            disks[0].extend(noise(3000, dice.next()));
        }
        let (told, pruned) = (Told::default(), Pruned::default());
        let mut history = Self { dice, store, disks, told, pruned };
        if history.disks[0].len() > MIB {
            // What several points share is written anew when one of them is dropped.
            (0..3).for_each(|_| history.back_up_from(&repo, 0, 1).unwrap());
        }
        history.store.omit(omit);
        history
    }

    pub(crate) fn open(&self) -> result::Result<Repository, Broken> {
        let store: Arc<dyn Store> = Arc::new(self.store.clone());
        let opened = crate::repo::open_repo(store, world(self.dice.next()));
        opened.map_err(said("the repository does not open"))
    }

    /// One of the commands, by the dice.
    pub(crate) fn run(&mut self, repo: &Repository) -> Result<()> {
        match COMMANDS[self.dice.below(COMMANDS.len())] {
            Command::BackUp => self.back_up(repo, 1),
            Command::BackUpTwo => self.back_up(repo, 2),
            Command::BackUpAndPrune => thread::scope(|scope| {
                let options = self.prune_options();
                let pruning = scope.spawn(move || prune(repo, &options));
                let done = self.back_up(repo, 1);
                self.count(&pruning.join().unwrap()?);
                done
            }),
            Command::Forget => self.forget(repo),
            Command::Undo => self.undo(repo),
            Command::Hold => self.hold(repo),
            Command::Prune => prune(repo, &self.prune_options()).map(|report| self.count(&report)),
            Command::Rebuild => rebuild_index(repo, &Cancel::default()).map(drop),
            Command::Repair => self.repair(repo),
            Command::Scrub => {
                let level = ScrubLevel::ALL[self.dice.below(ScrubLevel::ALL.len())];
                let options = ScrubOptions { level, threads: 1, cancel: Cancel::default() };
                scrub(repo, &options).map(drop)
            }
        }
    }

    fn prune_options(&self) -> PruneOptions {
        prune_options(LIVE_PERCENTS[self.dice.below(LIVE_PERCENTS.len())])
    }

    fn count(&mut self, report: &PruneReport) {
        self.pruned.deleted_packs += report.deleted_packs;
        self.pruned.compacted_packs += report.compacted_packs;
    }

    /// Every other time the oldest of a VM.
    fn pick(&self, points: &[PointRecord]) -> Option<PointId> {
        let number = match self.dice.below(2) {
            0 => 0,
            _ => self.dice.below(points.len().max(1)),
        };
        points.get(number).map(|point| point.id)
    }

    fn forget(&mut self, repo: &Repository) -> Result<()> {
        let Some(point) = self.pick(&repo.points()?) else { return Ok(()) };
        self.told.in_doubt(point);
        match forget(repo, point) {
            Err(error) if error.kind() == ErrorKind::Refused => self.told.returned(point),
            done => {
                done?;
                self.told.dropped(point);
            }
        }
        Ok(())
    }

    fn undo(&mut self, repo: &Repository) -> Result<()> {
        let Some(point) = self.pick(&dropped(repo)?) else { return Ok(()) };
        self.told.in_doubt(point);
        match undo(repo, point) {
            Err(error) if error.kind() == ErrorKind::Busy => self.told.dropped(point),
            done => {
                done?;
                self.told.returned(point);
            }
        }
        Ok(())
    }

    fn hold(&mut self, repo: &Repository) -> Result<()> {
        let Some(point) = self.pick(&repo.points()?) else { return Ok(()) };
        let _published = hold(repo, point, "")?;
        self.told.held(point);
        match forget(repo, point) {
            // With a hold that does nothing it would be lost, and nobody dropped it.
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::Refused => {}
            failed => return failed,
        }
        if self.dice.below(2) == 0 {
            self.told.released(point);
            release(repo, point)?;
        }
        Ok(())
    }

    fn repair(&mut self, repo: &Repository) -> Result<()> {
        self.told.weakened();
        self.store.delete(&ObjectName::config(1))?;
        if let Some(parity) = self.store.list(Area::Parity)?.first() {
            self.store.delete(parity)?;
        }
        repair(repo, &repair_options()).map(drop)
    }

    fn back_up(&mut self, repo: &Repository, count: usize) -> Result<()> {
        let first = self.dice.below(VMS.len());
        self.back_up_from(repo, first, count)
    }

    /// Backs up so many VMs at once. Fails if one of the backups does.
    fn back_up_from(&mut self, repo: &Repository, first: usize, count: usize) -> Result<()> {
        let vms = (0..count).map(|n| (first + n) % VMS.len());
        let work = vms.map(|vm| {
            self.change(vm);
            let bytes = self.disks[vm].clone();
            self.told.attempted(&bytes);
            (vm, bytes)
        });
        let work: Vec<_> = work.collect();
        // A pack of a single worker holds all chunks of a disk.
        let options = BackupOptions { threads: 1 + self.dice.below(2), ..options() };
        let back_up = |(vm, bytes): &(usize, Vec<u8>)| {
            back_up(repo, VMS[*vm], vec![disk_input("disk", bytes)], &options)
        };
        let points: Vec<_> = thread::scope(|scope| {
            let runs: Vec<_> = work.iter().map(|one| scope.spawn(move || back_up(one))).collect();
            runs.into_iter().map(|run| run.join().unwrap()).collect()
        });
        let mut done = Ok(());
        for ((_, bytes), point) in work.iter().zip(points) {
            match point {
                Ok(point) => self.told.committed(point.id, bytes),
                Err(error) => done = Err(error),
            }
        }
        done
    }

    fn change(&mut self, vm: usize) {
        let disk = &mut self.disks[vm];
        if self.dice.below(30) == 0 {
            let len = if disk.len() > MIB { 3000 } else { MIB + 3000 };
            disk.resize(len, 0);
        }
        // Of a disk of two chunks either changes, or both do.
        let is_wide = disk.len() > MIB;
        let first = (!is_wide || self.dice.below(3) != 0).then_some(0..disk.len().min(MIB));
        let is_second = is_wide && (first.is_none() || self.dice.below(2) == 0);
        let second = is_second.then_some(MIB..disk.len());
        for chunk in first.into_iter().chain(second) {
            let at = chunk.start + self.dice.below(chunk.len() - 500);
            disk[at..at + 500].copy_from_slice(&noise(500, self.dice.next()));
        }
    }
}

/// Plays histories, each from its seed, on all processors; returns what is broken.
pub(crate) fn play_all(
    count: usize,
    play: impl Fn(u64) -> result::Result<(), Broken> + Sync,
) -> Vec<Broken> {
    let next = AtomicU64::new(0);
    let play_some = || {
        let mut broken = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count as u64 {
                return broken;
            }
            let seed = seed() * 1_000_003 + number;
            if let Err(what) = play(seed) {
                broken.push(format!("history {seed}: {what}"));
            }
        }
    };
    thread::scope(|scope| {
        let players = thread::available_parallelism().map_or(1, usize::from);
        let players: Vec<_> = (0..players).map(|_| scope.spawn(play_some)).collect();
        players.into_iter().flat_map(|player| player.join().unwrap()).collect()
    })
}

/// Histories whose prunes find nothing to do would prove little.
#[test]
fn the_prunes_of_histories_delete_packs_and_write_some_anew() {
    let mut pruned = Pruned::default();
    for number in 0..40 {
        let mut history = History::new(seed() + number, Omit::Nothing);
        let repo = history.open().unwrap();
        (0..14).for_each(|_| history.run(&repo).unwrap());
        pruned.deleted_packs += history.pruned.deleted_packs;
        pruned.compacted_packs += history.pruned.compacted_packs;
    }
    assert!(pruned.deleted_packs > 50 && pruned.compacted_packs > 4, "{pruned:?}");
}
