//! Waiting for the engine to finish something.

use std::time::{Duration, Instant};

use crate::error::{Error, ErrorKind, Result};
use crate::ovirt::client::Engine;

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Looks again and again until `look` finds what it waits for, at most for `limit`. `what` is a
/// clause that names what is being waited for, as in "the backup is not ready".
pub fn until<T>(
    engine: &Engine,
    limit: Duration,
    what: &str,
    mut look: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let began = Instant::now();
    let mut pause = FIRST_PAUSE;
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if began.elapsed() >= limit {
            let what = format!("{what} after {} minutes", limit.as_secs().div_ceil(60));
            return Err(Error::new(ErrorKind::Remote, what));
        }
        engine.wait(pause)?;
        pause = (pause * 3 / 2).min(LONGEST_PAUSE);
    }
}
