//! Random commands on a simulated disk, and what was told of them.

use std::result;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use backstop::base::cancel::Cancel;
use backstop::error::Result;
use backstop::repo::{Repository, rebuild_index};
use backstop::scrub::{ScrubLevel, ScrubOptions, scrub};
use backstop::store::Store;
use backstop::store::testing::{MemoryStore, Omit, SeededChance};

use crate::repo::{MIB, back_up_bytes, environment, noise};
use crate::scale::seed;
use crate::told::{Broken, Told, said};

const VMS: [&str; 3] = ["web", "db", "mail"];
/// About as many steps of the store as one command has.
pub(crate) const STEPS_PER_COMMAND: usize = 36;

/// What can be done to a repository, as often as it stands here.
const COMMANDS: &[Command] = &[
    Command::BackUp,
    Command::BackUp,
    Command::BackUp,
    Command::BackUp,
    Command::BackUpTwo,
    Command::Rebuild,
    Command::Scrub,
];

#[derive(Clone, Copy)]
enum Command {
    BackUp,
    /// Two VMs at once.
    BackUpTwo,
    Rebuild,
    Scrub,
}

/// A world with its disks, and what was told of them.
pub(crate) struct History {
    pub(crate) dice: SeededChance,
    pub(crate) store: MemoryStore,
    disks: [Vec<u8>; VMS.len()],
    pub(crate) told: Told,
}

impl History {
    pub(crate) fn new(seed: u64, omit: Omit) -> Self {
        let dice = SeededChance::new(seed);
        let store = MemoryStore::new();
        Repository::create(Arc::new(store.clone()), environment(dice.next())).unwrap();
        store.omit(omit);
        let disks = [1, 2, 3].map(|number| noise(2000 + dice.below(6000), number));
        Self { dice, store, disks, told: Told::default() }
    }

    pub(crate) fn open(&self) -> result::Result<Repository, Broken> {
        let store: Arc<dyn Store> = Arc::new(self.store.clone());
        let opened = Repository::open(store, environment(self.dice.next()));
        opened.map_err(said("the repository does not open"))
    }

    /// One of the commands, by the dice.
    pub(crate) fn run(&mut self, repo: &Repository) -> Result<()> {
        match COMMANDS[self.dice.below(COMMANDS.len())] {
            Command::BackUp => self.back_up(repo, 1),
            Command::BackUpTwo => self.back_up(repo, 2),
            Command::Rebuild => rebuild_index(repo, &Cancel::default()).map(drop),
            Command::Scrub => {
                let level = ScrubLevel::ALL[self.dice.below(ScrubLevel::ALL.len())];
                let options = ScrubOptions { level, threads: 1, cancel: Cancel::default() };
                scrub(repo, &options).map(drop)
            }
        }
    }

    /// Backs up so many VMs at once. Fails if one of the backups does.
    fn back_up(&mut self, repo: &Repository, count: usize) -> Result<()> {
        let first = self.dice.below(VMS.len());
        let vms = (0..count).map(|n| (first + n) % VMS.len());
        let work = vms.map(|vm| {
            self.change(vm);
            let bytes = Arc::new(self.disks[vm].clone());
            self.told.attempted(&bytes);
            (vm, bytes)
        });
        let work: Vec<_> = work.collect();
        let back_up = |(vm, bytes): &(usize, Arc<Vec<u8>>)| back_up_bytes(repo, VMS[*vm], bytes);
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
        if self.dice.below(12) == 0 {
            let len = if disk.len() > MIB { 3000 } else { MIB + 3000 };
            disk.resize(len, 0);
        }
        let at = self.dice.below(disk.len() - 500);
        disk[at..at + 500].copy_from_slice(&noise(500, self.dice.next()));
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
