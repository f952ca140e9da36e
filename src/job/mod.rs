//! One whole run, from the first look at the engine to the last thing taken back.
//!
//! | part | does |
//! |---|---|
//! | [`backup_vm`] | a VM of the engine becomes a restore point |
//! | [`restore`] | disks of a restore point go back to the engine |
//! | [`doctor`] | whether this machine and the repository are fit for work |
//! | [`journal`] | what a run creates on the engine, written down |
//! | [`leftovers`] | what killed runs have left on the engine, and ending it |
//! | [`transfer`] | how the bytes of disks travel |

pub mod backup_vm;
pub mod doctor;
pub mod journal;
pub mod leftovers;
pub mod restore;
pub mod transfer;
