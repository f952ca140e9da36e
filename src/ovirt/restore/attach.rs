//! A VM gets a disk.

use crate::error::Result;
use crate::ovirt::client::{ApiPath, Engine, Unmade};
use crate::ovirt::wire::{Attachment, NewAttachment};

/// Attaches a disk to a VM.
pub fn attach(engine: &Engine, vm: &str, attachment: &NewAttachment) -> Result<()> {
    let all = ApiPath::new(&["vms", vm, "diskattachments"]);
    match engine.create::<Attachment>(&all, attachment) {
        Ok(_) => Ok(()),
        Err(Unmade::Unknown(error)) if !is_attached(engine, vm, &attachment.disk.id)? => Err(error),
        Err(Unmade::Unknown(_)) => Ok(()),
        Err(refused) => Err(refused.into()),
    }
}

/// Whether a VM has a disk.
pub fn is_attached(engine: &Engine, vm: &str, disk: &str) -> Result<bool> {
    let path = ApiPath::new(&["vms", vm, "diskattachments", disk]);
    Ok(engine.find::<Attachment>(&path)?.is_some())
}
