//! Signals ask a run to end by itself.

use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::base::cancel::Cancel;
use crate::cli::exit::Exit;
use crate::cli::failure::Result;
use crate::cli::terminal::say;
use crate::error::{Error, ErrorKind};

/// From now on SIGINT and SIGTERM request `cancel`; the second one ends the process.
///
/// A process that ends at the second signal loses no restore point: what it has not committed is
/// fenced by the next session.
pub(super) fn cancel_on_signal(cancel: &Cancel) -> Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(failed)?;
    let cancel = cancel.clone();
    let wait = move || {
        for _ in signals.forever() {
            if cancel.is_requested() {
                signal_hook::low_level::exit(Exit::Failed.number().into());
            }
            cancel.request();
            say("interrupted: ending the run; interrupt again to end at once");
        }
    };
    thread::Builder::new().name("signals".to_owned()).spawn(wait).map_err(failed)?;
    Ok(())
}

/// SIGINT, SIGTERM and SIGHUP, which end a server that would go on for ever.
pub(super) struct EndSignals(Signals);

impl EndSignals {
    /// From now on they no longer end the process.
    pub(super) fn catch() -> Result<Self> {
        Ok(Self(Signals::new([SIGINT, SIGTERM, SIGHUP]).map_err(failed)?))
    }

    /// Waits for the first of them.
    pub(super) fn wait(mut self) {
        self.0.forever().next();
    }
}

fn failed(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Io, "cannot handle signals").because(error)
}
