//! One disk of a restore point, at once: as a loop device, or over NBD.
//!
//! A loop device lies over a private mount, served by a process of its own. `registry` is what such
//! processes write down, `served` their life, `detach` their end.

mod detach;
mod loop_device;
pub mod nbd;
mod registry;
mod served;
mod sys;
mod users;

pub use detach::{clear_dead, detach};
pub use registry::{Attachment, Entry, Facts, Place, Registry};
pub use served::{Subject, attach_loop, nbd_facts};
