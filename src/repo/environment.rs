//! What a repository needs from the world around it.

use std::sync::Arc;

use crate::base::chance::{Chance, SystemChance};
use crate::base::clock::{Clock, SystemClock};
use crate::base::limits::FEW_COMMITS;
use crate::monitor::{Monitor, VoidMonitor};
use crate::repo::TrustStore;

/// Time, chance, an observer, the name of this host, and when it pays to gather commits.
#[derive(Clone)]
pub struct Environment {
    /// Labels restore points. No safety decision reads it.
    pub clock: Arc<dyn Clock>,
    /// Names sessions and salts packs.
    pub chance: Arc<dyn Chance>,
    /// Told of problems and progress.
    pub monitor: Arc<dyn Monitor>,
    /// Remembers what this host has seen of encrypted repositories; nobody does without one.
    pub trust: Option<Arc<dyn TrustStore>>,
    /// This host, for people who wonder who holds a lock.
    pub host: String,
    /// Commits up to this number are read one by one; more are gathered in catalogues.
    pub few_commits: usize,
}

impl Default for Environment {
    /// The clock and the random numbers of this machine, and nobody who watches.
    fn default() -> Self {
        Self {
            clock: Arc::new(SystemClock),
            chance: Arc::new(SystemChance),
            monitor: Arc::new(VoidMonitor),
            trust: None,
            host: "localhost".to_owned(),
            few_commits: FEW_COMMITS,
        }
    }
}
