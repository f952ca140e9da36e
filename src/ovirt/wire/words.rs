//! The engine's words for states and kinds. One that this release does not know is kept as it is,
//! so that rules can refuse it by name.

use std::fmt;

use serde::{Deserialize, Deserializer};

/// Defines an enum of words.
macro_rules! words {
    ($(#[$about:meta])* $name:ident { $($variant:ident = $word:literal,)+ }) => {
        $(#[$about])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum $name {
            $(#[doc = concat!("`", $word, "`")] $variant,)+
            /// A word that this release does not know.
            Other(String),
        }

        impl $name {
            /// The engine's word.
            #[must_use]
            pub fn word(&self) -> &str {
                match self {
                    $(Self::$variant => $word,)+
                    Self::Other(word) => word,
                }
            }
        }

        impl From<&str> for $name {
            fn from(word: &str) -> Self {
                match word {
                    $($word => Self::$variant,)+
                    _ => Self::Other(word.to_owned()),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.word())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                String::deserialize(from).map(|word| Self::from(word.as_str()))
            }
        }
    };
}

words! {
    /// What a VM does.
    VmStatus {
        Down = "down",
        ImageLocked = "image_locked",
        Migrating = "migrating",
        NotResponding = "not_responding",
        Paused = "paused",
        PoweringDown = "powering_down",
        PoweringUp = "powering_up",
        RebootInProgress = "reboot_in_progress",
        RestoringState = "restoring_state",
        SavingState = "saving_state",
        Suspended = "suspended",
        Unassigned = "unassigned",
        Unknown = "unknown",
        Up = "up",
        WaitForLaunch = "wait_for_launch",
    }
}

words! {
    /// Where a VM came from, as far as that matters.
    VmOrigin {
        External = "external",
        HostedEngine = "hosted_engine",
        ManagedHostedEngine = "managed_hosted_engine",
        Ovirt = "ovirt",
        Rhev = "rhev",
    }
}

words! {
    /// Whether a disk can be used.
    DiskStatus {
        Illegal = "illegal",
        Locked = "locked",
        Ok = "ok",
    }
}

words! {
    /// How the active layer of a disk is stored.
    DiskFormat {
        Cow = "cow",
        Raw = "raw",
    }
}

words! {
    /// What a disk is made of.
    StorageType {
        Cinder = "cinder",
        Image = "image",
        Lun = "lun",
        ManagedBlockStorage = "managed_block_storage",
    }
}

words! {
    /// What a disk is for.
    ContentType {
        BackupScratch = "backup_scratch",
        Data = "data",
        HostedEngine = "hosted_engine",
        HostedEngineConfiguration = "hosted_engine_configuration",
        HostedEngineMetadata = "hosted_engine_metadata",
        HostedEngineSanlock = "hosted_engine_sanlock",
        Iso = "iso",
        MemoryDumpVolume = "memory_dump_volume",
        MemoryMetadataVolume = "memory_metadata_volume",
        OvfStore = "ovf_store",
    }
}

words! {
    /// Whether a snapshot is at rest.
    SnapshotStatus {
        InPreview = "in_preview",
        Locked = "locked",
        Ok = "ok",
    }
}

words! {
    /// What a snapshot is for.
    SnapshotType {
        Active = "active",
        Preview = "preview",
        Regular = "regular",
        Stateless = "stateless",
    }
}

words! {
    /// How far a backup is.
    BackupPhase {
        Failed = "failed",
        Finalizing = "finalizing",
        Initializing = "initializing",
        Ready = "ready",
        Starting = "starting",
        Succeeded = "succeeded",
    }
}

words! {
    /// How a backup reads a disk.
    BackupMode {
        Full = "full",
        Incremental = "incremental",
    }
}

words! {
    /// Whether a backup can begin from a checkpoint.
    CheckpointState {
        Created = "created",
        Invalid = "invalid",
    }
}

words! {
    /// Which way a transfer goes.
    Direction {
        Download = "download",
        Upload = "upload",
    }
}

words! {
    /// How far a transfer is.
    TransferPhase {
        Cancelled = "cancelled",
        CancelledSystem = "cancelled_system",
        CancelledUser = "cancelled_user",
        FinalizingCleanup = "finalizing_cleanup",
        FinalizingFailure = "finalizing_failure",
        FinalizingSuccess = "finalizing_success",
        FinishedCleanup = "finished_cleanup",
        FinishedFailure = "finished_failure",
        FinishedSuccess = "finished_success",
        Initializing = "initializing",
        PausedSystem = "paused_system",
        PausedUser = "paused_user",
        Resuming = "resuming",
        Transferring = "transferring",
        Unknown = "unknown",
    }
}

impl BackupPhase {
    /// Whether nothing is left to happen.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed)
    }
}

impl TransferPhase {
    /// Whether nothing is left to happen.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        matches!(self, Self::FinishedSuccess | Self::FinishedFailure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_reads_back_and_an_unknown_one_is_kept() {
        for word in ["up", "image_locked", "levitating"] {
            assert_eq!(VmStatus::from(word).word(), word);
        }
        assert_eq!(VmStatus::from("up"), VmStatus::Up);
        assert_eq!(VmStatus::from("UP"), VmStatus::Other("UP".to_owned()));
    }

    #[test]
    fn a_phase_that_is_unknown_or_between_is_not_over() {
        for word in ["ready", "finalizing", "finished", ""] {
            assert!(!BackupPhase::from(word).is_over());
        }
        for word in ["finished_cleanup", "paused_user", "unknown", "cancelled_system", "done"] {
            assert!(!TransferPhase::from(word).is_over());
        }
        assert!(TransferPhase::FinishedFailure.is_over() && BackupPhase::Failed.is_over());
    }
}
