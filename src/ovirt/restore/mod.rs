//! New disks for what is restored, as the engine sees them: made, checked, attached, taken back.

mod attach;
mod disk;
mod domain;
mod sink;

pub use attach::{attach, is_attached};
pub use disk::{DiskPlan, create, discard, ready};
pub use domain::{choose_domain, domains};
pub use sink::{DigestedSink, verify};
