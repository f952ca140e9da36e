//! A disk of the engine as the target of a restore, and the proof that it holds what was sent.

use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::ovirt::transfer::{ImageClient, ImageDigest, TransferSink};
use crate::restore::ImageSink;

/// Uploads an image to a disk that may be somewhat longer, and keeps count of what the disk must
/// hold in the end.
pub struct DigestedSink {
    sink: TransferSink,
    digest: Arc<ImageDigest>,
    image_bytes: u64,
    disk_bytes: u64,
}

impl DigestedSink {
    /// An image of `image_bytes` bytes, to a disk of `disk_bytes`.
    pub fn new(client: ImageClient, image_bytes: u64, disk_bytes: u64) -> Result<Self> {
        let digest = Arc::new(ImageDigest::new(disk_bytes));
        Ok(Self { sink: TransferSink::new(client, disk_bytes)?, digest, image_bytes, disk_bytes })
    }

    /// What the disk must hold, complete after [`ImageSink::finish`].
    #[must_use]
    pub fn digest(&self) -> Arc<ImageDigest> {
        Arc::clone(&self.digest)
    }
}

impl ImageSink for DigestedSink {
    fn write_at(&self, offset_bytes: u64, bytes: &[u8]) -> Result<()> {
        self.digest.data(offset_bytes, bytes)?;
        self.sink.write_at(offset_bytes, bytes)
    }

    fn zero(&self, offset_bytes: u64, len_bytes: u64) -> Result<()> {
        self.digest.zero(offset_bytes, offset_bytes + len_bytes)?;
        self.sink.zero(offset_bytes, len_bytes)
    }

    fn finish(&self) -> Result<()> {
        self.sink.zero(self.image_bytes, self.disk_bytes - self.image_bytes)?;
        self.sink.finish()
    }
}

/// Has the host compute the checksum of what it holds, and compares. False if it is too old to
/// compute any. To be asked for after everything was flushed and before the transfer ends.
pub fn verify(client: &ImageClient, digest: &ImageDigest, disk_bytes: u64) -> Result<bool> {
    if !client.abilities().can("checksum") {
        return Ok(false);
    }
    let held = client.checksum(ImageDigest::ALGORITHM, ImageDigest::BLOCK_BYTES, disk_bytes)?;
    match held == digest.finish() {
        true => Ok(true),
        false => {
            let what = "the host does not hold what was sent: its checksum of the disk is another";
            Err(Error::new(ErrorKind::Remote, what))
        }
    }
}
