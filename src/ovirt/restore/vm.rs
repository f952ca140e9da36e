//! A new VM: made with a tag in its comment that says whose it is until it is whole.

use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::ovirt::backup::tag::Tag;
use crate::ovirt::client::{ApiPath, Engine, Unmade};
use crate::ovirt::poll::until;
use crate::ovirt::wire::{
    AttachmentList, IdRef, NewNic, NewVm, Nic, NicList, Vm, VmChange, VmList, VmStatus,
};

const MAKE: Duration = Duration::from_secs(10 * 60);
const REMOVE: Duration = Duration::from_secs(5 * 60);

/// The VM of exactly that name, if there is one.
pub fn vm_named(engine: &Engine, name: &str) -> Result<Option<Vm>> {
    let list: VmList = engine.get(&ApiPath::new(&["vms"]).with("search", &search(name)))?;
    Ok(list.vm.into_iter().find(|vm| vm.name == name))
}

/// Finds all VMs of a name, and some more: quotes and stars mean something to the engine.
fn search(name: &str) -> String {
    let harmless = name.replace(['"', '\\'], "*");
    format!("name=\"{harmless}\"")
}

fn vm_tagged(engine: &Engine, name: &str, tag: Tag) -> Result<Option<Vm>> {
    Ok(vm_named(engine, name)?.filter(|vm| vm.comment == tag.to_string()))
}

/// Makes a VM without disks, and waits until it is at rest. Its comment must be `tag`. Returns its
/// id.
pub fn create_vm(engine: &Engine, vm: &NewVm, tag: Tag) -> Result<String> {
    let id = match engine.create::<Vm>(&ApiPath::new(&["vms"]), vm) {
        Ok(made) => made.id,
        Err(Unmade::Unknown(error)) => match vm_tagged(engine, &vm.name, tag)? {
            Some(made) => made.id,
            None => return Err(error),
        },
        Err(refused) => return Err(refused.into()),
    };
    until(engine, MAKE, "the new VM is not at rest", || {
        let vm: Vm = engine.get(&ApiPath::new(&["vms", &id]))?;
        Ok((vm.status == Some(VmStatus::Down)).then_some(()))
    })?;
    detach_all(engine, &id)?;
    Ok(id)
}

/// An engine gives a VM that it makes from an OVF the disks of the same ids, if they happen to be
/// there and belong to nobody. They are not what is restored.
fn detach_all(engine: &Engine, vm: &str) -> Result<()> {
    let path = ApiPath::new(&["vms", vm, "diskattachments"]);
    let list: AttachmentList = engine.get(&path)?;
    list.disk_attachment.iter().try_for_each(|one| {
        let path = ApiPath::new(&["vms", vm, "diskattachments", &one.id]);
        engine.delete(&path.with("detach_only", "true"))?;
        Ok(())
    })
}

/// Gives a VM its network cards; those of the same names are changed.
pub fn set_nics(engine: &Engine, vm: &str, wanted: &[NewNic]) -> Result<()> {
    let all = ApiPath::new(&["vms", vm, "nics"]);
    let list: NicList = engine.get(&all)?;
    for nic in wanted {
        match list.nic.iter().find(|one| one.name == nic.name) {
            // A card loses its profile only with itself.
            Some(there) if there.vnic_profile.is_some() && nic.vnic_profile.is_none() => {
                engine.delete(&ApiPath::new(&["vms", vm, "nics", &there.id]))?;
                engine.create::<Nic>(&all, nic)?;
            }
            Some(there) => {
                engine.update::<Nic>(&ApiPath::new(&["vms", vm, "nics", &there.id]), nic)?;
            }
            None => {
                engine.create::<Nic>(&all, nic)?;
            }
        }
    }
    Ok(())
}

/// The VM is whole: its comment is its own from here on.
pub fn release_vm(engine: &Engine, vm: &str, change: &VmChange) -> Result<()> {
    let path = ApiPath::new(&["vms", vm]);
    match engine.update::<Vm>(&path, change) {
        Ok(_) => Ok(()),
        // What the answer does not tell, the VM does.
        Err(_) if engine.get::<Vm>(&path).is_ok_and(|vm| vm.comment == change.comment) => Ok(()),
        Err(unmade) => Err(unmade.into()),
    }
}

/// Removes the VM of that name that bears `tag`, and leaves its disks. That there is none is no
/// error.
///
/// [`ErrorKind::Busy`] if it is not off: somebody has put it to use.
pub fn remove_tagged(engine: &Engine, name: &str, tag: Tag) -> Result<()> {
    let Some(vm) = vm_tagged(engine, name, tag)? else { return Ok(()) };
    if vm.status != Some(VmStatus::Down) {
        let what = format!("VM {name:?} runs, though its restore did not come to its end");
        return Err(Error::new(ErrorKind::Busy, what));
    }
    let path = ApiPath::new(&["vms", &vm.id]);
    engine.delete(&path.clone().with("detach_only", "true"))?;
    until(engine, REMOVE, "the engine does not remove the VM", || {
        Ok(engine.find::<Vm>(&path)?.is_none().then_some(()))
    })
}

/// The template that every engine has, which is nothing.
#[must_use]
pub fn blank() -> IdRef {
    IdRef::from("00000000-0000-0000-0000-000000000000")
}
