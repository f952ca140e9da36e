//! Power that fails in simulation: histories of commands over a store that loses, tears and
//! reorders what was not synced, a crash at any step, often a second one while work goes on, and
//! then everything that was told must be there.

use std::result;

use backstop::store::testing::Omit;

use crate::history::{History, STEPS_PER_COMMAND, play_all};
use crate::scale::runs;
use crate::told::{Broken, said};

impl History {
    /// Commands until the power fails, which may be in any of them, or after the last.
    fn run_until_crash(&mut self, commands: usize) -> result::Result<(), Broken> {
        self.store.crash_after(1 + self.dice.below(commands * STEPS_PER_COMMAND) as u64);
        let mut done = Ok(());
        let repo = self.open();
        for _ in 0..commands {
            done = match &repo {
                Ok(repo) => self.run(repo).map_err(said("a command failed")),
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

#[test]
fn histories_lose_nothing_that_was_told_and_show_nothing_that_never_was() {
    let count = runs(5000, 100_000);
    let broken = play_all(count, |seed| History::new(seed, Omit::Nothing).play());
    println!("power: {count} histories, {} broken", broken.len());
    assert!(broken.is_empty(), "{}\n{}\n", broken.len(), broken[..broken.len().min(5)].join("\n"));
}

/// The machine itself is tested: without a sync it must find losses.
#[test]
fn a_store_that_leaves_out_a_sync_is_caught() {
    let count = runs(60, 1000);
    for omit in [Omit::FileSync, Omit::DirectorySync] {
        let broken = play_all(count, |seed| History::new(seed, omit).play());
        println!("power: {omit:?} left out: {count} histories, {} broken", broken.len());
        assert!(broken.len() > count / 4, "{omit:?} went unnoticed: {broken:?}");
    }
}
