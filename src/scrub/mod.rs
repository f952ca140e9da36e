//! Checks stored data against its names, and says which restore points damage hits.
//!
//! [`scrub`] reads and reports; the only thing that it ever writes is the list of damaged copies
//! under `damaged/`, which makes the next backup store them again. It registers no session, so no
//! prune waits for it: what vanishes while it runs is looked for again before it counts as missing.

mod bytes;
mod entries;
mod health;
mod keyless;
mod levels;
mod listing;
mod objects;
mod packs;
mod parity;
mod points;
mod proof;
mod ranges;
mod record;
mod report;
mod run;
mod survey;
mod sweep;

pub use keyless::scrub_without_keys;
pub use levels::ScrubLevel;
pub use proof::EntryProof;
pub use report::{AffectedDisk, Finding, Named, Recording, ScrubCounts, ScrubReport};
pub use run::{ScrubOptions, scrub};
pub use survey::{Copies, Survey, survey};
