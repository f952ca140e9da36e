//! What a restore writes to.

use crate::error::Result;

/// A place that takes the bytes of a disk.
///
/// Every byte of the disk is given exactly once, by [`ImageSink::write_at`] or
/// [`ImageSink::zero`], from several threads at once. A sink that is dropped before
/// [`ImageSink::finish`] succeeded makes sure that nobody takes what it holds for a whole disk,
/// where it can.
pub trait ImageSink: Send + Sync {
    /// Makes the bytes at `offset_bytes` of the disk read as `bytes`.
    fn write_at(&self, offset_bytes: u64, bytes: &[u8]) -> Result<()>;

    /// Makes `len_bytes` bytes at `offset_bytes` of the disk read as zero.
    fn zero(&self, offset_bytes: u64, len_bytes: u64) -> Result<()>;

    /// Called once, after everything was given: returns when all of it is durable.
    fn finish(&self) -> Result<()>;

    /// Whether the bytes must come in the order of the disk, one call after the other.
    fn needs_order(&self) -> bool {
        false
    }
}
