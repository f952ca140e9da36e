//! An image of the engine as a source of a backup.

use crate::error::{Error, ErrorKind, Result};
use crate::ingest::source::{Extent, ExtentKind, ImageSource, RunReader};
use crate::ovirt::transfer::client::ImageClient;
use crate::ovirt::transfer::extents::{Extents, Kind};
use crate::ovirt::transfer::run::Run;

/// A disk that is downloaded. Nothing that is known to be zero or unchanged is asked for.
pub struct TransferSource {
    client: ImageClient,
    extents: Extents,
    connections: usize,
}

impl TransferSource {
    /// All of a disk.
    pub fn full(client: ImageClient) -> Result<Self> {
        let extents = match client.zero_extents()? {
            Some(extents) => extents,
            None => Extents::unknown(client.size_bytes()?),
        };
        Ok(Self::new(client, extents))
    }

    /// What changed of a disk; nothing if the daemon cannot tell, and all of it is to be read.
    pub fn incremental(client: ImageClient) -> Result<Option<Self>> {
        Ok(client.dirty_extents()?.map(|extents| Self::new(client, extents)))
    }

    fn new(client: ImageClient, extents: Extents) -> Self {
        let connections = client.widen(client.abilities().max_readers);
        Self { client, extents, connections }
    }

    /// The image at its host.
    #[must_use]
    pub fn client(&self) -> &ImageClient {
        &self.client
    }

    /// What is known of the image.
    #[must_use]
    pub fn extents(&self) -> &Extents {
        &self.extents
    }
}

impl ImageSource for TransferSource {
    fn size_bytes(&self) -> u64 {
        self.extents.size_bytes()
    }

    fn extent_at(&self, offset_bytes: u64) -> Result<Extent> {
        let (len_bytes, kind) = self.extents.at(offset_bytes).ok_or_else(|| {
            Error::new(ErrorKind::Invalid, "the image ends before").at_byte(offset_bytes)
        })?;
        let kind = match kind {
            Kind::Data => ExtentKind::Data,
            Kind::Zero => ExtentKind::Zero,
            Kind::Unchanged => ExtentKind::Unchanged,
        };
        Ok(Extent { len_bytes, kind })
    }

    fn read_at(&self, offset_bytes: u64, out: &mut [u8]) -> Result<()> {
        Run::new(&self.client, offset_bytes, out.len() as u64).read_exact(out)
    }

    fn readers(&self) -> usize {
        self.connections
    }

    fn open_run(&self, offset_bytes: u64, len_bytes: u64) -> Option<Box<dyn RunReader + '_>> {
        Some(Box::new(Run::new(&self.client, offset_bytes, len_bytes)))
    }

    fn finish(&self) -> Result<()> {
        // An export shows one moment, whatever happens to the disk.
        Ok(())
    }
}
