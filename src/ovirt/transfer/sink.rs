//! A disk of the engine as the target of a restore.

use crate::error::{Error, ErrorKind, Result};
use crate::ovirt::transfer::client::ImageClient;
use crate::ovirt::wire::ImageChange;
use crate::restore::ImageSink;

/// Zeros for daemons that cannot make them by themselves.
static ZEROS: [u8; 1 << 20] = [0; 1 << 20];

/// A disk that is uploaded.
///
/// An export that dies may forget what it had taken and not yet made durable, and nobody would be
/// told; the checksum of the image, asked for after [`ImageSink::finish`], is what proves it.
pub struct TransferSink {
    client: ImageClient,
    size_bytes: u64,
}

impl TransferSink {
    /// A disk of `size_bytes` bytes.
    pub fn new(client: ImageClient, size_bytes: u64) -> Result<Self> {
        client.widen(client.abilities().max_writers);
        Ok(Self { client, size_bytes })
    }

    /// The image at its host.
    #[must_use]
    pub fn client(&self) -> &ImageClient {
        &self.client
    }

    fn check(&self, offset_bytes: u64, len_bytes: u64) -> Result<()> {
        match offset_bytes.checked_add(len_bytes) {
            Some(end) if end <= self.size_bytes => Ok(()),
            _ => Err(Error::new(ErrorKind::Invalid, "the disk ends before").at_byte(offset_bytes)),
        }
    }
}

fn unwritten(error: Error, place: u64) -> Error {
    match error.kind() {
        ErrorKind::Cancelled => error,
        kind => Error::new(kind, "an image cannot be written").at_byte(place).because(error),
    }
}

impl ImageSink for TransferSink {
    fn write_at(&self, offset_bytes: u64, bytes: &[u8]) -> Result<()> {
        self.check(offset_bytes, bytes.len() as u64)?;
        match bytes.is_empty() {
            true => Ok(()),
            false => self.client.put(offset_bytes, bytes),
        }
        .map_err(|error| unwritten(error, offset_bytes))
    }

    fn zero(&self, offset_bytes: u64, len_bytes: u64) -> Result<()> {
        self.check(offset_bytes, len_bytes)?;
        if len_bytes > 0 && self.client.abilities().can("zero") {
            let zero = ImageChange::Zero { offset: offset_bytes, size: len_bytes, flush: false };
            return self.client.patch(zero).map_err(|error| unwritten(error, offset_bytes));
        }
        let mut at = offset_bytes;
        while at < offset_bytes + len_bytes {
            let len = (offset_bytes + len_bytes - at).min(ZEROS.len() as u64);
            self.write_at(at, &ZEROS[..len as usize])?;
            at += len;
        }
        Ok(())
    }

    fn finish(&self) -> Result<()> {
        // Without it, every request was durable when it was answered.
        match self.client.abilities().can("flush") {
            true => self.client.patch(ImageChange::Flush),
            false => Ok(()),
        }
    }
}
