//! A disk of the tree as blocks.

use std::sync::Arc;

use crate::attach::nbd::BlockView;
use crate::error::{Error, ErrorKind, Result};
use crate::format::commit::PointRecord;
use crate::vfs::{Access, Extent, HandleId, Ino, ReadPiece, Tree};

/// Opens a disk for one connection after the other, and keeps it open meanwhile.
pub(super) struct DiskOpener {
    disk: OpenDisk,
    ino: Ino,
    size_bytes: u64,
    access: Access,
}

/// An open disk, closed when it is dropped.
struct OpenDisk {
    tree: Arc<Tree>,
    handle: HandleId,
}

impl DiskOpener {
    /// [`ErrorKind::NotFound`] if the restore point has no disk of that name.
    pub(super) fn new(
        tree: &Arc<Tree>,
        point: &PointRecord,
        name: &str,
        access: Access,
    ) -> Result<Self> {
        let record = point.disks.iter().find(|disk| disk.name == name).ok_or_else(|| {
            Error::new(ErrorKind::NotFound, format!("the restore point has no disk {name:?}"))
        })?;
        let ino = tree.disk(point.id, name)?;
        let disk = OpenDisk::open(tree, ino, access)?;
        Ok(Self { disk, ino, size_bytes: record.size_bytes, access })
    }

    pub(super) fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Opens it once more. Readers are told apart by what they open.
    pub(super) fn open(&self) -> Result<Box<dyn BlockView>> {
        Ok(Box::new(OpenDisk::open(&self.disk.tree, self.ino, self.access)?))
    }
}

impl OpenDisk {
    fn open(tree: &Arc<Tree>, ino: Ino, access: Access) -> Result<Self> {
        let handle = tree.open(ino, access)?;
        Ok(Self { tree: Arc::clone(tree), handle })
    }
}

impl Drop for OpenDisk {
    fn drop(&mut self) {
        self.tree.close(self.handle);
    }
}

impl BlockView for OpenDisk {
    fn read(&self, offset: u64, len: usize, f: &mut dyn FnMut(&[ReadPiece<'_>])) -> Result<()> {
        self.tree.read_pieces(self.handle, offset, len, f)
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.tree.write(self.handle, offset, bytes)
    }

    fn zero(&self, offset: u64, len: u64) -> Result<()> {
        self.tree.zero(self.handle, offset, len)
    }

    fn flush(&self) -> Result<()> {
        self.tree.flush(self.handle)
    }

    fn extent(&self, offset: u64, end: u64) -> Result<Option<Extent>> {
        self.tree.extent(self.handle, offset, end)
    }
}

/// A line that says which disk this is.
pub(super) fn describe(point: &PointRecord, name: &str) -> String {
    format!("disk {name:?} of VM {:?}, restore point {}", point.vm, point.time)
}
