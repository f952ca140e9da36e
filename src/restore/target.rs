//! Where a disk is to go, as a caller says it.

use std::fs;
use std::io::Write;
use std::os::unix::fs::FileTypeExt;
use std::path::PathBuf;

use crate::error::Result;
use crate::restore::block_device::BlockDevice;
use crate::restore::sink::ImageSink;
use crate::restore::sparse_file::SparseFile;
use crate::restore::stream::StreamSink;

/// Where a disk is to go.
pub enum Target {
    /// A block device if there is one of that path, otherwise a file.
    Path(PathBuf),
    /// A stream that takes the disk from its first byte to its last.
    Stream(Box<dyn Write + Send>),
    /// Any other place.
    Sink(Box<dyn ImageSink>),
}

impl Target {
    /// Opens the place for a disk of `size_bytes` bytes. See [`SparseFile::create`] and
    /// [`BlockDevice::open`] for what they refuse.
    pub(super) fn open(self, size_bytes: u64, force: bool) -> Result<Box<dyn ImageSink>> {
        Ok(match self {
            Self::Sink(sink) => sink,
            Self::Stream(out) => Box::new(StreamSink::new(out)),
            Self::Path(path) => {
                let found = fs::metadata(&path);
                if found.is_ok_and(|found| found.file_type().is_block_device()) {
                    Box::new(BlockDevice::open(path, size_bytes, force)?)
                } else {
                    Box::new(SparseFile::create(path, size_bytes, force)?)
                }
            }
        })
    }
}
