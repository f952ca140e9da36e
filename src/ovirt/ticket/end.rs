//! The end of a transfer.

use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::ovirt::client::{ApiPath, Engine};
use crate::ovirt::poll::until;
use crate::ovirt::wire::{Transfer, TransferPhase};

/// An engine verifies what was uploaded before it is done.
const FINISH: Duration = Duration::from_secs(15 * 60);
/// Running requests of the daemon are given a minute to end, more than once.
const CANCEL: Duration = Duration::from_secs(5 * 60);

/// How a transfer ended that was to end well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The engine says that it succeeded.
    Succeeded,
    /// It is gone. Engines before 4.4.7 forget transfers at once: the disk tells how it went.
    Forgotten,
}

/// The transfer of that id, unless the engine has forgotten it.
pub(super) fn look(engine: &Engine, id: &str) -> Result<Option<Transfer>> {
    engine.find(&ApiPath::new(&["imagetransfers", id]))
}

pub(super) fn act(engine: &Engine, id: &str, action: &str) -> Result<()> {
    Ok(engine.act(&ApiPath::new(&["imagetransfers", id, action]))?)
}

/// Ends a transfer well: all bytes went over. Waits until the engine is through with it.
pub fn finish(engine: &Engine, id: &str) -> Result<Ended> {
    act(engine, id, "finalize")?;
    until(engine, FINISH, "the engine is not through with the transfer", || {
        let Some(transfer) = look(engine, id)? else { return Ok(Some(Ended::Forgotten)) };
        match &transfer.phase {
            Some(TransferPhase::FinishedSuccess) => Ok(Some(Ended::Succeeded)),
            Some(phase) if phase.is_over() => {
                let what = "the engine could not bring the transfer to its end";
                Err(Error::new(ErrorKind::Remote, what))
            }
            _ => Ok(None),
        }
    })
}

/// Ends a transfer whatever it is doing, and waits until it is over. That it is over or gone
/// already is no error.
pub fn cancel(engine: &Engine, id: &str) -> Result<()> {
    until(engine, CANCEL, "the engine has not ended the transfer", || {
        let Some(transfer) = look(engine, id)? else { return Ok(Some(())) };
        let phase = transfer.phase.unwrap_or(TransferPhase::Unknown);
        if phase.is_over() {
            return Ok(Some(()));
        }
        if !is_ending(&phase) {
            act(engine, id, "cancel")?;
        }
        Ok(None)
    })
}

/// Whether the engine is at work on the end already, and asking again would not help.
fn is_ending(phase: &TransferPhase) -> bool {
    matches!(
        phase,
        TransferPhase::Cancelled
            | TransferPhase::CancelledSystem
            | TransferPhase::CancelledUser
            | TransferPhase::FinalizingCleanup
            | TransferPhase::FinalizingFailure
            | TransferPhase::FinalizingSuccess
            | TransferPhase::FinishedCleanup
    )
}
