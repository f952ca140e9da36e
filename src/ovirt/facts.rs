//! Everything that decides whether a VM can be backed up, as values.
//!
//! States are the engine's own words; a missing one is `None`, and the rules decide what that
//! means. Nothing here is secret: of a script, only whether there is one.

use std::fmt;

use crate::base::clock::UtcTime;
use crate::ovirt::wire::{
    BackupPhase, ContentType, Direction, DiskFormat, DiskStatus, SnapshotStatus, SnapshotType,
    StorageType, TransferPhase, VmOrigin, VmStatus,
};

/// What is known about a VM, at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The release of the engine.
    pub engine: Level,
    /// The level of compatibility that holds for the VM: its own, or its cluster's.
    pub level: Option<Level>,
    /// The VM.
    pub vm: VmFacts,
    /// Its disks, in the engine's order.
    pub disks: Vec<DiskFacts>,
    /// Its snapshots, with the one that is the running VM.
    pub snapshots: Vec<SnapshotFacts>,
    /// Backups that the engine knows of, finished ones among them.
    pub backups: Vec<BackupFacts>,
    /// Transfers from or to a disk of the VM, finished ones among them.
    pub transfers: Vec<TransferFacts>,
    /// Our own sessions that hold the VM.
    pub own: Vec<OwnSession>,
}

/// Two numbers of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Level {
    /// The first.
    pub major: u64,
    /// The second.
    pub minor: u64,
}

impl Level {
    /// A version of these numbers.
    #[must_use]
    pub const fn new(major: u64, minor: u64) -> Self {
        Self { major, minor }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// A VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VmFacts {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What it does.
    pub status: Option<VmStatus>,
    /// Where it came from.
    pub origin: Option<VmOrigin>,
    /// Whether it forgets everything when it stops.
    pub is_stateless: bool,
    /// Whether an image of it, be it of a snapshot, is damaged.
    pub has_illegal_images: bool,
    /// Whether a cloud-init script is configured.
    pub has_script: bool,
    /// Whether the configuration of its next start has one.
    pub next_run_has_script: bool,
    /// Whether an agent in the guest tells the engine about it.
    pub has_agent: bool,
}

/// A disk of the VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskFacts {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Whether it is plugged in.
    pub is_active: bool,
    /// Whether the VM may only read it. Says nothing against a backup.
    pub is_read_only: bool,
    /// Whether the VM boots from it.
    pub is_bootable: bool,
    /// Whether it can be used.
    pub status: Option<DiskStatus>,
    /// How it is stored.
    pub format: Option<DiskFormat>,
    /// What it is made of.
    pub storage: Option<StorageType>,
    /// What it is for; engines leave it out where that is data.
    pub content: Option<ContentType>,
    /// Whether several VMs may have it.
    pub is_shareable: bool,
    /// Whether it is outside of the engine's storage.
    pub is_external: bool,
    /// Its length in bytes, where the engine knows it.
    pub size_bytes: Option<u64>,
}

/// A snapshot of the VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotFacts {
    /// Its id.
    pub id: String,
    /// What it was made for.
    pub description: String,
    /// Whether it is at rest.
    pub status: Option<SnapshotStatus>,
    /// What it is for.
    pub kind: Option<SnapshotType>,
}

/// A backup that the engine knows of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupFacts {
    /// Its id.
    pub id: String,
    /// How far it is.
    pub phase: Option<BackupPhase>,
    /// What whoever began it wrote.
    pub description: String,
    /// When it began.
    pub began: Option<UtcTime>,
}

/// A transfer from or to a disk of the VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransferFacts {
    /// Its id.
    pub id: String,
    /// Id of the disk.
    pub disk: String,
    /// How far it is.
    pub phase: Option<TransferPhase>,
    /// Which way it goes.
    pub direction: Option<Direction>,
}

/// What one of our own sessions does with the VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnWork {
    /// Backs it up.
    Backup,
    /// Restores into it.
    Restore,
}

/// One of our own sessions that holds the VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnSession {
    /// What it does.
    pub work: OwnWork,
    /// Which it is, for people.
    pub who: String,
}
