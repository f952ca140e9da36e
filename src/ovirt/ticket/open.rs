//! The beginning of a transfer, and keeping it open.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::base::cancel::Cancel;
use crate::base::sync::lock;
use crate::error::{Error, ErrorKind, Result};
use crate::ovirt::client::{ApiPath, Engine, Unmade};
use crate::ovirt::poll::until;
use crate::ovirt::ticket::end::{self, Ended, act, look};
use crate::ovirt::transfer::{TicketKeeper, TicketUrls};
use crate::ovirt::wire::{Direction, IdRef, NewTransfer, Transfer, TransferList, TransferPhase};

/// A host that has to prepare an image and an export needs some time.
const OPEN: Duration = Duration::from_secs(10 * 60);
/// How often a download is begun anew that the engine has ended in the middle.
const REOPENED_MAX: u32 = 5;

/// Writes down which transfers there are, so that whoever comes after a crash can end them.
pub trait TicketLog: Send + Sync {
    /// The engine has begun this transfer of that disk.
    fn opened(&self, transfer: &str, disk: &str) -> Result<()>;
    /// The transfer is over.
    fn closed(&self, transfer: &str) -> Result<()>;
}

/// What is wanted of the engine.
#[derive(Clone)]
pub struct TicketRequest {
    /// Id of the disk.
    pub disk: String,
    /// Which way the bytes go.
    pub direction: Direction,
    /// The backup that holds the disk, if one does.
    pub backup: Option<String>,
    /// How long nobody may use it before the engine ends it; whole seconds.
    pub idle: Duration,
    /// Whether the engine knows policies for that (4.4.5).
    pub has_policy: bool,
    /// Whether nobody else can begin a transfer of the disk: it is new, or the engine has locked it
    /// for the backup (4.5).
    pub is_alone: bool,
}

/// A transfer that is under way. Ends with [`Ticket::finish`] or [`Ticket::cancel`]; one that is
/// dropped is ended by the engine once nobody uses it.
pub struct Ticket {
    engine: Engine,
    request: TicketRequest,
    log: Arc<dyn TicketLog>,
    state: Mutex<State>,
}

struct State {
    transfer: String,
    reopened: u32,
}

impl Ticket {
    /// Asks for a transfer, writes it down, and waits until the bytes can be had.
    pub fn open(
        engine: &Engine,
        request: TicketRequest,
        log: Arc<dyn TicketLog>,
    ) -> Result<(Self, TicketUrls)> {
        let transfer = begin(engine, &request, &*log)?;
        let state = Mutex::new(State { transfer, reopened: 0 });
        let engine = engine.with_cancel(engine.cancel().clone());
        let ticket = Self { engine, request, log, state };
        let opened = ticket.wait(&lock(&ticket.state).transfer).and_then(|found| match found {
            Found::Open(urls) => Ok(urls),
            Found::Over(phase) => Err(over(&phase)),
        });
        match opened {
            Ok(urls) => Ok((ticket, urls)),
            Err(error) => {
                // The error that counts is the first.
                let _ = ticket.cancel();
                Err(error)
            }
        }
    }

    /// Where the bytes are now. A transfer that the engine has paused goes on; a download of a
    /// backup that the engine has ended is begun anew, a few times: it shows the same bytes.
    pub fn renew(&self) -> Result<TicketUrls> {
        self.renewed(&mut lock(&self.state))
    }

    /// The same by a new transfer, though the engine thinks well of the old one: the export behind
    /// it may be broken. One that cannot be begun anew stays.
    pub fn replace(&self) -> Result<TicketUrls> {
        let mut state = lock(&self.state);
        if self.may_reopen(&state) {
            self.reopen(&mut state, "it cannot be read")?;
        }
        self.renewed(&mut state)
    }

    fn renewed(&self, state: &mut State) -> Result<TicketUrls> {
        loop {
            match self.wait(&state.transfer)? {
                Found::Open(urls) => return Ok(urls),
                Found::Over(phase) if !self.may_reopen(state) => return Err(over(&phase)),
                Found::Over(phase) => self.reopen(state, &phase)?,
            }
        }
    }

    fn reopen(&self, state: &mut State, why: &str) -> Result<()> {
        log::debug!("transfer {}: {why}; begun anew", state.transfer);
        self.close(&self.engine, &state.transfer)?;
        state.transfer = begin(&self.engine, &self.request, &*self.log)?;
        state.reopened += 1;
        Ok(())
    }

    /// All bytes went over.
    pub fn finish(&self) -> Result<Ended> {
        let transfer = lock(&self.state).transfer.clone();
        let ended = end::finish(&self.engine, &transfer)?;
        self.log.closed(&transfer)?;
        Ok(ended)
    }

    /// Ends the transfer and waits until it is over, also after the end of the run was asked for.
    pub fn cancel(&self) -> Result<()> {
        let transfer = lock(&self.state).transfer.clone();
        self.close(&self.engine.with_cancel(Cancel::default()), &transfer)
    }

    fn close(&self, engine: &Engine, transfer: &str) -> Result<()> {
        end::cancel(engine, transfer)?;
        self.log.closed(transfer)
    }

    /// Uploads that were ended lose their disk, and transfers without a backup their instant.
    fn may_reopen(&self, state: &State) -> bool {
        self.request.direction == Direction::Download
            && self.request.backup.is_some()
            && state.reopened < REOPENED_MAX
    }

    fn wait(&self, transfer: &str) -> Result<Found> {
        let what = "the engine has not opened the transfer";
        until(&self.engine, OPEN, what, || self.step(transfer))
    }

    /// One look; nothing if there is still something to wait for.
    fn step(&self, transfer: &str) -> Result<Option<Found>> {
        let Some(found) = look(&self.engine, transfer)? else {
            return Ok(Some(Found::Over("gone".to_owned())));
        };
        let Transfer { phase, transfer_url, proxy_url, .. } = found;
        match phase {
            None | Some(TransferPhase::Initializing | TransferPhase::Resuming) => Ok(None),
            Some(TransferPhase::Transferring) if transfer_url.is_none() && proxy_url.is_none() => {
                Ok(None)
            }
            Some(TransferPhase::Transferring) => {
                Ok(Some(Found::Open(TicketUrls { direct: transfer_url, proxy: proxy_url })))
            }
            Some(TransferPhase::PausedSystem) => {
                act(&self.engine, transfer, "resume")?;
                Ok(None)
            }
            Some(TransferPhase::PausedUser) => {
                let what = "somebody has paused the transfer in the engine";
                Err(Error::new(ErrorKind::Remote, what))
            }
            Some(phase) => Ok(Some(Found::Over(phase.to_string()))),
        }
    }
}

impl TicketKeeper for Ticket {
    fn renew(&self) -> Result<TicketUrls> {
        self.renew()
    }

    fn replace(&self) -> Result<TicketUrls> {
        self.replace()
    }
}

enum Found {
    Open(TicketUrls),
    Over(String),
}

fn over(phase: &str) -> Error {
    let what = format!("the engine has ended the transfer (phase {phase})");
    Error::new(ErrorKind::Remote, what)
}

/// Begins a transfer and writes it down. One that cannot be written down is ended.
fn begin(engine: &Engine, request: &TicketRequest, log: &dyn TicketLog) -> Result<String> {
    let document = NewTransfer {
        backup: request.backup.as_deref().map(IdRef::from),
        disk: IdRef::from(request.disk.as_str()),
        direction: request.direction.to_string(),
        format: "raw",
        inactivity_timeout: request.idle.as_secs(),
        timeout_policy: request.has_policy.then_some("cancel"),
    };
    let path = ApiPath::new(&["imagetransfers"]);
    let transfer = match engine.create::<Transfer>(&path, &document) {
        Ok(transfer) => transfer.id,
        Err(unmade) => {
            if let Unmade::Unknown(_) = unmade {
                end_unknown(engine, request)?;
            }
            return Err(Error::from(unmade));
        }
    };
    if let Err(error) = log.opened(&transfer, &request.disk) {
        end::cancel(&engine.with_cancel(Cancel::default()), &transfer)?;
        return Err(error);
    }
    Ok(transfer)
}

/// Ends the transfer that may or may not have begun. Where it could be somebody else's, that is
/// left to the engine, which ends what nobody uses.
fn end_unknown(engine: &Engine, request: &TicketRequest) -> Result<()> {
    if !request.is_alone {
        return Ok(());
    }
    let engine = engine.with_cancel(Cancel::default());
    let list: TransferList = engine.get(&ApiPath::new(&["imagetransfers"]))?;
    let is_it = |transfer: &&Transfer| {
        transfer.image.as_ref().is_some_and(|image| image.id == request.disk)
            && transfer.direction.as_ref() == Some(&request.direction)
            && !transfer.phase.as_ref().is_some_and(TransferPhase::is_over)
    };
    list.image_transfer.iter().filter(is_it).try_for_each(|one| end::cancel(&engine, &one.id))
}
