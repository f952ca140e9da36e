//! What the operator wants of a VM.

use crate::error::{Error, ErrorKind, Result};
use crate::ovirt::facts::DiskFacts;

/// What becomes of a cloud-init script, which may hold passwords.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CloudInit {
    /// A VM that has one is refused.
    #[default]
    Refuse,
    /// It is left out of the configuration that is stored.
    Redact,
    /// It is stored with the other secrets of the VM. Only for encrypted repositories.
    Keep,
}

/// Which disks are wanted, and what may be missing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Choice {
    /// Names or ids of the only disks that are wanted; all, if there are none.
    pub only: Vec<String>,
    /// Names or ids of disks that are not.
    pub except: Vec<String>,
    /// Whether disks that can never be backed up are left out.
    pub skip_ineligible: bool,
    /// What becomes of a cloud-init script.
    pub cloud_init: CloudInit,
}

impl Choice {
    /// For each disk, whether it is wanted.
    pub(super) fn apply(&self, disks: &[DiskFacts]) -> Result<Vec<bool>> {
        let mut chosen = vec![self.only.is_empty(); disks.len()];
        for name in &self.only {
            chosen[find(disks, name)?] = true;
        }
        for name in &self.except {
            chosen[find(disks, name)?] = false;
        }
        Ok(chosen)
    }
}

fn find(disks: &[DiskFacts], wanted: &str) -> Result<usize> {
    if let Some(by_id) = disks.iter().position(|disk| disk.id == wanted) {
        return Ok(by_id);
    }
    let mut named = disks.iter().enumerate().filter(|(_, disk)| disk.name == wanted);
    match (named.next(), named.next()) {
        (Some((found, _)), None) => Ok(found),
        (Some(_), Some(_)) => {
            let what = format!("two disks of the VM are named {wanted:?}: give the id");
            Err(Error::new(ErrorKind::Invalid, what))
        }
        (None, _) => {
            let names: Vec<_> = disks.iter().map(|disk| format!("{:?}", disk.name)).collect();
            let what = format!("the VM has no disk {wanted:?}; it has {}", names.join(", "));
            Err(Error::new(ErrorKind::NotFound, what))
        }
    }
}
