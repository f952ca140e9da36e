//! Backstop: a deduplicated backup repository for the disks of oVirt, RHV and OLVM virtual
//! machines.
//!
//! The modules, lowest layer first; each uses only itself and the layers above it in this list:
//! [`base`], [`error`], [`mod@format`] and [`monitor`], [`crypto`], [`store`], `chunk` `pack`
//! `index` `point` `diskmap`, `repo`, [`ingest`] `restore` `scrub` `vfs`, `repair`, `fuse`
//! [`ovirt`], [`attach`] [`job`], `cli`.
//! `docs/architecture.md` is the map.
//!
//! ```
//! use std::sync::Arc;
//!
//! use backstop::base::cancel::Cancel;
//! use backstop::chunk::CompressionLevel;
//! use backstop::format::commit::DiskSource;
//! use backstop::ingest::open::{Backing, open_image};
//! use backstop::ingest::{BackupOptions, DiskInput, Image, back_up};
//! use backstop::repo::{Environment, Repository};
//! use backstop::store::DirStore;
//!
//! # let scratch = tempfile::tempdir()?;
//! # let (directory, path) = (scratch.path().join("repository"), scratch.path().join("web.raw"));
//! # std::fs::write(&path, vec![7; 3 << 20])?;
//! let store = Arc::new(DirStore::create(directory)?);
//! let repo = Repository::create(store, Environment::default())?;
//!
//! let opened = open_image(&path, None, Backing::Refuse)?;
//! let source = DiskSource {
//!     format: opened.format.to_string(),
//!     path: path.display().to_string(),
//!     backing_files: Vec::new(),
//! };
//! let disk = DiskInput {
//!     name: "web".to_owned(),
//!     source,
//!     image: Image::Source(opened.source),
//!     parent: None,
//!     engine: None,
//! };
//! let options = BackupOptions {
//!     level: CompressionLevel::default(),
//!     threads: 2,
//!     cancel: Cancel::default(),
//! };
//! let point = back_up(&repo, "web", vec![disk], &options)?;
//! assert_eq!(repo.points()?, [point]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod attach;
pub mod base;
pub mod chunk;
pub mod cli;
pub mod crypto;
pub mod diskmap;
pub mod error;
pub mod format;
pub mod fuse;
pub mod index;
pub mod ingest;
pub mod job;
pub mod monitor;
pub mod ovirt;
pub mod pack;
pub mod point;
pub mod prune;
pub mod repair;
pub mod repo;
pub mod restore;
pub mod scrub;
pub mod store;
pub mod vfs;
