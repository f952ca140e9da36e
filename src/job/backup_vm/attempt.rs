//! From a VM that may be backed up to the restore point.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::base::cancel::Cancel;
use crate::error::{Error, ErrorKind, Result};
use crate::format::commit::PointRecord;
use crate::format::engine::{BackupKind, ConsistencyRecord, DiskRead, EngineDisk, EngineRecord};
use crate::ingest::{BackupOptions, BackupRun, PointFacts};
use crate::job::backup_vm::Subject;
use crate::job::backup_vm::disk::{DiskWork, Wire};
use crate::job::backup_vm::plan::{Base, Read, choose, disk_names, read};
use crate::job::backup_vm::start::{Started, start};
use crate::job::journal::Journal;
use crate::job::leftovers::end_backup;
use crate::ovirt::backup::begin::demand_ready;
use crate::ovirt::backup::checkpoints;
use crate::ovirt::backup::shape::shapes;
use crate::ovirt::backup::tag::Tag;
use crate::ovirt::configuration::{self, Secrets};
use crate::ovirt::facts::DiskFacts;
use crate::ovirt::wire::{BackupMode, VmStatus};

/// Why an attempt made no restore point.
pub(super) enum Broken {
    /// The engine has lost what changed since the base: all is to be read.
    BaseLost(String),
    /// Anything else.
    Failed(Error),
}

impl From<Error> for Broken {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

pub(super) type Attempted<T> = std::result::Result<T, Broken>;

/// Backs up the VM, and once more in full if the engine turns out to have lost what had changed.
pub(super) fn make(subject: &Subject<'_>) -> Result<PointRecord> {
    let full = subject.options().full.then(|| "a full backup was asked for".to_owned());
    match attempt(subject, full) {
        Ok(point) => Ok(point),
        Err(Broken::Failed(error)) => Err(error),
        Err(Broken::BaseLost(reason)) => match attempt(subject, Some(reason)) {
            Ok(point) => Ok(point),
            Err(Broken::Failed(error)) => Err(error),
            Err(Broken::BaseLost(reason)) => Err(Error::new(ErrorKind::Remote, reason)),
        },
    }
}

fn attempt(subject: &Subject<'_>, full: Option<String>) -> Attempted<PointRecord> {
    let site = subject.site;
    // What fails ends its own threads by it, and not those of other VMs.
    let cancel = site.options.backup.cancel.part();
    let options = BackupOptions { cancel: cancel.clone(), ..site.options.backup.clone() };
    let mut run = BackupRun::begin(site.repo, &subject.facts.vm.name, &options)?;
    let text = format!("backup of the VM {}", subject.facts.vm.name);
    let session = run.session_id();
    let journal = Arc::new(Journal::new(site.repo, session, site.engine, Some(subject.vm()), text));
    let work = Work { subject, tag: Tag { repo: site.repo.id(), session }, journal, cancel };
    match work.store(&mut run, full) {
        Ok((started, facts)) => {
            let committed = run.commit(facts);
            work.conclude(&started, committed.is_ok());
            Ok(committed?)
        }
        Err(broken) => {
            run.abort();
            Err(broken)
        }
    }
}

/// What one attempt works with.
pub(super) struct Work<'a> {
    pub(super) subject: &'a Subject<'a>,
    tag: Tag,
    pub(super) journal: Arc<Journal>,
    pub(super) cancel: Cancel,
}

impl Work<'_> {
    /// Stores everything. The backup of the engine is then still there, with no transfer open; if
    /// this fails, it is ended.
    fn store(&self, run: &mut BackupRun, full: Option<String>) -> Attempted<(Started, PointFacts)> {
        let Work { subject, .. } = self;
        let engine = subject.site.engine;
        let warnings = self.store_configuration(run)?;
        let mut shapes = shapes(engine, subject.vm())?;
        let base = match full {
            Some(reason) => Base::Nothing(reason),
            None => {
                let known = checkpoints::list(engine, subject.vm())?;
                choose(&run.parent_points(), subject.vm(), &known)
            }
        };
        let disks = subject.taken();
        let ids: Vec<_> = disks.iter().map(|disk| disk.id.as_str()).collect();
        let started = start(subject, &ids, base, &self.journal, self.tag)
            .inspect_err(|_| self.forget_checkpoints())?;
        let mut wire = Wire::default();
        let stored = self.store_disks(run, &started, &disks, &mut shapes, &mut wire);
        let stored = stored.and_then(|()| Ok(demand_ready(engine, subject.vm(), &started.id)?));
        match stored {
            Ok(()) => {
                let facts = self.facts(&started, wire, warnings);
                Ok((started, facts))
            }
            Err(broken) => {
                self.end(&started);
                self.forget_checkpoints();
                Err(broken)
            }
        }
    }

    /// Stores the configuration of the VM, and tells what is missing from it.
    fn store_configuration(&self, run: &mut BackupRun) -> Result<Vec<String>> {
        let site = self.subject.site;
        let secrets = site.options.secrets(site.repo);
        let config = configuration::capture(site.engine, self.subject.vm(), secrets)?;
        run.store_configuration(&config.encode(), secrets == Secrets::TakenOut)?;
        Ok(config.warnings)
    }

    fn store_disks(
        &self,
        run: &mut BackupRun,
        started: &Started,
        disks: &[&DiskFacts],
        shapes: &mut BTreeMap<String, EngineDisk>,
        wire: &mut Wire,
    ) -> Attempted<()> {
        for (disk, name) in disks.iter().zip(disk_names(disks.iter().copied())) {
            let mode = started.ready.modes.get(&disk.id).unwrap_or(&BackupMode::Full);
            let read = read(&started.base, disk, mode);
            let Some(mut shape) = shapes.remove(&disk.id) else {
                let what = format!("the engine does not show the disk {} any more", disk.name);
                return Err(Error::new(ErrorKind::Remote, what).into());
            };
            match &read {
                Read::Full(reason) => shape.full_reason = Some(reason.clone()),
                Read::Changes(_) => shape.read = DiskRead::Incremental,
            }
            let disk = DiskWork { work: self, started, name, shape, read };
            disk.store(run, wire)?;
        }
        Ok(())
    }

    /// What the restore point says about the engine.
    fn facts(&self, started: &Started, wire: Wire, warnings: Vec<String>) -> PointFacts {
        let Work { subject, .. } = self;
        let kind = match (started.ready.is_hybrid, &subject.facts.vm.status) {
            (true, _) => BackupKind::Hybrid,
            (false, Some(VmStatus::Down)) => BackupKind::Cold,
            _ => BackupKind::Live,
        };
        let counts = wire.counters.counts();
        let engine = EngineRecord {
            url: subject.site.engine.url().to_string(),
            vm_id: subject.vm().to_owned(),
            backup_id: started.id.clone(),
            kind,
            checkpoint_id: started.ready.checkpoint.clone(),
            from_checkpoint_id: started.base.checkpoint().map(ToOwned::to_owned),
            consistency: ConsistencyRecord {
                asked: subject.options().consistency.word().to_owned(),
                reached: started.reached.to_owned(),
            },
            transports: wire.transports.into_iter().collect(),
            fallbacks: started.fallbacks.iter().cloned().chain(wire.fallbacks).collect(),
            warnings,
            received_bytes: counts.received_bytes,
            sent_bytes: counts.sent_bytes,
            sites: subject.options().sites.clone(),
        };
        PointFacts { engine: Some(engine), left_out: subject.left_out() }
    }

    /// The restore point exists, or it could not be committed: the engine may go on.
    fn conclude(&self, started: &Started, is_committed: bool) {
        self.end(started);
        if !is_committed {
            self.forget_checkpoints();
        } else {
            let Work { subject, tag, .. } = self;
            let keep = started.ready.checkpoint.as_deref();
            let engine = subject.firm();
            if let Err(error) = checkpoints::remove_own_but(&engine, subject.vm(), tag.repo, keep) {
                // Engines before 4.4.7 delete the oldest only.
                match subject.site.abilities.deletes_any_checkpoint {
                    true => self.tell(Err(error)),
                    false => log::debug!("checkpoints stay: {}", error.chain()),
                }
            }
        }
    }

    /// Nothing will begin from the checkpoint of a run that failed.
    fn forget_checkpoints(&self) {
        let Work { subject, tag, .. } = self;
        self.tell(checkpoints::remove_of_session(&subject.firm(), subject.vm(), *tag));
    }

    /// Ends the backup of the engine. If that fails, the note stays for the next run.
    fn end(&self, started: &Started) {
        let Work { subject, journal, .. } = self;
        let ended = end_backup(&subject.firm(), subject.vm(), &started.id);
        self.tell(ended.and_then(|()| journal.done(&started.id)));
    }

    /// What goes wrong here is no reason for the run to fail.
    pub(super) fn tell(&self, ended: Result<()>) {
        if let Err(problem) = ended {
            self.subject.site.repo.monitor().problem(&problem);
        }
    }
}
