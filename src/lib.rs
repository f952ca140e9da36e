//! Backstop: a deduplicated backup repository for the disks of oVirt, RHV and OLVM virtual
//! machines.
//!
//! The modules, lowest layer first; each uses only itself and the layers above it in this list:
//! [`base`], [`error`], [`mod@format`] and [`monitor`], [`store`], `chunk` `pack` `index` `point`
//! `diskmap`, `repo`, [`ingest`] `restore` `scrub` `vfs`, `fuse` [`ovirt`], `cli`.
//! `docs/architecture.md` is the map.

pub mod base;
pub mod chunk;
pub mod cli;
pub mod diskmap;
pub mod error;
pub mod format;
pub mod fuse;
pub mod index;
pub mod ingest;
pub mod monitor;
pub mod ovirt;
pub mod pack;
pub mod point;
pub mod repo;
pub mod restore;
pub mod scrub;
pub mod store;
pub mod vfs;
