//! The engine's documents as they arrive, in JSON.
//!
//! Only what is used is read; members that this release does not know are passed over, words that
//! it does not know are kept as they are (`words`), and numbers and truths are read from strings
//! as well, because that is how the engine writes them. What may be a secret is never kept: of a
//! script, only whether there is one.

mod daemon;
mod documents;
mod requests;
mod scalar;
mod words;

pub use daemon::{Abilities, ImageChange, ImageChecksum, ImageExtent};
pub use documents::{
    Api, Attachment, AttachmentList, Backup, BackupList, Checkpoint, CheckpointList, Cluster,
    ClusterList, Disk, DiskList, Event, EventList, Host, HostList, Initialization, Link, Named,
    NetworkList, Nic, NicList, Place, Snapshot, SnapshotList, Storage, StorageDomain,
    StorageDomainList, Transfer, TransferList, Version, Vm, VmList, VnicProfile, VnicProfileList,
};
pub use requests::{
    DiskRefs, DomainRefs, FromOvf, IdRef, MacRef, NewAttachment, NewBackup, NewDisk, NewNic,
    NewTransfer, NewVm, VmChange,
};
pub use scalar::{HasText, TicketUrl};
pub use words::{
    BackupMode, BackupPhase, CheckpointState, ContentType, Direction, DiskFormat, DiskStatus,
    SnapshotStatus, SnapshotType, StorageType, TransferPhase, VmOrigin, VmStatus,
};
