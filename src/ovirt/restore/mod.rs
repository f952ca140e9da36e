//! New disks and VMs for what is restored, as the engine sees them: planned, made, checked, taken
//! back.

mod attach;
mod disk;
mod domain;
mod places;
mod plan;
mod sink;
mod vm;

pub use attach::{attach, is_attached};
pub use disk::{DiskPlan, create, discard, ready};
pub use domain::{choose_domain, domains};
pub use places::Places;
pub use plan::{Macs, VmPlan, VmWishes, plan_vm};
pub use sink::{DigestedSink, verify};
pub use vm::{blank, create_vm, release_vm, remove_tagged, set_nics, vm_named};
