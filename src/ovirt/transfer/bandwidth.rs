//! A limit to bytes per second, shared by everything that is given it.

use std::fmt;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::base::cancel::Cancel;
use crate::base::sync::lock;
use crate::error::{Error, ErrorKind, Result};
use crate::ovirt::client::sleep;

/// Bytes of one portion. Every connection waits for a whole one, and one that waits longer than the
/// daemon has patience is closed by it.
pub(super) const PORTION_BYTES: usize = 64 << 10;
/// Lowest limit: eight connections that take turns wait eight seconds then.
const RATE_MIN: u64 = PORTION_BYTES as u64;
/// What nobody used is saved up for at most so long.
const SAVED_MAX: Duration = Duration::from_millis(250);

/// The present and waiting, as arguments.
pub trait Pace: Send + Sync {
    /// Time since some fixed moment.
    fn now(&self) -> Duration;
    /// Waits that long, or until the end of the run is asked for.
    fn wait(&self, pause: Duration, cancel: &Cancel) -> Result<()>;
}

/// The clock of this machine.
struct RealPace(Instant);

impl Pace for RealPace {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }

    fn wait(&self, pause: Duration, cancel: &Cancel) -> Result<()> {
        sleep(pause, cancel)
    }
}

/// A bucket of tokens, one for each byte, that may be in debt: whoever takes from it waits until
/// the debt of those before is paid, so portions go out in the order in which they were asked for.
pub struct Bandwidth {
    bytes_per_second: u64,
    pace: Box<dyn Pace>,
    /// When everything that was taken so far will be paid.
    paid_at: Mutex<Duration>,
}

impl Bandwidth {
    /// A limit of so many bytes per second, 64 KiB at least.
    pub fn new(bytes_per_second: u64) -> Result<Self> {
        Self::with_pace(bytes_per_second, Box::new(RealPace(Instant::now())))
    }

    /// The same by another clock.
    pub fn with_pace(bytes_per_second: u64, pace: Box<dyn Pace>) -> Result<Self> {
        if bytes_per_second < RATE_MIN {
            let what = "a limit below 64 KiB per second would let connections run out of time";
            return Err(Error::new(ErrorKind::Invalid, what));
        }
        Ok(Self { bytes_per_second, pace, paid_at: Mutex::default() })
    }

    /// Takes `bytes`, and waits until they are within the limit.
    pub fn take(&self, bytes: usize, cancel: &Cancel) -> Result<()> {
        let now = self.pace.now();
        let wait = {
            let mut paid_at = lock(&self.paid_at);
            let from = (*paid_at).max(now.saturating_sub(SAVED_MAX));
            *paid_at = from + self.duration_of(bytes);
            paid_at.saturating_sub(now)
        };
        if wait.is_zero() { Ok(()) } else { self.pace.wait(wait, cancel) }
    }

    fn duration_of(&self, bytes: usize) -> Duration {
        let nanos = bytes as u128 * 1_000_000_000 / u128::from(self.bytes_per_second);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

impl fmt::Debug for Bandwidth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bandwidth({} bytes per second)", self.bytes_per_second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    /// A clock that goes on only where somebody waits.
    #[derive(Clone, Default)]
    struct Stepped(Arc<Mutex<Duration>>);

    impl Pace for Stepped {
        fn now(&self) -> Duration {
            *lock(&self.0)
        }

        fn wait(&self, pause: Duration, _cancel: &Cancel) -> Result<()> {
            *lock(&self.0) += pause;
            Ok(())
        }
    }

    #[test]
    fn what_is_taken_never_exceeds_the_limit_and_comes_up_to_it() {
        let pace = Stepped::default();
        let bandwidth = Bandwidth::with_pace(1 << 20, Box::new(pace.clone())).unwrap();
        for portion in 1..=160u64 {
            bandwidth.take(PORTION_BYTES, &Cancel::default()).unwrap();
            let due = Duration::from_secs_f64(portion as f64 / 16.0);
            assert!(pace.now() + Duration::from_micros(1) >= due, "{portion}");
            assert!(pace.now() <= due + Duration::from_millis(1), "{portion}");
        }
    }

    #[test]
    fn a_long_rest_saves_up_a_quarter_of_a_second_and_no_more() {
        let pace = Stepped::default();
        let bandwidth = Bandwidth::with_pace(1 << 20, Box::new(pace.clone())).unwrap();
        *lock(&pace.0) = Duration::from_secs(3600);
        for _ in 0..4 {
            bandwidth.take(PORTION_BYTES, &Cancel::default()).unwrap();
        }
        assert_eq!(pace.now(), Duration::from_secs(3600));
        bandwidth.take(PORTION_BYTES, &Cancel::default()).unwrap();
        assert!(pace.now() > Duration::from_secs(3600));
    }

    #[test]
    fn those_who_share_a_limit_get_it_together() {
        let pace = Stepped::default();
        let shared = Bandwidth::with_pace(1 << 20, Box::new(pace.clone())).unwrap();
        let cancel = Cancel::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..32).for_each(|_| shared.take(PORTION_BYTES, &cancel).unwrap()));
            }
        });
        // Whoever waits moves the one clock on, so it may run ahead, never behind.
        assert!(pace.now() >= Duration::from_millis(7990), "{:?}", pace.now());
    }

    #[test]
    fn a_limit_that_breaks_connections_is_refused() {
        assert!(Bandwidth::new(RATE_MIN - 1).is_err());
        assert!(Bandwidth::new(RATE_MIN).is_ok());
    }
}
