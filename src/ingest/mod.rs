//! Disks in: sources, and the pipeline that turns them into chunks and disk maps.

mod backup;
mod board;
mod feed;
mod pipeline;
pub mod source;

pub use backup::{BackupOptions, DiskInput, Image, back_up};
