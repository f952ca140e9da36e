//! The notes of a run about one VM.

use std::sync::OnceLock;

use crate::base::id::SessionId;
use crate::error::Result;
use crate::format::journal::{EngineNote, EngineThing};
use crate::ovirt::client::Engine;
use crate::ovirt::ticket::TicketLog;
use crate::repo::{EngineJournal, Repository};

/// Writes down what a run creates on the engine for a VM.
pub struct Journal {
    notes: EngineJournal,
    url: String,
    vm: OnceLock<String>,
    text: String,
}

impl Journal {
    /// The journal of a session that is registered, about the VM of an id, or about one that is not
    /// made yet. `text` says what it is for, to people.
    #[must_use]
    pub fn new(
        repo: &Repository,
        session: SessionId,
        engine: &Engine,
        vm: Option<&str>,
        text: String,
    ) -> Self {
        let notes = EngineJournal::new(repo, session);
        let vm = vm.map_or_else(OnceLock::new, |id| OnceLock::from(id.to_owned()));
        Self { notes, url: engine.url().to_string(), vm, text }
    }

    /// The VM was made and has this id.
    pub fn belongs_to(&self, vm: String) {
        // It is made once.
        let _known = self.vm.set(vm);
    }

    /// The id of the VM, once there is one.
    #[must_use]
    pub fn vm_id(&self) -> Option<&str> {
        self.vm.get().map(String::as_str)
    }

    /// A backup is about to begin, or has begun.
    pub fn backup(&self, id: &str) -> Result<()> {
        self.note(EngineThing::Backup, id, None)
    }

    /// A disk is about to be made.
    pub fn disk(&self, id: &str) -> Result<()> {
        self.note(EngineThing::Disk, id, None)
    }

    /// A VM is about to be made. Its id is the engine's choice: it is known by its name, and by the
    /// tag of this session in its comment.
    pub fn vm(&self, name: &str) -> Result<()> {
        self.note(EngineThing::Vm, name, None)
    }

    /// The thing of that id is over.
    pub fn done(&self, id: &str) -> Result<()> {
        self.notes.done(id)
    }

    fn note(&self, what: EngineThing, id: &str, disk: Option<&str>) -> Result<()> {
        self.notes.note(&EngineNote {
            url: self.url.clone(),
            vm_id: self.vm.get().cloned(),
            what,
            id: id.to_owned(),
            disk_id: disk.map(ToOwned::to_owned),
            text: self.text.clone(),
        })
    }
}

impl TicketLog for Journal {
    fn opened(&self, transfer: &str, disk: &str) -> Result<()> {
        self.note(EngineThing::Transfer, transfer, Some(disk))
    }

    fn closed(&self, transfer: &str) -> Result<()> {
        self.done(transfer)
    }
}
