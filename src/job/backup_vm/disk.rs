//! One disk: a transfer opens, the disk is stored, the transfer is finished.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::format::commit::DiskSource;
use crate::format::engine::EngineDisk;
use crate::ingest::{BackupRun, DiskInput, Image};
use crate::job::backup_vm::attempt::{Attempted, Broken, Work};
use crate::job::backup_vm::plan::Read;
use crate::job::backup_vm::start::Started;
use crate::job::journal::Journal;
use crate::job::leftovers::IDLE;
use crate::ovirt::ticket::{Ticket, TicketLog, TicketRequest};
use crate::ovirt::transfer::{ImageClient, TicketKeeper, TicketUrls, TransferSource, WireCounters};
use crate::ovirt::wire::Direction;

/// What went over the wire for all disks of a restore point, and how.
#[derive(Default)]
pub(super) struct Wire {
    pub(super) counters: Arc<WireCounters>,
    /// By which ways.
    pub(super) transports: BTreeSet<String>,
    /// Why it was another way.
    pub(super) fallbacks: Vec<String>,
}

impl Wire {
    fn saw(&mut self, disk: &str, client: &ImageClient) {
        self.transports.insert(client.transport().to_string());
        let told = client.fallbacks().into_iter().map(|why| format!("disk {disk}: {why}"));
        self.fallbacks.extend(told);
    }
}

/// A disk that is to be stored.
pub(super) struct DiskWork<'a> {
    pub(super) work: &'a Work<'a>,
    pub(super) started: &'a Started,
    /// Its name in the restore point.
    pub(super) name: String,
    /// The disk as the engine has it.
    pub(super) shape: EngineDisk,
    pub(super) read: Read<'a>,
}

impl DiskWork<'_> {
    /// Stores the disk. No transfer of it is open afterwards, however that ends.
    pub(super) fn store(self, run: &mut BackupRun, wire: &mut Wire) -> Attempted<()> {
        let engine = self.work.subject.site.engine;
        let log: Arc<dyn TicketLog> = Arc::<Journal>::clone(&self.work.journal);
        let opened = Ticket::open(engine, self.request(), log);
        let (ticket, urls) = opened.map_err(|error| self.is_base_lost(error))?;
        let ticket = Arc::new(ticket);
        let keeper = Arc::<Ticket>::clone(&ticket);
        let work = self.work;
        let stored = match self.open(keeper, &urls, wire) {
            Ok(source) => self.read(run, source, wire).map_err(Broken::Failed),
            Err(error) => Err(self.is_base_lost(error)),
        };
        if stored.is_err() {
            work.tell(ticket.cancel());
            return stored;
        }
        match ticket.finish() {
            Ok(_) => Ok(()),
            Err(error) => {
                work.tell(ticket.cancel());
                Err(error.into())
            }
        }
    }

    fn request(&self) -> TicketRequest {
        let abilities = &self.work.subject.site.abilities;
        TicketRequest {
            disk: self.shape.id.clone(),
            direction: Direction::Download,
            backup: Some(self.started.id.clone()),
            idle: IDLE,
            has_policy: abilities.has_policies,
            is_alone: abilities.locks_disks,
        }
    }

    /// What fails before the first byte of a disk of which only changes are wanted: the record of
    /// changes may be lost, of which an engine says nothing in so many words.
    fn is_base_lost(&self, error: Error) -> Broken {
        match &self.read {
            Read::Changes(_) if error.kind() != ErrorKind::Cancelled => {
                Broken::BaseLost(format!("the changes of a disk cannot be had: {}", error.chain()))
            }
            _ => Broken::Failed(error),
        }
    }

    fn open(
        &self,
        keeper: Arc<dyn TicketKeeper>,
        urls: &TicketUrls,
        wire: &Wire,
    ) -> Result<TransferSource> {
        let site = self.work.subject.site;
        let settings = &site.options.transfer;
        let options = settings.options(site.repo, keeper, &wire.counters, &self.work.cancel);
        let client = ImageClient::open(urls, options)?;
        match &self.read {
            Read::Full(_) => TransferSource::full(client),
            Read::Changes(_) => TransferSource::incremental(client)?.ok_or_else(|| {
                let what = "the transfer daemon does not tell what has changed";
                Error::new(ErrorKind::Unsupported, what)
            }),
        }
    }

    fn read(self, run: &mut BackupRun, source: TransferSource, wire: &mut Wire) -> Result<()> {
        let Self { name, shape, read, .. } = self;
        let parent = match read {
            Read::Full(_) => None,
            Read::Changes(before) => Some(run.parent_disk(before)?),
        };
        let client = source.client().clone();
        let input = DiskInput {
            name: name.clone(),
            source: DiskSource {
                format: "engine".to_owned(),
                path: shape.id.clone(),
                backing_files: Vec::new(),
            },
            image: Image::Source(Box::new(source)),
            parent,
            engine: Some(shape),
        };
        let stored = run.store_disk(input);
        // The last value of the client closes its connections; a transfer ends only after that.
        wire.saw(&name, &client);
        stored
    }
}
