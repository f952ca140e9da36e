//! What a backup reads from: an image of random access, or a stream.

use crate::error::Result;

/// What a part of an image is known to hold before it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExtentKind {
    /// Must be read.
    Data,
    /// All zero; need not be read.
    Zero,
    /// As the parent disk holds it; need not be read where there is one that reaches so far.
    Unchanged,
}

/// A part of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Length in bytes, counted from the offset that was asked for; never zero.
    pub len_bytes: u64,
    /// What it holds.
    pub kind: ExtentKind,
}

/// An image that can be read anywhere, by several threads at once.
pub trait ImageSource: Send + Sync {
    /// Length of the disk, in bytes.
    fn size_bytes(&self) -> u64;

    /// The extent that begins at `offset_bytes`, which is below [`ImageSource::size_bytes`]; it
    /// ends there at the latest.
    ///
    /// An implementation says [`ExtentKind::Zero`] only of what it knows to read as zero, and
    /// [`ExtentKind::Unchanged`] only of what it knows to read as it did when the parent disk was
    /// backed up.
    fn extent_at(&self, offset_bytes: u64) -> Result<Extent>;

    /// Reads exactly `out.len()` bytes, or fails with [`crate::error::ErrorKind::Source`].
    fn read_at(&self, offset_bytes: u64, out: &mut [u8]) -> Result<()>;

    /// How many threads should read beside those that work on what was read: where a read waits
    /// for a network, say. None for files, which the workers read by themselves.
    fn readers(&self) -> usize {
        0
    }

    /// Begins to read `len_bytes` bytes from `offset_bytes` on, in order. Only asked for where
    /// there are readers; without it, they read piece by piece.
    fn open_run(&self, _offset_bytes: u64, _len_bytes: u64) -> Option<Box<dyn RunReader + '_>> {
        None
    }

    /// Called once after the last read: fails if the image is not what it was when it was opened.
    fn finish(&self) -> Result<()>;
}

/// A run of bytes of an image, read in order.
pub trait RunReader {
    /// Fills `out` with the next bytes of the run, or fails as [`ImageSource::read_at`] does.
    fn read_exact(&mut self, out: &mut [u8]) -> Result<()>;
}

/// An image that arrives in order and whose length shows only at its end.
pub trait ImageStream: Send {
    /// Reads into `out` until it is full or the image ends; returns the number of bytes read.
    fn read(&mut self, out: &mut [u8]) -> Result<usize>;
}
