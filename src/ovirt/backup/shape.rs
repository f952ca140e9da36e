//! The disks of a VM as the engine has them, so that a restore can make them alike.

use std::collections::BTreeMap;

use crate::error::Result;
use crate::format::engine::{DiskRead, EngineDisk, StorageDomain};
use crate::ovirt::client::{ApiPath, Engine};
use crate::ovirt::wire::{self, Attachment, AttachmentList, Disk, DiskFormat};

/// The disks of a VM by their ids. Those that are no images are left out.
pub fn shapes(engine: &Engine, vm: &str) -> Result<BTreeMap<String, EngineDisk>> {
    let path = ApiPath::new(&["vms", vm, "diskattachments"]).with("follow", "disk");
    let list: AttachmentList = engine.get(&path)?;
    let mut domains = Domains { engine, names: BTreeMap::new() };
    let mut shapes = BTreeMap::new();
    for attachment in list.disk_attachment {
        let disk = match attachment.disk.clone().filter(|disk| disk.format.is_some()) {
            Some(disk) => disk,
            None => engine.get(&ApiPath::new(&["disks", &attachment.id]))?,
        };
        if let Some(shape) = shape(&attachment, disk, &mut domains)? {
            shapes.insert(attachment.id, shape);
        }
    }
    Ok(shapes)
}

fn shape(
    attachment: &Attachment,
    disk: Disk,
    domains: &mut Domains<'_>,
) -> Result<Option<EngineDisk>> {
    let Some(format) = disk.format.as_ref().map(DiskFormat::word) else { return Ok(None) };
    let domain = disk.storage_domains.storage_domain.first();
    Ok(Some(EngineDisk {
        id: attachment.id.clone(),
        format: format.to_owned(),
        sparse: disk.sparse == Some(true),
        interface: attachment.interface.clone(),
        bootable: attachment.bootable == Some(true),
        active: attachment.active == Some(true),
        read_only: attachment.read_only == Some(true),
        pass_discard: attachment.pass_discard == Some(true),
        wipe_after_delete: disk.wipe_after_delete == Some(true),
        description: disk.description,
        storage_domain: domain.map(|link| domains.named(&link.id)).transpose()?,
        read: DiskRead::Full,
        full_reason: None,
    }))
}

/// Names of storage domains, each asked for once.
struct Domains<'a> {
    engine: &'a Engine,
    names: BTreeMap<String, String>,
}

impl Domains<'_> {
    fn named(&mut self, id: &str) -> Result<StorageDomain> {
        if !self.names.contains_key(id) {
            let path = ApiPath::new(&["storagedomains", id]);
            let found: Option<wire::Named> = self.engine.find(&path)?;
            let name = found.map(|domain| domain.name).unwrap_or_default();
            self.names.insert(id.to_owned(), name);
        }
        let name = self.names.get(id).cloned().unwrap_or_default();
        Ok(StorageDomain { id: id.to_owned(), name })
    }
}
