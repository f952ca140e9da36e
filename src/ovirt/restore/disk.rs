//! A new disk: made with an id of our choice, and taken back if it does not come to be whole.

use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::ovirt::backup::events::about;
use crate::ovirt::client::{ApiPath, Engine, Unmade};
use crate::ovirt::poll::until;
use crate::ovirt::wire::{Disk, DiskFormat, DiskStatus, DomainRefs, NewDisk, StorageDomain};

/// Storage that allocates all of a large disk at once takes its time.
const CREATE: Duration = Duration::from_secs(30 * 60);
/// An engine that has just ended a transfer is still at work on its disk.
const DISCARD: Duration = Duration::from_secs(5 * 60);

/// A disk that is to be made.
#[derive(Debug, Clone)]
pub struct DiskPlan {
    /// Its id, which nobody else has.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What it is, for people.
    pub description: String,
    /// Length of the image that goes to it, in bytes.
    pub size_bytes: u64,
    /// How much of that is not zero.
    pub data_bytes: u64,
    /// How it is stored.
    pub format: DiskFormat,
    /// Whether its space is allocated as it is needed.
    pub sparse: bool,
    /// Whether its storage is to be overwritten when it is deleted.
    pub wipe_after_delete: bool,
    /// Where.
    pub domain: StorageDomain,
}

impl DiskPlan {
    /// What it will take on its storage domain, at the least.
    #[must_use]
    pub fn needed_bytes(&self) -> u64 {
        if self.sparse { self.data_bytes } else { self.size_bytes }
    }

    /// Fails where there is no room for what the disk will hold.
    pub fn demand_room(&self) -> Result<()> {
        let needed = self.needed_bytes();
        match self.domain.available {
            Some(free) if free < needed => {
                let what = format!(
                    "disk {:?} needs {} MiB, and storage domain {:?} has {} MiB free",
                    self.name,
                    needed.div_ceil(1 << 20),
                    self.domain.name,
                    free >> 20
                );
                Err(Error::new(ErrorKind::Full, what))
            }
            _ => Ok(()),
        }
    }

    fn request(&self) -> NewDisk {
        let is_cow = self.format == DiskFormat::Cow;
        let grows_by_hand = is_cow && self.sparse && self.domain.is_block();
        NewDisk {
            id: self.id.clone(),
            name: self.name.clone(),
            description: self.description.clone(),
            format: self.format.word().to_owned(),
            provisioned_size: self.size_bytes,
            initial_size: grows_by_hand.then(|| initial_size(self.size_bytes, self.data_bytes)),
            // RAW disks on block storage have all of their space from the beginning.
            sparse: self.sparse && (is_cow || !self.domain.is_block()),
            backup: if is_cow { "incremental" } else { "none" },
            wipe_after_delete: self.wipe_after_delete,
            storage_domains: DomainRefs::from(self.domain.id.as_str()),
        }
    }
}

/// What a QCOW2 image of `data` bytes of data takes: its tables grow with its length (an entry of
/// 8 bytes, and counts of 2, for every 64 KiB), and bitmaps of the engine come on top.
fn initial_size(size: u64, data: u64) -> u64 {
    data + size / (64 << 10) * 10 + (16 << 20)
}

fn look(engine: &Engine, id: &str) -> Result<Option<Disk>> {
    engine.find(&ApiPath::new(&["disks", id]))
}

/// Makes the disk and waits until it can be written. Returns its length in bytes, which is that of
/// the image or somewhat more.
pub fn create(engine: &Engine, plan: &DiskPlan) -> Result<u64> {
    match engine.create::<Disk>(&ApiPath::new(&["disks"]), &plan.request()) {
        Ok(_) => {}
        Err(Unmade::Unknown(error)) => match look(engine, &plan.id)? {
            Some(_) => {}
            None => return Err(error),
        },
        Err(refused) => return Err(refused.into()),
    }
    let disk = ready(engine, &plan.id)?;
    match disk.provisioned_size {
        Some(size) if size >= plan.size_bytes => Ok(size),
        _ => Err(Error::new(ErrorKind::Remote, "the engine made the new disk too short")),
    }
}

/// Waits until nothing is at work on the disk any more.
pub fn ready(engine: &Engine, id: &str) -> Result<Disk> {
    until(engine, CREATE, "the new disk is not ready", || {
        let failed = |what: &str| {
            let what = format!("{what}: {}", about(engine, id).told());
            Err(Error::new(ErrorKind::Remote, what))
        };
        match look(engine, id)? {
            None => failed("the engine has deleted the new disk again"),
            Some(disk) if disk.status == Some(DiskStatus::Ok) => Ok(Some(disk)),
            Some(disk) if disk.status == Some(DiskStatus::Illegal) => {
                failed("the engine takes the new disk for damaged")
            }
            Some(_) => Ok(None),
        }
    })
}

/// Deletes a disk and waits until it is gone, as soon as the engine lets go of it. That it is gone
/// already is no error.
pub fn discard(engine: &Engine, id: &str) -> Result<()> {
    let path = ApiPath::new(&["disks", id]);
    until(engine, DISCARD, "the engine does not delete the disk", || {
        match look(engine, id)?.map(|disk| disk.status) {
            None => Ok(Some(())),
            Some(Some(DiskStatus::Locked)) => Ok(None),
            Some(_) => match engine.delete(&path) {
                Ok(_) => Ok(None),
                // It was locked between the look and now.
                Err(unmade) if unmade.is_status(409) => Ok(None),
                Err(unmade) => Err(unmade.into()),
            },
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ovirt::wire::Storage;

    fn plan(kind: &str, format: DiskFormat, sparse: bool) -> DiskPlan {
        DiskPlan {
            id: "D".to_owned(),
            name: "system".to_owned(),
            description: String::new(),
            size_bytes: 10 << 30,
            data_bytes: 1 << 30,
            format,
            sparse,
            wipe_after_delete: false,
            domain: StorageDomain {
                id: "S".to_owned(),
                name: "store".to_owned(),
                holds: "data".to_owned(),
                available: Some(2 << 30),
                storage: Storage { kind: kind.to_owned() },
            },
        }
    }

    #[test]
    fn space_that_does_not_come_by_itself_is_asked_for_at_once() {
        assert_eq!(plan("nfs", DiskFormat::Cow, true).request().initial_size, None);
        assert_eq!(plan("iscsi", DiskFormat::Raw, true).request().initial_size, None);
        let asked = plan("iscsi", DiskFormat::Cow, true).request().initial_size.unwrap();
        assert!(asked > 1 << 30 && asked < (1 << 30) + (32 << 20), "{asked}");
    }

    #[test]
    fn raw_disks_on_block_storage_are_never_sparse_and_record_no_changes() {
        let request = plan("fcp", DiskFormat::Raw, true).request();
        assert!(!request.sparse && request.backup == "none");
        assert!(plan("nfs", DiskFormat::Raw, true).request().sparse);
        assert_eq!(plan("nfs", DiskFormat::Cow, true).request().backup, "incremental");
    }

    #[test]
    fn a_disk_for_which_there_is_no_room_is_refused_before_it_is_made() {
        assert!(plan("nfs", DiskFormat::Cow, true).demand_room().is_ok());
        let error = plan("nfs", DiskFormat::Raw, false).demand_room().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Full);
    }
}
