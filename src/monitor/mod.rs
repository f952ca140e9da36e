//! What an observer sees of a run: phases, progress, problems. The library itself never prints.

use std::sync::{Arc, Mutex};

use crate::base::sync::lock;
use crate::error::Error;

/// Told by the library what happens; the terminal, a log and a test each implement it.
pub trait Monitor: Send + Sync {
    /// A new part of the run begins. `total_bytes` is what [`Monitor::advance`] will add up to,
    /// where that is known.
    fn phase(&self, name: &str, total_bytes: Option<u64>);
    /// That many more bytes of the current phase are done.
    fn advance(&self, bytes: u64);
    /// A part failed, and the run goes on or will report its end by itself.
    fn problem(&self, problem: &Error);
    /// An observer for one of several parts of a run that go on at once; none if this one does not
    /// tell them apart.
    fn part(&self, _name: &str) -> Option<Arc<dyn Monitor>> {
        None
    }
}

/// Looks away.
#[derive(Debug, Clone, Copy, Default)]
pub struct VoidMonitor;

impl Monitor for VoidMonitor {
    fn phase(&self, _name: &str, _total_bytes: Option<u64>) {}
    fn advance(&self, _bytes: u64) {}
    fn problem(&self, _problem: &Error) {}
}

/// Remembers everything, for tests.
#[derive(Debug, Default)]
pub struct RecordingMonitor {
    state: Mutex<Recorded>,
}

/// What a [`RecordingMonitor`] has seen.
#[derive(Debug, Clone, Default)]
pub struct Recorded {
    /// Names of the phases, in order.
    pub phases: Vec<String>,
    /// Sum of all progress, in bytes.
    pub advanced_bytes: u64,
    /// The problems, each with its chain of causes.
    pub problems: Vec<String>,
}

impl RecordingMonitor {
    /// What was seen so far.
    #[must_use]
    pub fn recorded(&self) -> Recorded {
        self.with(|state| state.clone())
    }

    fn with<T>(&self, f: impl FnOnce(&mut Recorded) -> T) -> T {
        f(&mut lock(&self.state))
    }
}

impl Monitor for RecordingMonitor {
    fn phase(&self, name: &str, _total_bytes: Option<u64>) {
        self.with(|state| state.phases.push(name.to_owned()));
    }

    fn advance(&self, bytes: u64) {
        self.with(|state| state.advanced_bytes += bytes);
    }

    fn problem(&self, problem: &Error) {
        self.with(|state| state.problems.push(problem.chain()));
    }
}
