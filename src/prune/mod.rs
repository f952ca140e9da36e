//! Dropping restore points, and giving back what only they needed.
//!
//! [`retention`] decides which restore points a policy keeps; [`forget`] drops them, softly, with a
//! tombstone each. Nothing here reads the clock to decide.

pub mod forget;
pub mod retention;

mod walk;
