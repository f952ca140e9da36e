//! Several VMs, some of them at a time.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::thread;

use crate::base::sync::lock;
use crate::error::{Error, ErrorKind, Result};
use crate::job::backup_vm::{Outcome, Site, back_up_vm};
use crate::ovirt::wire::Vm;

/// How the backup of one VM ended.
#[derive(Debug)]
pub struct VmReport {
    /// Id of the VM.
    pub vm_id: String,
    /// Its name.
    pub name: String,
    /// How it ended.
    pub result: Result<Outcome>,
}

/// Backs up VMs, `at_once` of them at a time. One that fails does not stop the others; a run that
/// is to end does. The reports are in the order of `vms`.
#[must_use]
pub fn back_up_vms(site: &Site<'_>, vms: &[Vm], at_once: usize) -> Vec<VmReport> {
    let waiting: Mutex<VecDeque<(usize, &Vm)>> = Mutex::new(vms.iter().enumerate().collect());
    let reports: Mutex<Vec<(usize, VmReport)>> = Mutex::default();
    let work = || {
        loop {
            let next = lock(&waiting).pop_front();
            let Some((place, vm)) = next else { return };
            let result = match vms.len() {
                1 => back_up(site, vm),
                _ => back_up_apart(site, vm),
            };
            let report = VmReport { vm_id: vm.id.clone(), name: vm.name.clone(), result };
            lock(&reports).push((place, report));
        }
    };
    thread::scope(|scope| {
        for _ in 1..at_once.clamp(1, vms.len().max(1)) {
            scope.spawn(work);
        }
        work();
    });
    let mut reports = std::mem::take(&mut *lock(&reports));
    reports.sort_by_key(|(place, _)| *place);
    reports.into_iter().map(|(_, report)| report).collect()
}

/// With an observer of its own, where the observer tells VMs apart.
fn back_up_apart(site: &Site<'_>, vm: &Vm) -> Result<Outcome> {
    let Some(monitor) = site.repo.monitor().part(&vm.name) else { return back_up(site, vm) };
    back_up(&Site { repo: &site.repo.watched_by(monitor), ..*site }, vm)
}

fn back_up(site: &Site<'_>, vm: &Vm) -> Result<Outcome> {
    if site.options.backup.cancel.is_requested() {
        return Err(Error::new(ErrorKind::Cancelled, "the run was interrupted before its turn"));
    }
    back_up_vm(site, &vm.id)
}
