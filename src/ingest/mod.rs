//! Disks in: sources, and the pipeline that turns them into chunks and disk maps.
//!
//! [`open`] decides what kind of image a file is; [`raw`], [`qcow2`] and [`stream`] read it behind
//! the traits of [`source`].

mod file;
mod image_format;
pub mod open;
pub mod qcow2;
pub mod raw;
pub mod source;
pub mod stream;
mod sys;
