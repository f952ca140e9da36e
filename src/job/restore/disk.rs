//! A disk of a restore point becomes a new disk of a VM.

use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::format::commit::{DiskRecord, PointRecord};
use crate::job::journal::Journal;
use crate::job::leftovers;
use crate::job::restore::upload::{Destination, Uploaded};
use crate::ovirt::client::{ApiPath, Engine};
use crate::ovirt::gather::find_vm;
use crate::ovirt::restore::{DiskPlan, attach, choose_domain, domains};
use crate::ovirt::wire::{BackupList, BackupPhase, DiskFormat, IdRef, NewAttachment};
use crate::repo::{Repository, RestoreSession};
use crate::restore::data_bytes;

/// How a VM sees a disk of which nothing else is known.
const INTERFACE: &str = "virtio_scsi";

/// A VM that is to get a disk, and what the disk is to be. What is not said is as the restore point
/// has it.
#[derive(Debug, Clone, Default)]
pub struct DiskToVm {
    /// Name or id of the VM.
    pub vm: String,
    /// Name of the new disk.
    pub name: Option<String>,
    /// Name or id of a storage domain.
    pub storage_domain: Option<String>,
    /// How it is stored.
    pub format: Option<DiskFormat>,
    /// How the VM sees it.
    pub interface: Option<String>,
    /// Whether it is plugged in.
    pub activate: bool,
}

/// A disk that a VM has now.
#[derive(Debug)]
pub struct RestoredDisk {
    /// Id of the VM.
    pub vm_id: String,
    /// Name of the VM.
    pub vm_name: String,
    /// The disk.
    pub disk: Uploaded,
}

/// Restores a disk as a new disk of a VM.
///
/// # Errors
///
/// [`ErrorKind::Busy`] while the VM is backed up or restored into, by whomever;
/// [`ErrorKind::NotFound`] where the engine does not show the VM or the storage domain. Nothing of
/// a restore that fails stays on the engine.
pub fn restore_disk_to_vm(
    to: &Destination<'_>,
    point: &PointRecord,
    disk: &DiskRecord,
    wanted: &DiskToVm,
) -> Result<RestoredDisk> {
    let vm = find_vm(to.engine, &wanted.vm)?;
    let session = RestoreSession::begin(to.repo, &vm.name, point.id)?;
    demand_no_backup(to.engine, &vm.id, &vm.name)?;
    let domains = domains(to.engine)?;
    let recorded = disk.engine.as_ref();
    let domain = choose_domain(
        &domains,
        wanted.storage_domain.as_deref(),
        recorded.and_then(|engine| engine.storage_domain.as_ref()),
    )?;
    let mut plan = plan(to.repo, point, disk, domain.clone())?;
    if let Some(format) = &wanted.format {
        plan.sparse |= *format == DiskFormat::Cow;
        plan.format = format.clone();
    }
    plan.name = wanted.name.clone().unwrap_or_else(|| format!("{}_{}", disk.name, point.time));
    for leftover in leftovers::of_restores(to.repo, to.engine, &vm.id)? {
        leftovers::end(to.repo, to.engine, &leftover)?;
    }
    let text = format!("restore of disk {:?} into the VM {}", disk.name, vm.name);
    let journal = Arc::new(Journal::new(to.repo, session.id(), to.engine, Some(&vm.id), text));
    let uploaded = to.upload(&journal, disk, &plan)?;
    let was = attachment(disk, &plan.id);
    let interface = wanted.interface.clone().unwrap_or_else(|| was.interface.clone());
    let attachment = NewAttachment { interface, active: wanted.activate, bootable: false, ..was };
    if let Err(error) = attach(to.engine, &vm.id, &attachment) {
        to.take_back(&journal, &plan.id);
        return Err(error);
    }
    journal.done(&plan.id)?;
    Ok(RestoredDisk { vm_id: vm.id, vm_name: vm.name, disk: uploaded })
}

/// A new disk like the one that the restore point holds.
pub(super) fn plan(
    repo: &Repository,
    point: &PointRecord,
    disk: &DiskRecord,
    domain: crate::ovirt::wire::StorageDomain,
) -> Result<DiskPlan> {
    let recorded = disk.engine.as_ref();
    let is_raw = recorded.is_some_and(|engine| engine.format == DiskFormat::Raw.word());
    Ok(DiskPlan {
        id: repo.environment().chance.uuid(),
        name: disk.name.clone(),
        description: format!("disk {} of {}@{}", disk.name, point.vm, point.time),
        size_bytes: disk.size_bytes,
        data_bytes: data_bytes(repo, disk)?,
        format: if is_raw { DiskFormat::Raw } else { DiskFormat::Cow },
        sparse: recorded.is_none_or(|engine| engine.sparse),
        wipe_after_delete: recorded.is_some_and(|engine| engine.wipe_after_delete),
        domain,
    })
}

/// How a VM had the disk, for the new one of that id.
pub(super) fn attachment(disk: &DiskRecord, id: &str) -> NewAttachment {
    let recorded = disk.engine.as_ref();
    let interface = recorded.map(|engine| engine.interface.clone());
    let interface = interface.filter(|interface| !interface.is_empty());
    NewAttachment {
        disk: IdRef::from(id),
        interface: interface.unwrap_or_else(|| INTERFACE.to_owned()),
        active: recorded.is_none_or(|engine| engine.active),
        bootable: recorded.is_some_and(|engine| engine.bootable),
        read_only: recorded.is_some_and(|engine| engine.read_only),
        pass_discard: recorded.is_some_and(|engine| engine.pass_discard),
    }
}

/// An engine changes no disks of a VM that is being backed up; better to know that before a long
/// transfer than after.
fn demand_no_backup(engine: &Engine, vm: &str, name: &str) -> Result<()> {
    let list: Option<BackupList> = engine.find(&ApiPath::new(&["vms", vm, "backups"]))?;
    let backups = list.unwrap_or_default().backup;
    let is_over = |phase: &Option<BackupPhase>| phase.as_ref().is_some_and(BackupPhase::is_over);
    match backups.iter().find(|backup| !is_over(&backup.phase)) {
        None => Ok(()),
        Some(backup) => {
            let what = format!("VM {name:?} is being backed up (backup {})", backup.id);
            Err(Error::new(ErrorKind::Busy, what))
        }
    }
}
