//! How long the client waits, and how often it tries again.

use std::thread;
use std::time::{Duration, Instant};

use crate::base::cancel::Cancel;
use crate::base::chance::Chance;
use crate::error::{Error, ErrorKind, Result};

/// Sleeping is cut into pieces, so that a request to end is seen soon.
const NAP: Duration = Duration::from_millis(100);

/// Deadlines, and the number and distance of tries.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// For a connection to be there.
    pub connect: Duration,
    /// For one request, from its beginning to the end of its answer.
    pub request: Duration,
    /// Most tries of a request that only looks.
    pub tries: u32,
    /// Pause after the first failure; every further one is twice as long.
    pub first_pause: Duration,
    /// Longest pause.
    pub longest_pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(15),
            request: Duration::from_secs(120),
            tries: 5,
            first_pause: Duration::from_millis(500),
            longest_pause: Duration::from_secs(10),
        }
    }
}

impl Patience {
    /// The pause after that many failures, between one and two halves of its full length: clients
    /// that failed together do not come back together.
    pub(in crate::ovirt) fn pause(&self, failures: u32, chance: &dyn Chance) -> Duration {
        let doubled = 1u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
        let full = self.first_pause.saturating_mul(doubled).min(self.longest_pause);
        let [byte] = chance.bytes::<1>();
        full / 2 + full.mul_f64(f64::from(byte) / 512.0)
    }
}

/// Waits that long, or until the end of the run is asked for.
pub(in crate::ovirt) fn sleep(pause: Duration, cancel: &Cancel) -> Result<()> {
    let until = Instant::now() + pause;
    loop {
        if cancel.is_requested() {
            return Err(Error::new(
                ErrorKind::Cancelled,
                "interrupted while waiting for the engine",
            ));
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        thread::sleep(left.min(NAP));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Always(u8);

    impl Chance for Always {
        fn fill(&self, out: &mut [u8]) {
            out.fill(self.0);
        }
    }

    #[test]
    fn pauses_double_up_to_a_limit_and_differ_between_clients() {
        let patience = Patience::default();
        let millis = |failures, byte| patience.pause(failures, &Always(byte)).as_millis();
        assert_eq!([1, 2, 3, 4].map(|failures| millis(failures, 0)), [250, 500, 1000, 2000]);
        assert_eq!(millis(1, 128), 375);
        assert_eq!([6, 40, u32::MAX].map(|failures| millis(failures, 0)), [5000; 3]);
    }

    #[test]
    fn a_pause_ends_when_the_end_of_the_run_is_asked_for() {
        let cancel = Cancel::default();
        assert!(sleep(Duration::from_millis(1), &cancel).is_ok());
        cancel.request();
        let ended = sleep(Duration::from_secs(3600), &cancel);
        assert_eq!(ended.unwrap_err().kind(), ErrorKind::Cancelled);
    }
}
