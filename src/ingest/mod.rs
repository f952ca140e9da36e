//! Disks in: sources, and the pipeline that turns them into chunks and disk maps.

pub mod source;
