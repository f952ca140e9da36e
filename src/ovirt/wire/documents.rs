//! The documents, member by member.

use serde::Deserialize;

use crate::base::clock::UtcTime;
use crate::ovirt::wire::scalar::{HasText, TicketUrl, number, time, truth};
use crate::ovirt::wire::words::{
    BackupMode, BackupPhase, CheckpointState, ContentType, Direction, DiskFormat, DiskStatus,
    SnapshotStatus, SnapshotType, StorageType, TransferPhase, VmOrigin, VmStatus,
};

/// A reference to an object.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Link {
    /// Its id.
    #[serde(default)]
    pub id: String,
}

/// A version: of the engine, or a level of compatibility.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Version {
    /// The first number.
    #[serde(default, deserialize_with = "number")]
    pub major: Option<u64>,
    /// The second number.
    #[serde(default, deserialize_with = "number")]
    pub minor: Option<u64>,
    /// The third number.
    #[serde(default, deserialize_with = "number")]
    pub build: Option<u64>,
    /// All of it, for people.
    pub full_version: Option<String>,
}

/// `GET /api`: the engine itself.
#[derive(Debug, Clone, Deserialize)]
pub struct Api {
    /// What it is.
    pub product_info: ProductInfo,
    /// Counts that only administrators are shown.
    pub summary: Option<Summary>,
}

/// What the engine is.
#[derive(Debug, Clone, Deserialize)]
pub struct ProductInfo {
    /// Its name, which differs between products.
    #[serde(default)]
    pub name: String,
    /// Its version.
    pub version: Version,
}

/// Counts of objects; that they are there is what matters.
#[derive(Debug, Clone, Deserialize)]
pub struct Summary {}

/// A VM.
#[derive(Debug, Clone, Deserialize)]
pub struct Vm {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What it does.
    pub status: Option<VmStatus>,
    /// Where it came from.
    pub origin: Option<VmOrigin>,
    /// Whether it forgets everything when it stops.
    #[serde(default, deserialize_with = "truth")]
    pub stateless: Option<bool>,
    /// Whether an image of it is damaged.
    #[serde(default, deserialize_with = "truth")]
    pub has_illegal_images: Option<bool>,
    /// Whether its next start brings another configuration.
    #[serde(default, deserialize_with = "truth")]
    pub next_run_configuration_exists: Option<bool>,
    /// What is done at its first start.
    pub initialization: Option<Initialization>,
    /// What somebody wrote about it.
    #[serde(default)]
    pub comment: String,
    /// Where it belongs.
    pub cluster: Option<Link>,
    /// Its level of compatibility, where that is not its cluster's.
    pub custom_compatibility_version: Option<Version>,
    /// Its name in the network, as an agent in the guest tells it.
    #[serde(default)]
    pub fqdn: HasText,
    /// What runs in it, as the agent tells.
    pub guest_operating_system: Option<GuestSystem>,
}

/// What runs in a guest; that an agent tells it is what matters.
#[derive(Debug, Clone, Deserialize)]
pub struct GuestSystem {}

/// What is done at the first start of a VM. Most of it is secret and not even read.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub struct Initialization {
    /// Whether there is a script.
    #[serde(default)]
    pub custom_script: HasText,
}

/// A disk as a VM has it.
#[derive(Debug, Clone, Deserialize)]
pub struct Attachment {
    /// Id of the attachment and of the disk.
    pub id: String,
    /// Whether it is plugged in.
    #[serde(default, deserialize_with = "truth")]
    pub active: Option<bool>,
    /// Whether the VM may not write to it.
    #[serde(default, deserialize_with = "truth")]
    pub read_only: Option<bool>,
    /// Whether the VM boots from it.
    #[serde(default, deserialize_with = "truth")]
    pub bootable: Option<bool>,
    /// How the VM sees it.
    #[serde(default)]
    pub interface: String,
    /// Whether discards of the guest reach its storage.
    #[serde(default, deserialize_with = "truth")]
    pub pass_discard: Option<bool>,
    /// The disk, in full or only its id.
    pub disk: Option<Disk>,
}

/// A disk. One that is no image lacks most members.
#[derive(Debug, Clone, Deserialize)]
pub struct Disk {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: Option<String>,
    /// Its name in another place.
    pub alias: Option<String>,
    /// Whether it can be used.
    pub status: Option<DiskStatus>,
    /// How it is stored.
    pub format: Option<DiskFormat>,
    /// What it is made of.
    pub storage_type: Option<StorageType>,
    /// What it is for.
    pub content_type: Option<ContentType>,
    /// Whether several VMs may have it.
    #[serde(default, deserialize_with = "truth")]
    pub shareable: Option<bool>,
    /// Its length in bytes.
    #[serde(default, deserialize_with = "number")]
    pub provisioned_size: Option<u64>,
    /// Where it is, if the engine does not store it.
    #[serde(default)]
    pub external_disk: HasText,
    /// The storage behind a direct LUN.
    pub lun_storage: Option<LunStorage>,
    /// How a backup that has the disk reads it.
    pub backup_mode: Option<BackupMode>,
    /// Whether its space is allocated as it is needed.
    #[serde(default, deserialize_with = "truth")]
    pub sparse: Option<bool>,
    /// Whether its storage is to be overwritten when it is deleted.
    #[serde(default, deserialize_with = "truth")]
    pub wipe_after_delete: Option<bool>,
    /// What the operator wrote about it.
    #[serde(default)]
    pub description: String,
    /// Where it is stored.
    #[serde(default)]
    pub storage_domains: StorageDomainLinks,
}

/// References to storage domains.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct StorageDomainLinks {
    /// The storage domains.
    #[serde(default)]
    pub storage_domain: Vec<Link>,
}

/// A storage domain.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct StorageDomain {
    /// Its id.
    pub id: String,
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// What it holds; disks are on those of type `data`.
    #[serde(default, rename = "type")]
    pub holds: String,
    /// Free bytes.
    #[serde(default, deserialize_with = "number")]
    pub available: Option<u64>,
    /// What it lies on.
    #[serde(default)]
    pub storage: Storage,
}

/// What a storage domain lies on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Storage {
    /// `nfs` or `iscsi`, for example.
    #[serde(default, rename = "type")]
    pub kind: String,
}

impl StorageDomain {
    /// Whether its disks are block devices, which do not grow by themselves.
    #[must_use]
    pub fn is_block(&self) -> bool {
        matches!(self.storage.kind.as_str(), "iscsi" | "fcp")
    }
}

/// An object of a collection, by its names.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Place {
    /// Its id.
    pub id: String,
    /// Its name.
    #[serde(default)]
    pub name: String,
}

/// Anything that has a name: a storage domain, a cluster, a network.
#[derive(Debug, Clone, Deserialize)]
pub struct Named {
    /// Its name.
    #[serde(default)]
    pub name: String,
}

/// The storage behind a direct LUN; that it is there is what matters.
#[derive(Debug, Clone, Deserialize)]
pub struct LunStorage {}

/// A network card of a VM.
#[derive(Debug, Clone, Deserialize)]
pub struct Nic {
    /// Its id.
    pub id: String,
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// How the VM sees it.
    #[serde(default)]
    pub interface: String,
    /// Its address.
    pub mac: Option<Mac>,
    /// Whether its link is up.
    #[serde(default, deserialize_with = "truth")]
    pub linked: Option<bool>,
    /// Whether it is plugged in.
    #[serde(default, deserialize_with = "truth")]
    pub plugged: Option<bool>,
    /// How it belongs to a network.
    pub vnic_profile: Option<Link>,
}

/// An address of a network card.
#[derive(Debug, Clone, Deserialize)]
pub struct Mac {
    /// As text.
    pub address: String,
}

/// How network cards belong to a network.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct VnicProfile {
    /// Its id.
    #[serde(default)]
    pub id: String,
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// The network.
    pub network: Option<Link>,
}

/// A snapshot of a VM.
#[derive(Debug, Clone, Deserialize)]
pub struct Snapshot {
    /// Its id.
    pub id: String,
    /// What it was made for.
    #[serde(default)]
    pub description: String,
    /// Whether it is at rest.
    pub snapshot_status: Option<SnapshotStatus>,
    /// What it is for.
    pub snapshot_type: Option<SnapshotType>,
}

/// A backup that the engine knows.
#[derive(Debug, Clone, Deserialize)]
pub struct Backup {
    /// Its id.
    pub id: String,
    /// How far it is; some engines leave this out for a while.
    pub phase: Option<BackupPhase>,
    /// What whoever began it wrote.
    #[serde(default)]
    pub description: String,
    /// When it began.
    #[serde(default, deserialize_with = "time")]
    pub creation_date: Option<UtcTime>,
    /// The mark that later backups can begin from; known once the backup is ready.
    pub to_checkpoint_id: Option<String>,
    /// The host that reads the disks of a running VM.
    pub host: Option<Link>,
    /// The snapshot that the engine made for it, if it works by one.
    pub snapshot: Option<Link>,
}

/// A mark from which a backup can begin.
#[derive(Debug, Clone, Deserialize)]
pub struct Checkpoint {
    /// Its id.
    pub id: String,
    /// What whoever began its backup wrote.
    #[serde(default)]
    pub description: String,
    /// The one before it.
    pub parent_id: Option<String>,
    /// Whether it can be used; engines before 4.4.7 do not tell.
    pub state: Option<CheckpointState>,
}

/// Something that happened.
#[derive(Debug, Clone, Deserialize)]
pub struct Event {
    /// What, for people.
    #[serde(default)]
    pub description: String,
    /// What, for programs.
    #[serde(default, deserialize_with = "number")]
    pub code: Option<u64>,
}

/// A transfer of an image.
#[derive(Debug, Clone, Deserialize)]
pub struct Transfer {
    /// Its id.
    pub id: String,
    /// How far it is.
    pub phase: Option<TransferPhase>,
    /// Which way it goes.
    pub direction: Option<Direction>,
    /// The disk.
    pub image: Option<Link>,
    /// Where its host has the data, while there is a ticket.
    pub transfer_url: Option<TicketUrl>,
    /// Where the engine's proxy has them.
    pub proxy_url: Option<TicketUrl>,
    /// The host.
    pub host: Option<Link>,
}

/// A cluster.
#[derive(Debug, Clone, Deserialize)]
pub struct Cluster {
    /// Its level of compatibility.
    pub version: Option<Version>,
}

/// A host.
#[derive(Debug, Clone, Deserialize)]
pub struct Host {
    /// Its name in the engine.
    #[serde(default)]
    pub name: String,
    /// Its name or address in the network.
    #[serde(default)]
    pub address: String,
    /// What it does; `up` is fit for work.
    #[serde(default)]
    pub status: String,
}

/// Defines a collection. An empty one has no list.
macro_rules! list {
    ($name:ident, $member:ident, $item:ident) => {
        /// A collection.
        #[derive(Debug, Clone, Default, Deserialize)]
        pub struct $name {
            /// What is in it.
            #[serde(default)]
            pub $member: Vec<$item>,
        }
    };
}

list!(VmList, vm, Vm);
list!(AttachmentList, disk_attachment, Attachment);
list!(SnapshotList, snapshot, Snapshot);
list!(BackupList, backup, Backup);
list!(TransferList, image_transfer, Transfer);
list!(HostList, host, Host);
list!(DiskList, disk, Disk);
list!(CheckpointList, checkpoint, Checkpoint);
list!(EventList, event, Event);
list!(NicList, nic, Nic);
list!(ClusterList, cluster, Place);
list!(NetworkList, network, Place);
list!(VnicProfileList, vnic_profile, VnicProfile);
list!(StorageDomainList, storage_domain, StorageDomain);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vm_of_an_engine_is_read_without_its_secrets() {
        let text = r#"{"actions":{"link":[]},"name":"web01","cpu":{"topology":{"cores":"1"}},
            "initialization":{"custom_script":"runcmd: s3cret","root_password":"******"},
            "stateless":"false","origin":"ovirt","status":"up","has_illegal_images":"true",
            "cluster":{"href":"/x","id":"C"},"custom_compatibility_version":{"major":"4",
            "minor":"6"},"next_run_configuration_exists":false,"a_new_member":[1],"id":"7d0c"}"#;
        let vm: Vm = serde_json::from_str(text).unwrap();
        assert_eq!((vm.id.as_str(), vm.name.as_str()), ("7d0c", "web01"));
        assert_eq!((vm.status.clone(), vm.stateless), (Some(VmStatus::Up), Some(false)));
        assert!(vm.initialization.unwrap().custom_script.0);
        assert_eq!(vm.custom_compatibility_version.as_ref().unwrap().minor, Some(6));
        assert!(!format!("{vm:?}").contains("s3cret"));
    }

    #[test]
    fn a_direct_lun_lacks_what_images_have() {
        let text = r#"{"disk_attachment":[{"active":"true","id":"D","disk":{"id":"D","name":"lun",
            "storage_type":"lun","shareable":"false","lun_storage":{"type":"iscsi"}}}]}"#;
        let list: AttachmentList = serde_json::from_str(text).unwrap();
        let disk = list.disk_attachment[0].disk.as_ref().unwrap();
        assert_eq!(disk.storage_type, Some(StorageType::Lun));
        assert!(disk.lun_storage.is_some() && disk.status.is_none() && disk.format.is_none());
    }

    #[test]
    fn an_empty_collection_has_no_list() {
        assert!(serde_json::from_str::<BackupList>("{}").unwrap().backup.is_empty());
    }

    #[test]
    fn a_backup_without_a_phase_and_a_transfer_read() {
        let text = r#"{"backup":[{"creation_date":1767225600000,"id":"B","description":"job"}]}"#;
        let backups: BackupList = serde_json::from_str(text).unwrap();
        let backup = &backups.backup[0];
        assert_eq!(backup.phase, None);
        assert_eq!(backup.creation_date.unwrap().rfc3339(), "2026-01-01T00:00:00Z");
        let text = r#"{"image_transfer":[{"active":"false","direction":"upload",
            "transfer_url":"https://[::1]:54322/images/canary",
            "phase":"transferring","host":{"id":"H"},"image":{"id":"D1"},"id":"T"}]}"#;
        let transfers: TransferList = serde_json::from_str(text).unwrap();
        let transfer = &transfers.image_transfer[0];
        assert_eq!(transfer.image.as_ref().unwrap().id, "D1");
        assert_eq!(transfer.direction, Some(Direction::Upload));
        let url = transfer.transfer_url.as_ref().unwrap();
        assert_eq!(url.expose(), "https://[::1]:54322/images/canary");
        assert!(!format!("{transfer:?} {url}").contains("canary"));
    }
}
