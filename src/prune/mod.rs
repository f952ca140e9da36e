//! Dropping restore points, and giving back what only they needed.
//!
//! [`retention`] decides which restore points a policy keeps; [`forget`] drops them, softly, with a
//! tombstone each; [`prune`] deletes what no restore point needs any more. Nothing here reads the
//! clock to decide.

pub mod forget;
pub mod retention;

mod census;
mod condemn;
mod copy;
mod mark;
mod plan;
mod report;
mod room;
mod roots;
mod run;
mod survey;
mod sweep;
mod wait;
mod walk;

pub use report::{PruneOptions, PruneReport};
pub use run::prune;
