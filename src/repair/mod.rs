//! Heals a repository, without ever deleting: what is replaced goes to the quarantine.
//!
//! [`repair`] looks as a scrub does and says what it would do; told to, it does that. Every step
//! leaves a repository in which at least as much can be read as before, so a repair may be killed
//! at any moment and run again. `docs/durability.md` has the order and the reasons.

mod config;
mod keys;
mod lists;
mod nodes;
mod parity;
mod report;
mod run;
mod salvage;

pub use report::{Action, RepairReport};
pub use run::{RepairOptions, repair};
