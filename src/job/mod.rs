//! One whole run, from the first look at the engine to the last thing taken back.
//!
//! | part | does |
//! |---|---|
//! | [`backup_vm`] | a VM of the engine becomes a restore point |
//! | [`doctor`] | whether this machine and the repository are fit for work |
//! | [`journal`] | what a run creates on the engine, written down |
//! | [`leftovers`] | what killed runs have left on the engine, and ending it |

pub mod backup_vm;
pub mod doctor;
pub mod journal;
pub mod leftovers;
