//! Collects the facts about a VM. Only looks: nothing here can change anything on the engine.

use std::collections::BTreeSet;

use crate::error::{Error, ErrorKind, Result};
use crate::format::session::SessionKind;
use crate::ovirt::client::{ApiPath, Engine};
use crate::ovirt::facts::{
    BackupFacts, DiskFacts, Facts, Level, OwnSession, OwnWork, SnapshotFacts, TransferFacts,
    VmFacts,
};
use crate::ovirt::wire::{
    Api, Attachment, AttachmentList, Backup, BackupList, Cluster, Disk, Snapshot, SnapshotList,
    StorageType, TransferList, Version, Vm, VmList,
};
use crate::repo::{Repository, VmHolder};

/// Digits of an id, with its dashes.
const ID_LEN: usize = 36;
/// VMs of one page of a search.
const PAGE: usize = 100;
/// More pages than any engine has VMs for.
const PAGES_MAX: usize = 10_000;

/// The VMs that `wanted` names: what the engine's own search finds where it holds a `=`, as
/// `name=web*` does; else the one of that id, or of exactly that name.
pub fn find_vms(engine: &Engine, wanted: &str) -> Result<Vec<Vm>> {
    if !wanted.contains('=') {
        return find_vm(engine, wanted).map(|vm| vec![vm]);
    }
    let mut found: Vec<Vm> = Vec::new();
    for page in 1..=PAGES_MAX {
        let search = format!("{wanted} page {page}");
        let path = ApiPath::new(&["vms"]).with("search", &search).with("max", &PAGE.to_string());
        let list: VmList = engine.get(&path)?;
        let (len, before) = (list.vm.len(), found.len());
        for vm in list.vm {
            if found.iter().all(|other| other.id != vm.id) {
                found.push(vm);
            }
        }
        if len < PAGE || found.len() == before {
            break;
        }
    }
    match found.is_empty() {
        false => Ok(found),
        true => {
            let what = format!("the engine finds no VM by {wanted:?}");
            Err(Error::new(ErrorKind::NotFound, what))
        }
    }
}

/// The VM of that id, or of exactly that name.
pub fn find_vm(engine: &Engine, wanted: &str) -> Result<Vm> {
    if is_id(wanted)
        && let Some(vm) = engine.find(&ApiPath::new(&["vms", wanted]))?
    {
        return Ok(vm);
    }
    let missing = || {
        let what = format!("the engine shows no VM named {wanted:?}");
        Error::new(ErrorKind::NotFound, what)
    };
    // The engine's search would take these for its own, and no VM is named so.
    if wanted.contains(['"', '*', '\\']) {
        return Err(missing());
    }
    let path = ApiPath::new(&["vms"]).with("search", &format!("name=\"{wanted}\""));
    let found: VmList = engine.get(&path)?;
    let mut named = found.vm.into_iter().filter(|vm| vm.name == wanted);
    let vm = named.next().ok_or_else(missing)?;
    match named.next() {
        None => Ok(vm),
        Some(other) => {
            let what =
                format!("two VMs are named {wanted:?}: give the id {} or {}", vm.id, other.id);
            Err(Error::new(ErrorKind::Invalid, what))
        }
    }
}

fn is_id(text: &str) -> bool {
    let is_id_char = |c: char| c.is_ascii_hexdigit() || c == '-';
    text.len() == ID_LEN && text.chars().all(is_id_char)
}

/// The facts about a VM. `own` are our own sessions, which the engine does not know.
pub fn facts(engine: &Engine, vm: Vm, own: Vec<OwnSession>) -> Result<Facts> {
    let api: Api = engine.get(&ApiPath::new(&[]))?;
    let disks = disks(engine, &vm.id)?;
    let snapshots: SnapshotList = engine.get(&ApiPath::new(&["vms", &vm.id, "snapshots"]))?;
    // Engines without the interface for backups have none, and a rule refuses them.
    let backups: Option<BackupList> = engine.find(&ApiPath::new(&["vms", &vm.id, "backups"]))?;
    let transfers: TransferList = engine.get(&ApiPath::new(&["imagetransfers"]))?;
    let next_run = next_run_has_script(engine, &vm)?;
    Ok(Facts {
        engine: release(&api)?,
        level: level(engine, &vm)?,
        transfers: transfers_of(transfers, &disks),
        disks,
        snapshots: snapshots.snapshot.into_iter().map(snapshot_facts).collect(),
        backups: backups.unwrap_or_default().backup.into_iter().map(BackupFacts::from).collect(),
        own,
        vm: vm_facts(vm, next_run),
    })
}

/// Our own sessions that have the VM of that name. The engine does not know of them.
pub fn own_sessions(repo: &Repository, vm: &str) -> Result<Vec<OwnSession>> {
    let own = |holder: VmHolder| {
        let work = match holder.kind {
            SessionKind::Restore => OwnWork::Restore,
            _ => OwnWork::Backup,
        };
        OwnSession { work, who: holder.who }
    };
    Ok(repo.vm_holder(vm)?.map(own).into_iter().collect())
}

/// The release of the engine, from its document about itself.
pub fn release(api: &Api) -> Result<Level> {
    as_level(&api.product_info.version)
        .ok_or_else(|| Error::new(ErrorKind::Remote, "the engine does not say its version"))
}

fn as_level(version: &Version) -> Option<Level> {
    Some(Level::new(version.major?, version.minor?))
}

fn level(engine: &Engine, vm: &Vm) -> Result<Option<Level>> {
    if let Some(level) = vm.custom_compatibility_version.as_ref().and_then(as_level) {
        return Ok(Some(level));
    }
    let Some(cluster) = &vm.cluster else { return Ok(None) };
    let cluster: Option<Cluster> = engine.find(&ApiPath::new(&["clusters", &cluster.id]))?;
    Ok(cluster.and_then(|cluster| cluster.version).as_ref().and_then(as_level))
}

fn next_run_has_script(engine: &Engine, vm: &Vm) -> Result<bool> {
    if vm.next_run_configuration_exists != Some(true) {
        return Ok(false);
    }
    let next: Vm = engine.get(&ApiPath::new(&["vms", &vm.id]).with("next_run", "true"))?;
    Ok(has_script(&next))
}

fn has_script(vm: &Vm) -> bool {
    vm.initialization.is_some_and(|initialization| initialization.custom_script.0)
}

fn vm_facts(vm: Vm, next_run_has_script: bool) -> VmFacts {
    VmFacts {
        is_stateless: vm.stateless == Some(true),
        has_illegal_images: vm.has_illegal_images == Some(true),
        has_script: has_script(&vm),
        next_run_has_script,
        has_agent: vm.fqdn.0 || vm.guest_operating_system.is_some(),
        id: vm.id,
        name: vm.name,
        status: vm.status,
        origin: vm.origin,
    }
}

fn disks(engine: &Engine, vm: &str) -> Result<Vec<DiskFacts>> {
    let path = ApiPath::new(&["vms", vm, "diskattachments"]).with("follow", "disk");
    let list: AttachmentList = engine.get(&path)?;
    list.disk_attachment.into_iter().map(|attachment| disk_facts(engine, attachment)).collect()
}

fn disk_facts(engine: &Engine, attachment: Attachment) -> Result<DiskFacts> {
    let Attachment { id, active, read_only, bootable, disk, .. } = attachment;
    let disk = match disk.filter(is_whole) {
        Some(disk) => disk,
        None => engine.get(&ApiPath::new(&["disks", &id]))?,
    };
    let is_lun = disk.storage_type.is_none() && disk.lun_storage.is_some();
    Ok(DiskFacts {
        name: disk.name.or(disk.alias).unwrap_or_else(|| id.clone()),
        id,
        is_active: active == Some(true),
        is_read_only: read_only == Some(true),
        is_bootable: bootable == Some(true),
        status: disk.status,
        format: disk.format,
        storage: if is_lun { Some(StorageType::Lun) } else { disk.storage_type },
        content: disk.content_type,
        is_shareable: disk.shareable == Some(true),
        is_external: disk.external_disk.0,
        size_bytes: disk.provisioned_size,
    })
}

/// Whether the engine put the whole disk into the attachment, as it was asked to.
fn is_whole(disk: &Disk) -> bool {
    disk.storage_type.is_some() || disk.lun_storage.is_some()
}

fn snapshot_facts(snapshot: Snapshot) -> SnapshotFacts {
    let Snapshot { id, description, snapshot_status, snapshot_type } = snapshot;
    SnapshotFacts { id, description, status: snapshot_status, kind: snapshot_type }
}

impl From<Backup> for BackupFacts {
    fn from(backup: Backup) -> Self {
        let Backup { id, phase, description, creation_date, .. } = backup;
        Self { id, phase, description, began: creation_date }
    }
}

fn transfers_of(list: TransferList, disks: &[DiskFacts]) -> Vec<TransferFacts> {
    let ids: BTreeSet<_> = disks.iter().map(|disk| disk.id.as_str()).collect();
    let facts = list.image_transfer.into_iter().filter_map(|transfer| {
        let disk = transfer.image?.id;
        let is_of_vm = ids.contains(disk.as_str());
        let facts = TransferFacts {
            id: transfer.id,
            disk,
            phase: transfer.phase,
            direction: transfer.direction,
        };
        is_of_vm.then_some(facts)
    });
    facts.collect()
}
