//! Power that fails in simulation: histories of commands over a store that loses, tears and
//! reorders what was not synced, a crash at any step, often a second one while work goes on, and
//! then everything that was told must be there.

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
use crate::scale::{runs, seed};
use crate::told::{Broken, Told, said};

const VMS: [&str; 3] = ["web", "db", "mail"];
/// About as many steps as one command has.
const STEPS_PER_COMMAND: usize = 36;

/// What can be done to a repository, as often as it stands here.
const COMMANDS: &[Command] = &[
    Command::BackUp,
    Command::BackUp,
    Command::BackUp,
    Command::BackUp,
    Command::BackUp,
    Command::Rebuild,
    Command::Scrub,
];

#[derive(Debug, Clone, Copy)]
enum Command {
    BackUp,
    Rebuild,
    Scrub,
}

/// A world with its disks, and what was told of them.
struct History {
    dice: SeededChance,
    store: MemoryStore,
    disks: [Vec<u8>; VMS.len()],
    told: Told,
}

impl History {
    fn new(seed: u64, omit: Omit) -> Self {
        let dice = SeededChance::new(seed);
        let store = MemoryStore::new();
        Repository::create(Arc::new(store.clone()), environment(dice.next())).unwrap();
        store.omit(omit);
        let disks = [1, 2, 3].map(|number| noise(2000 + dice.below(6000), number));
        Self { dice, store, disks, told: Told::default() }
    }

    /// Commands until the power fails, which may be in any of them, or after the last.
    fn run_until_crash(&mut self, commands: usize) -> result::Result<(), Broken> {
        self.store.crash_after(1 + self.dice.below(commands * STEPS_PER_COMMAND) as u64);
        let mut done = Ok(());
        let repo = self.open();
        for _ in 0..commands {
            let command = COMMANDS[self.dice.below(COMMANDS.len())];
            done = match &repo {
                Ok(repo) => self.run(repo, command),
                Err(broken) => Err(broken.clone()),
            };
            if done.is_err() {
                break;
            }
        }
        let is_crashed = self.store.is_crashed();
        self.store = self.store.reboot(self.dice.next());
        if is_crashed { Ok(()) } else { done }
    }

    fn open(&self) -> result::Result<Repository, Broken> {
        let store: Arc<dyn Store> = Arc::new(self.store.clone());
        let opened = Repository::open(store, environment(self.dice.next()));
        opened.map_err(said("the repository does not open"))
    }

    fn run(&mut self, repo: &Repository, command: Command) -> result::Result<(), Broken> {
        let done = match command {
            Command::BackUp => self.back_up(repo),
            Command::Rebuild => rebuild_index(repo, &Cancel::default()).map(drop),
            Command::Scrub => {
                let level = ScrubLevel::ALL[self.dice.below(ScrubLevel::ALL.len())];
                let options = ScrubOptions { level, threads: 1, cancel: Cancel::default() };
                scrub(repo, &options).map(drop)
            }
        };
        done.map_err(said(&format!("{command:?} failed")))
    }

    fn back_up(&mut self, repo: &Repository) -> Result<()> {
        let vm = self.dice.below(VMS.len());
        self.change(vm);
        let bytes = Arc::new(self.disks[vm].clone());
        self.told.attempted(&bytes);
        let point = back_up_bytes(repo, VMS[vm], &bytes)?;
        self.told.committed(point.id, &bytes);
        Ok(())
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

    /// Crashes once or twice, and looks at what is found then.
    fn play(mut self) -> result::Result<(), Broken> {
        let commands = if self.dice.below(8) == 0 { 14 } else { 1 + self.dice.below(5) };
        self.run_until_crash(commands)?;
        if self.dice.below(2) == 0 {
            self.run_until_crash(2)?;
        }
        let repo = self.open()?;
        self.told.hold_in(&repo)?;
        self.told.go_on(&repo)
    }
}

/// Plays many histories on all processors; returns what is broken, with the seeds.
fn play(count: usize, omit: Omit) -> Vec<Broken> {
    let next = AtomicU64::new(0);
    let play_some = || {
        let mut broken = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count as u64 {
                return broken;
            }
            let seed = seed() * 1_000_003 + number;
            if let Err(what) = History::new(seed, omit).play() {
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

#[test]
fn histories_lose_nothing_that_was_told_and_show_nothing_that_never_was() {
    let count = runs(5000, 100_000);
    let broken = play(count, Omit::Nothing);
    println!("power: {count} histories, {} broken", broken.len());
    assert!(broken.is_empty(), "{}\n{}\n", broken.len(), broken[..broken.len().min(5)].join("\n"));
}

/// The machine itself is tested: without a sync it must find losses.
#[test]
fn a_store_that_leaves_out_a_sync_is_caught() {
    let count = runs(60, 1000);
    for omit in [Omit::FileSync, Omit::DirectorySync] {
        let broken = play(count, omit);
        println!("power: {omit:?} left out: {count} histories, {} broken", broken.len());
        assert!(broken.len() > count / 4, "{omit:?} went unnoticed: {broken:?}");
    }
}
