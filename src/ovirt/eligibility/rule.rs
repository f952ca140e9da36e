//! The rules by name.

/// A rule. `docs/eligibility.md` explains each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "`Rule::summary` says what each is, to people as well")]
pub enum Rule {
    DiskFormat,
    DiskStorage,
    BackupRunning,
    RestoreRunning,
    HostedEngine,
    SnapshotPreview,
    CloudInitScript,
    VmState,
    DiskState,
    EngineVersion,
    NoDisks,
}

impl Rule {
    /// All of them, in the order in which they are applied and reported.
    pub const ALL: [Self; 11] = [
        Self::DiskFormat,
        Self::DiskStorage,
        Self::BackupRunning,
        Self::RestoreRunning,
        Self::HostedEngine,
        Self::SnapshotPreview,
        Self::CloudInitScript,
        Self::VmState,
        Self::DiskState,
        Self::EngineVersion,
        Self::NoDisks,
    ];

    /// The name by which people and scripts know it. Never changes.
    #[must_use]
    pub const fn id(self) -> &'static str {
        match self {
            Self::DiskFormat => "disk-format",
            Self::DiskStorage => "disk-storage",
            Self::BackupRunning => "backup-running",
            Self::RestoreRunning => "restore-running",
            Self::HostedEngine => "hosted-engine",
            Self::SnapshotPreview => "snapshot-preview",
            Self::CloudInitScript => "cloud-init-script",
            Self::VmState => "vm-state",
            Self::DiskState => "disk-state",
            Self::EngineVersion => "engine-version",
            Self::NoDisks => "no-disks",
        }
    }

    /// When it refuses a VM.
    #[must_use]
    pub const fn summary(self) -> &'static str {
        match self {
            Self::DiskFormat => "the format of a disk is neither RAW nor QCOW2",
            Self::DiskStorage => {
                "a disk is shareable, a direct LUN, a Cinder or managed block disk, or holds no \
                 data of the VM"
            }
            Self::BackupRunning => "a backup of the VM is running, ours or any other software's",
            Self::RestoreRunning => "a restore into the VM is running",
            Self::HostedEngine => "the VM is the engine itself",
            Self::SnapshotPreview => "a snapshot of the VM is being previewed",
            Self::CloudInitScript => "a cloud-init script is configured, and is not to be redacted",
            Self::VmState => "the VM is in a state in which the engine cannot back it up",
            Self::DiskState => "a disk is unplugged, locked or illegal",
            Self::EngineVersion => "the engine or the cluster is too old",
            Self::NoDisks => "there is no disk to back up",
        }
    }
}
