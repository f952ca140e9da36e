//! qcow2 images, versions 2 and 3, read only.
//!
//! A file says where its tables are, a table says where a cluster is, a cluster may be compressed
//! or left to another file: each of these numbers may be a lie, so each is checked before it is
//! used, and nothing is allocated by its word. What is read:
//!
//! | part | does |
//! |---|---|
//! | `header` | the fixed fields, pure |
//! | `backing` | the name and format of a backing file |
//! | `chain` | opens the files behind an image |
//! | `entry` | entries of tables, pure |
//! | `tables` | finds the entry of an offset, with a small cache |
//! | `unpack`, `unpacked` | compressed clusters, and the last few of them |
//! | `layer` | one file: reads and extents |
//!
//! Reference counts, internal snapshots and bitmaps are never looked at: the active L1 table alone
//! says what the disk holds. So an image that was not closed properly can be read.

mod backing;
mod chain;
mod entry;
mod header;
mod layer;
mod tables;
mod unpack;
mod unpacked;

use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::ingest::file::ImageFile;
use crate::ingest::open::Backing;
use crate::ingest::qcow2::chain::Chain;
use crate::ingest::raw::check_range;
use crate::ingest::source::{Extent, ImageSource};

/// A qcow2 image with the files behind it.
///
/// Compressed clusters (zlib, zstd), zero clusters and extended L2 entries are read. Encrypted
/// images, external data files and features that are not known here are
/// [`crate::error::ErrorKind::Unsupported`]; damage is [`crate::error::ErrorKind::Source`], with
/// the file and the offset in it.
#[derive(Debug)]
pub struct Qcow2Image {
    chain: Chain,
}

impl Qcow2Image {
    /// Opens the qcow2 image at `path`, whatever its name.
    ///
    /// Under [`Backing::Refuse`] an image with a backing file is
    /// [`crate::error::ErrorKind::Invalid`]. Under [`Backing::Follow`] a relative name is seen from
    /// the directory of the image that says it, and the format is what that image says; old images
    /// say nothing, and then the name decides as it does for any image.
    pub fn open(path: &Path, backing: Backing) -> Result<Self> {
        Self::from_file(ImageFile::open(path)?, backing)
    }

    pub(super) fn from_file(file: ImageFile, backing: Backing) -> Result<Self> {
        Ok(Self { chain: Chain::open(file, backing)? })
    }

    /// The files behind the image, nearest first.
    #[must_use]
    pub fn backing_files(&self) -> Vec<PathBuf> {
        self.chain.backing_files.clone()
    }
}

impl ImageSource for Qcow2Image {
    fn size_bytes(&self) -> u64 {
        self.chain.top.size_bytes()
    }

    fn extent_at(&self, offset_bytes: u64) -> Result<Extent> {
        check_range(offset_bytes, 1, self.size_bytes(), self.chain.top.path())?;
        self.chain.top.extent_within(offset_bytes, self.size_bytes() - offset_bytes)
    }

    fn read_at(&self, offset_bytes: u64, out: &mut [u8]) -> Result<()> {
        let len = out.len() as u64;
        check_range(offset_bytes, len, self.size_bytes(), self.chain.top.path())?;
        self.chain.top.read(offset_bytes, out)
    }

    fn finish(&self) -> Result<()> {
        self.chain.top.check_unchanged()
    }
}
