//! Disks in: sources, and the pipeline that turns them into chunks and disk maps.
//!
//! [`open`] decides what kind of image a file is; [`raw`], [`qcow2`] and [`stream`] read it behind
//! the traits of [`source`].

mod backup;
mod board;
mod feed;
mod file;
mod image_format;
mod inheritance;
pub mod open;
mod parent;
mod pipeline;
pub mod qcow2;
pub mod raw;
pub mod source;
mod source_feed;
pub mod stream;
mod sys;

pub use backup::{BackupOptions, BackupRun, DiskInput, Image, PointFacts, back_up};
pub use parent::ParentDisk;
