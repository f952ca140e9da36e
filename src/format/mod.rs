//! Bytes to values and back, for every object of a repository. Pure: no I/O, no paths, no clock.

pub mod catalogue;
pub mod codec;
pub mod commit;
pub mod config;
pub mod engine;
pub mod entry;
pub mod envelope;
pub mod epoch;
pub mod journal;
pub mod key_slot;
pub mod layout;
pub mod lists;
pub mod location;
pub mod mapnode;
pub mod pack;
pub mod parity;
pub mod sealed;
pub mod segment;
pub mod session;
pub mod vm_config;
