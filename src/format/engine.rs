//! What a restore point of an engine's VM holds beside its disks' bytes.

use serde::{Deserialize, Serialize};

use crate::base::id::ChunkId;

/// How a VM came from an engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineRecord {
    /// The engine's URL.
    pub url: String,
    /// Id of the VM there.
    pub vm_id: String,
    /// Id of the backup there.
    pub backup_id: String,
    /// How the engine made it.
    pub kind: BackupKind,
    /// The mark on the engine that a later backup can begin from, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint_id: Option<String>,
    /// The mark that this backup began from; none where everything was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_checkpoint_id: Option<String>,
    /// How consistent the disks are.
    pub consistency: ConsistencyRecord,
    /// By which ways bytes came: `direct`, `proxy`, `unix`.
    pub transports: Vec<String>,
    /// What was done in another way than wanted, and why, for people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fallbacks: Vec<String>,
    /// What the engine does not hand out, for people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Bytes that came over the wire for the disks.
    pub received_bytes: u64,
    /// Bytes that were sent for them.
    pub sent_bytes: u64,
    /// Where the engine and the repository are, as the operator calls that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sites: Option<Sites>,
}

/// How an engine makes a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackupKind {
    /// Of a running VM.
    Live,
    /// Of a VM that is off.
    Cold,
    /// By a snapshot.
    Hybrid,
}

impl BackupKind {
    /// The word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Cold => "cold",
            Self::Hybrid => "hybrid",
        }
    }
}

/// How consistent the disks of a restore point are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsistencyRecord {
    /// What was asked for: `required`, `preferred` or `off`.
    pub asked: String,
    /// What it was: `offline` (the VM was off), `filesystem` (an agent in the guest froze its file
    /// systems) or `crash` (as after a power failure, or better).
    pub reached: String,
}

/// Names of places.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sites {
    /// Where the engine is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<String>,
    /// Where the repository is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
}

/// A disk as the engine had it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineDisk {
    /// Its id.
    pub id: String,
    /// `cow` or `raw`.
    pub format: String,
    /// Whether its space was allocated as it was needed.
    pub sparse: bool,
    /// How the VM saw it: `virtio_scsi`, for example.
    pub interface: String,
    /// Whether the VM booted from it.
    pub bootable: bool,
    /// Whether it was plugged in.
    pub active: bool,
    /// Whether the VM might only read it.
    pub read_only: bool,
    /// Whether discards of the guest reached its storage.
    pub pass_discard: bool,
    /// Whether its storage is to be overwritten when it is deleted.
    pub wipe_after_delete: bool,
    /// What the operator wrote about it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Where it was stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_domain: Option<StorageDomain>,
    /// How much of it was read.
    pub read: DiskRead,
    /// Why all of it was, where changes were wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub full_reason: Option<String>,
}

/// How much of a disk was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DiskRead {
    /// All that is not zero.
    Full,
    /// What had changed since an earlier restore point.
    Incremental,
}

impl DiskRead {
    /// The word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Incremental => "incremental",
        }
    }
}

/// Where an engine stores disks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StorageDomain {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
}

/// The configuration of the VM: a small file that is stored like a disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configuration {
    /// Its length, in bytes.
    pub size_bytes: u64,
    /// The root of its map.
    pub map_root: ChunkId,
    /// Whether what may be secret was taken out.
    pub redacted: bool,
}

/// A disk of the VM that the restore point does not hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// Its name.
    pub name: String,
    /// Its id in the engine.
    pub engine_id: String,
    /// Why, for people.
    pub reason: String,
}
