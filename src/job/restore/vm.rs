//! A restore point becomes a new VM.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::format::commit::{DiskRecord, PointRecord};
use crate::format::vm_config::{Members, VmConfig};
use crate::job::journal::Journal;
use crate::job::leftovers;
use crate::job::restore::disk::{attachment, plan};
use crate::job::restore::upload::{Destination, Uploaded};
use crate::ovirt::backup::tag::Tag;
use crate::ovirt::restore::{
    DiskPlan, Places, VmPlan, VmWishes, attach, blank, create_vm, is_attached, plan_vm, release_vm,
    remove_tagged, set_nics, vm_named,
};
use crate::ovirt::wire::{FromOvf, IdRef, NewVm, VmChange};
use crate::repo::RestoreSession;
use crate::restore::stored_configuration;

/// What of the engine's document about a VM can be given to an engine that makes one, where there
/// is no OVF.
const GIVEN: [&str; 22] = [
    "bios",
    "console",
    "cpu",
    "custom_compatibility_version",
    "custom_cpu_model",
    "custom_emulated_machine",
    "description",
    "display",
    "high_availability",
    "io",
    "memory",
    "memory_policy",
    "os",
    "rng_device",
    "soundcard_enabled",
    "start_paused",
    "stateless",
    "time_zone",
    "tpm_enabled",
    "type",
    "usb",
    "virtio_scsi",
];

/// A VM that was restored.
#[derive(Debug)]
pub struct RestoredVm {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The name of its cluster.
    pub cluster: String,
    /// Whether its network cards have the addresses that they had.
    pub keeps_macs: bool,
    /// Its disks.
    pub disks: Vec<Uploaded>,
    /// What the restore point holds nothing of, because it may be secret.
    pub taken_out: Vec<String>,
}

/// Restores all disks of a restore point and makes a VM of them, which is off in the end.
///
/// # Errors
///
/// [`ErrorKind::Refused`] with everything at once that stands in the way: a name that is taken,
/// places that are not there. [`ErrorKind::Unsupported`] for restore points without the
/// configuration of a VM. Nothing of a restore that fails stays on the engine.
pub fn restore_vm(
    to: &Destination<'_>,
    point: &PointRecord,
    wishes: &VmWishes,
) -> Result<RestoredVm> {
    let Some(config) = stored_configuration(to.repo, point)? else {
        let what = "the restore point holds disks and no configuration of a VM";
        return Err(Error::new(ErrorKind::Unsupported, what));
    };
    let name = wishes.name.as_deref().unwrap_or(&point.vm).to_owned();
    let session = RestoreSession::begin(to.repo, &name, point.id)?;
    for leftover in leftovers::of_new_vm(to.repo, to.engine, &name)? {
        leftovers::end(to.repo, to.engine, &leftover)?;
    }
    let vm_plan = look(to, point, &config, wishes, &name)?;
    let disks = disk_plans(to, point, &vm_plan)?;
    let text = format!("restore of the VM {name}");
    let journal = Arc::new(Journal::new(to.repo, session.id(), to.engine, None, text));
    let tag = Tag { repo: to.repo.id(), session: session.id() };
    let making = Making { to, point, config: &config, name: &name, vm_plan, disks, tag, journal };
    journal_and_make(&making)
}

fn journal_and_make(making: &Making<'_>) -> Result<RestoredVm> {
    making.journal.vm(making.name)?;
    let made = making.make();
    if made.is_err() {
        making.take_back();
    }
    made
}

/// Plans, and refuses with everything that stands in the way.
fn look(
    to: &Destination<'_>,
    point: &PointRecord,
    config: &VmConfig,
    wishes: &VmWishes,
    name: &str,
) -> Result<VmPlan> {
    let original = point.engine.as_ref().map(|engine| engine.vm_id.as_str());
    let places = Places::look(to.engine, original)?;
    let domain_of = |disk: &DiskRecord| disk.engine.as_ref()?.storage_domain.clone();
    let was: Vec<_> = point.disks.iter().map(domain_of).collect();
    let names = point.disks.iter().map(|disk| disk.name.as_str());
    let disks: Vec<_> = names.zip(was.iter().map(Option::as_ref)).collect();
    let planned = plan_vm(config, &disks, wishes, &places);
    let taken = vm_named(to.engine, name)?
        .map(|vm| format!("the engine has a VM {name:?} (id {}): give another --name", vm.id));
    match (planned, taken) {
        (Ok(plan), None) => Ok(plan),
        (planned, taken) => {
            let problems: Vec<_> =
                taken.into_iter().chain(planned.err().unwrap_or_default()).collect();
            let what = format!("the VM cannot be restored so: {}", problems.join("; "));
            Err(Error::new(ErrorKind::Refused, what))
        }
    }
}

/// A new disk for each of the restore point, all of which have room together.
fn disk_plans(
    to: &Destination<'_>,
    point: &PointRecord,
    vm_plan: &VmPlan,
) -> Result<Vec<DiskPlan>> {
    let mut free: BTreeMap<String, u64> = BTreeMap::new();
    let mut plans = Vec::new();
    for (disk, domain) in point.disks.iter().zip(&vm_plan.domains) {
        let mut plan = plan(to.repo, point, disk, domain.clone())?;
        let left = free.get(&domain.id).copied().or(domain.available);
        plan.domain.available = left;
        plan.demand_room()?;
        if let Some(left) = left {
            free.insert(domain.id.clone(), left - plan.needed_bytes());
        }
        plans.push(plan);
    }
    Ok(plans)
}

/// A VM that is being made.
struct Making<'a> {
    to: &'a Destination<'a>,
    point: &'a PointRecord,
    config: &'a VmConfig,
    name: &'a str,
    vm_plan: VmPlan,
    disks: Vec<DiskPlan>,
    tag: Tag,
    journal: Arc<Journal>,
}

impl Making<'_> {
    fn make(&self) -> Result<RestoredVm> {
        let Self { to, point, config, journal, .. } = self;
        let id = create_vm(to.engine, &self.new_vm(), self.tag)?;
        journal.belongs_to(id.clone());
        set_nics(to.engine, &id, &self.vm_plan.nics)?;
        let mut disks = Vec::new();
        for (disk, plan) in point.disks.iter().zip(&self.disks) {
            disks.push(to.upload(journal, disk, plan)?);
        }
        for (disk, plan) in point.disks.iter().zip(&self.disks) {
            attach(to.engine, &id, &attachment(disk, &plan.id))?;
        }
        let change = VmChange {
            comment: config.vm.text(&["comment"]).unwrap_or_default().to_owned(),
            delete_protected: config.vm.is_true("delete_protected"),
        };
        // An interrupt comes too late here.
        release_vm(&to.firm(), &id, &change)?;
        // Notes about a whole VM and what it has say nothing: one that stays does no harm.
        let noted = self.disks.iter().try_for_each(|plan| journal.done(&plan.id));
        to.tell(noted.and_then(|()| journal.done(self.name)));
        Ok(RestoredVm {
            id,
            name: self.name.to_owned(),
            cluster: self.vm_plan.cluster.name.clone(),
            keeps_macs: self.vm_plan.keeps_macs,
            disks,
            taken_out: config.taken_out.clone(),
        })
    }

    fn new_vm(&self) -> NewVm {
        let ovf = self.config.ovf.clone();
        let members = match ovf {
            Some(_) => Members::default(),
            None => self.config.vm.only(&GIVEN),
        };
        NewVm {
            name: self.name.to_owned(),
            comment: self.tag.to_string(),
            // Until it is whole, this run must be able to take it back.
            delete_protected: false,
            cluster: IdRef::from(self.vm_plan.cluster.id.as_str()),
            template: ovf.is_none().then(blank),
            initialization: ovf.map(FromOvf::from),
            members,
        }
    }

    /// Removes the VM and then the disks. What cannot be removed stays written down.
    ///
    /// If the engine made the last change and could not say so, the VM is whole and has its disks:
    /// both stay.
    fn take_back(&self) {
        let Self { to, journal, .. } = self;
        let engine = to.firm();
        let removed = remove_tagged(&engine, self.name, self.tag);
        let is_over = removed.is_ok();
        to.tell(removed.and_then(|()| journal.done(self.name)));
        for plan in self.disks.iter().filter(|_| is_over) {
            let vm = journal.vm_id();
            match vm.map_or(Ok(false), |vm| is_attached(&engine, vm, &plan.id)) {
                Ok(true) => to.tell(journal.done(&plan.id)),
                Ok(false) => to.take_back(journal, &plan.id),
                Err(error) => to.tell(Err(error)),
            }
        }
    }
}
