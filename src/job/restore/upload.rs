//! One disk of a restore point becomes a disk of the engine.

use std::sync::Arc;

use crate::base::cancel::Cancel;
use crate::error::{Error, ErrorKind, Result};
use crate::format::commit::DiskRecord;
use crate::job::journal::Journal;
use crate::job::leftovers::IDLE;
use crate::job::transfer::TransferSettings;
use crate::ovirt::backup::abilities::Abilities;
use crate::ovirt::client::Engine;
use crate::ovirt::restore::{DigestedSink, DiskPlan, create, discard, ready, verify};
use crate::ovirt::ticket::{Ticket, TicketLog, TicketRequest};
use crate::ovirt::transfer::{ImageClient, TicketKeeper, TicketUrls, WireCounters};
use crate::ovirt::wire::Direction;
use crate::repo::Repository;
use crate::restore::{RestoreOptions, RestoreReport, Target, restore_disk};

/// Where restored disks go, and how.
pub struct Destination<'a> {
    /// The engine.
    pub engine: &'a Engine,
    /// The repository.
    pub repo: &'a Repository,
    /// What the engine can do.
    pub abilities: Abilities,
    /// How images travel.
    pub transfer: &'a TransferSettings,
    /// How disks are read.
    pub restore: &'a RestoreOptions,
}

/// A disk that the engine has now.
#[derive(Debug)]
pub struct Uploaded {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The name of its storage domain.
    pub storage_domain: String,
    /// What was read and sent.
    pub report: RestoreReport,
    /// Bytes that went over the wire.
    pub sent_bytes: u64,
    /// By which way.
    pub transport: String,
    /// Why it was another way than wanted.
    pub fallbacks: Vec<String>,
    /// Whether the host's checksum says that it holds what was sent; hosts that compute none leave
    /// that open.
    pub is_verified: bool,
}

impl Destination<'_> {
    /// The session with the engine for what has to be taken back whatever happens.
    pub(super) fn firm(&self) -> Engine {
        self.engine.with_cancel(Cancel::default())
    }

    /// Makes the disk and sends it. It is written down from before it is made; whoever calls this
    /// says [`Journal::done`] when it belongs to a VM. If this fails, it is gone.
    pub(super) fn upload(
        &self,
        journal: &Arc<Journal>,
        disk: &DiskRecord,
        plan: &DiskPlan,
    ) -> Result<Uploaded> {
        plan.demand_room()?;
        journal.disk(&plan.id)?;
        let made = create(self.engine, plan).and_then(|size| self.send(journal, disk, plan, size));
        if made.is_err() {
            self.take_back(journal, &plan.id);
        }
        made
    }

    /// Deletes a disk that this run has made. If that fails, its note stays for the next run.
    pub(super) fn take_back(&self, journal: &Journal, id: &str) {
        let gone = discard(&self.firm(), id).and_then(|()| journal.done(id));
        self.tell(gone);
    }

    /// What goes wrong here is no reason for the run to fail.
    pub(super) fn tell(&self, ended: Result<()>) {
        if let Err(problem) = ended {
            self.repo.monitor().problem(&problem);
        }
    }

    fn send(
        &self,
        journal: &Arc<Journal>,
        disk: &DiskRecord,
        plan: &DiskPlan,
        disk_bytes: u64,
    ) -> Result<Uploaded> {
        let log: Arc<dyn TicketLog> = Arc::<Journal>::clone(journal);
        let request = TicketRequest {
            disk: plan.id.clone(),
            direction: Direction::Upload,
            backup: None,
            idle: IDLE,
            has_policy: self.abilities.has_policies,
            is_alone: true,
        };
        let (ticket, urls) = Ticket::open(self.engine, request, log)?;
        let ticket = Arc::new(ticket);
        let sent = self.fill(Arc::<Ticket>::clone(&ticket), &urls, disk, plan, disk_bytes);
        let ended = sent.and_then(|uploaded| {
            ticket.finish()?;
            // The engine looks the disk through, and forgets a transfer early in old releases.
            ready(self.engine, &plan.id)?;
            Ok(uploaded)
        });
        if ended.is_err() {
            self.tell(ticket.cancel());
        }
        ended
    }

    /// Sends all bytes and has the host prove that it holds them. No connection is left open.
    fn fill(
        &self,
        keeper: Arc<dyn TicketKeeper>,
        urls: &TicketUrls,
        disk: &DiskRecord,
        plan: &DiskPlan,
        disk_bytes: u64,
    ) -> Result<Uploaded> {
        let counters = Arc::<WireCounters>::default();
        let cancel = &self.restore.cancel;
        let options = self.transfer.options(self.repo, keeper, &counters, cancel);
        let client = ImageClient::open(urls, options)?;
        let sink = DigestedSink::new(client.clone(), disk.size_bytes, disk_bytes)?;
        let digest = sink.digest();
        let report = restore_disk(self.repo, disk, Target::Sink(Box::new(sink)), self.restore)?;
        self.repo.monitor().phase("verifying", None);
        let is_verified = verify(&client, &digest, disk_bytes)?;
        if !is_verified {
            let what = format!(
                "nothing proves that the host holds all of disk {:?}: it is too old to compute \
                 checksums of images",
                disk.name
            );
            self.repo.monitor().problem(&Error::new(ErrorKind::Unsupported, what));
        }
        Ok(Uploaded {
            id: plan.id.clone(),
            name: plan.name.clone(),
            storage_domain: plan.domain.name.clone(),
            report,
            sent_bytes: counters.counts().sent_bytes,
            transport: client.transport().to_string(),
            fallbacks: client.fallbacks(),
            is_verified,
        })
    }
}
