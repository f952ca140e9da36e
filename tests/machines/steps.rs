//! A step of the store fails, once or from then on: the disk is full, or errs. What was told of
//! stays, and once the disk is well again so is everything.

use backstop::error::ErrorKind;
use backstop::store::testing::Omit;

use crate::history::{History, STEPS_PER_COMMAND, play_all};
use crate::scale::runs;
use crate::told::{Broken, said};

/// From the system's headers, with the kind of error that each is.
const ERRORS: [(i32, ErrorKind); 2] = [(5, ErrorKind::Io), (28, ErrorKind::Full)];

impl History {
    /// Some commands, one that meets the fault, and a look at what is left.
    fn stumble(mut self) -> Result<(), Broken> {
        let repo = self.open()?;
        for _ in 0..self.dice.below(4) {
            self.run(&repo).map_err(said("a command failed"))?;
        }
        let (errno, kind) = ERRORS[self.dice.below(ERRORS.len())];
        let step = 1 + self.dice.below(STEPS_PER_COMMAND) as u64;
        let times = if self.dice.below(2) == 0 { 1 } else { u64::MAX };
        self.store.fail_steps(step, times, errno);
        let done = self.run(&repo);
        self.store.fail_steps(0, 0, 0);
        if let Err(error) = done
            && error.kind() != kind
        {
            return Err(format!("{errno} became {:?}: {}", error.kind(), error.chain()));
        }
        let repo = self.open()?;
        self.told.hold_in(&repo)?;
        self.told.go_on(&repo)
    }
}

#[test]
fn a_step_of_the_store_that_fails_harms_nothing_that_was_there() {
    let count = runs(1000, 20_000);
    let broken = play_all(count, |seed| History::new(seed, Omit::Nothing).stumble());
    println!("steps: {count} histories, {} broken", broken.len());
    assert!(broken.is_empty(), "{}\n{}\n", broken.len(), broken[..broken.len().min(5)].join("\n"));
}
