//! Disks of a restore point go back to the engine.
//!
//! | step | what | if it stops here |
//! |--:|---|---|
//! | 1 | the VM is found and locked, the session registered | the next session clears it |
//! | 2 | what killed restores have left of this VM is ended | as 1 |
//! | 3 | the new disk is written down, then made | a leftover, for the next run |
//! | 4 | a transfer opens, the image is sent, verified on its way | as 3 |
//! | 5 | the host's checksum of what it holds is compared | as 3 |
//! | 6 | the transfer is finished; the disk is whole | as 3 |
//! | 7 | the VM gets the disk | it has the disk; a note that the next run takes back |
//!
//! Whatever fails before 7 ends the transfer and deletes the disk, also when the end of the run was
//! asked for. The disks that a VM has are never written to.

mod disk;
mod upload;
mod vm;

pub use disk::{DiskToVm, RestoredDisk, restore_disk_to_vm};
pub use upload::{Destination, Uploaded};
pub use vm::{RestoredVm, restore_vm};
