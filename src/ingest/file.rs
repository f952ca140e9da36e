//! A file or block device that holds an image, whatever its format: exact reads, holes, and whether
//! it is still what it was.

use std::fs::{self, File, FileType, Metadata, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, ErrorKind, IoContext, Result};
use crate::ingest::source::{Extent, ExtentKind};
use crate::ingest::sys;
use crate::store::ReadOnce;

/// An open regular file or block device of known length. What is read of it does not stay in the
/// page cache, unless it was there before.
#[derive(Debug)]
pub(super) struct ImageFile {
    file: Arc<File>,
    read_once: ReadOnce,
    path: PathBuf,
    len_bytes: u64,
    opened: Stamp,
}

/// What shows that a file was changed or that two paths lead to one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stamp {
    File { place: Identity, len_bytes: u64, modified: (i64, i64), changed: (i64, i64) },
    Device { place: Identity, len_bytes: u64 },
}

/// Device and inode of a file, or the number of a block device, which may have several inodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Identity {
    /// A regular file.
    File {
        /// The device that its file system is on.
        device: u64,
        /// Its number there.
        inode: u64,
    },
    /// A block device.
    Device {
        /// Its major and minor number.
        number: u64,
    },
}

impl ImageFile {
    /// Opens a regular file or block device to read it; anything else is [`ErrorKind::Invalid`].
    pub(super) fn open(path: &Path) -> Result<Self> {
        // Looked at before it is opened, because opening some devices does something. Opened
        // without blocking, because a pipe might take the file's place in between.
        let found = fs::metadata(path).context("cannot open the image", path)?;
        check_type(found.file_type(), path)?;
        let mut options = OpenOptions::new();
        let options = options.read(true).custom_flags(libc::O_NONBLOCK);
        let file = options.open(path).context("cannot open the image", path)?;
        let opened = stamp(&file, path)?;
        let (file, read_once, len_bytes) =
            (Arc::new(file), ReadOnce::default(), opened.len_bytes());
        Ok(Self { file, read_once, path: path.to_owned(), len_bytes, opened })
    }

    /// The path that it was opened by.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Length in bytes when it was opened.
    pub(super) fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    /// The same for two paths that lead to one file or device.
    pub(super) fn identity(&self) -> Identity {
        match self.opened {
            Stamp::File { place, .. } | Stamp::Device { place, .. } => place,
        }
    }

    /// Tells the kernel that it will be read from its beginning to its end.
    pub(super) fn advise_sequential(&self) {
        sys::advise_sequential(&self.file);
    }

    /// Whether its first bytes are `magic`.
    pub(super) fn begins_with(&self, magic: &[u8; 4]) -> Result<bool> {
        let mut first = [0; 4];
        if self.len_bytes < first.len() as u64 {
            return Ok(false);
        }
        self.read_exact_at(0, &mut first)?;
        Ok(first == *magic)
    }

    /// Reads exactly `out.len()` bytes. Every failure is [`ErrorKind::Source`]; a file that ends
    /// before that names the offset where it ends.
    pub(super) fn read_exact_at(&self, offset_bytes: u64, out: &mut [u8]) -> Result<()> {
        self.read_once.before_reading(&self.file, offset_bytes, out.len());
        let mut done = 0;
        while done < out.len() {
            let at = offset_bytes.saturating_add(done as u64);
            match self.file.read_at(&mut out[done..], at) {
                Ok(0) => return Err(self.damaged("the image ends early", at)),
                Ok(read) => done += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.damaged("cannot read the image", at).because(error)),
            }
        }
        Ok(())
    }

    /// The extent that begins at `offset_bytes` and ends within `limit_bytes`, which is not zero
    /// and does not reach beyond the file.
    ///
    /// Holes are what the file system says; where it knows none, and on devices, all is data.
    pub(super) fn extent_within(&self, offset_bytes: u64, limit_bytes: u64) -> Result<Extent> {
        let all_data = Extent { len_bytes: limit_bytes, kind: ExtentKind::Data };
        if matches!(self.opened, Stamp::Device { .. }) {
            return Ok(all_data);
        }
        match self.hole_or_data(offset_bytes, limit_bytes) {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(all_data),
            Err(error) => {
                let what = "cannot ask for the holes of the image";
                Err(self.damaged(what, offset_bytes).because(error))
            }
            Ok(extent) => Ok(extent),
        }
    }

    fn hole_or_data(&self, offset: u64, limit: u64) -> io::Result<Extent> {
        let hole = match sys::next_data(&self.file, offset)? {
            None => limit,
            Some(data) => data.saturating_sub(offset).min(limit),
        };
        if hole > 0 {
            return Ok(Extent { len_bytes: hole, kind: ExtentKind::Zero });
        }
        // Where the file was cut short in the meantime the hole may begin right here; the read
        // that follows then says so.
        let data = sys::next_hole(&self.file, offset)?.saturating_sub(offset).clamp(1, limit);
        Ok(Extent { len_bytes: data, kind: ExtentKind::Data })
    }

    /// Fails with [`ErrorKind::Source`] if the file or device is not what it was when it was
    /// opened. Of a device only the length can be known.
    pub(super) fn check_unchanged(&self) -> Result<()> {
        if stamp(&self.file, &self.path)? == self.opened {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Source, "the image changed while it was read").at(&self.path))
    }

    /// An error about the bytes at an offset of this file.
    pub(super) fn damaged(&self, what: impl Into<String>, offset_bytes: u64) -> Error {
        Error::new(ErrorKind::Source, what.into()).at(&self.path).at_byte(offset_bytes)
    }
}

impl Stamp {
    fn len_bytes(&self) -> u64 {
        match *self {
            Self::File { len_bytes, .. } | Self::Device { len_bytes, .. } => len_bytes,
        }
    }
}

fn stamp(file: &File, path: &Path) -> Result<Stamp> {
    let found = file.metadata().context("cannot inspect the image", path)?;
    check_type(found.file_type(), path)?;
    if found.is_file() {
        return Ok(file_stamp(&found));
    }
    // The metadata of a device say nothing of its length; its end does.
    let mut device = file;
    let len_bytes = device.seek(SeekFrom::End(0)).context("cannot measure the device", path)?;
    Ok(Stamp::Device { place: Identity::Device { number: found.rdev() }, len_bytes })
}

fn file_stamp(found: &Metadata) -> Stamp {
    Stamp::File {
        place: Identity::File { device: found.dev(), inode: found.ino() },
        len_bytes: found.len(),
        modified: (found.mtime(), found.mtime_nsec()),
        changed: (found.ctime(), found.ctime_nsec()),
    }
}

fn check_type(found: FileType, path: &Path) -> Result<()> {
    if found.is_file() || found.is_block_device() {
        return Ok(());
    }
    let is = if found.is_dir() {
        "is a directory"
    } else if found.is_fifo() {
        "is a pipe, which can only be read as a stream"
    } else if found.is_char_device() {
        "is a character device"
    } else {
        "is neither a file nor a device"
    };
    let what = format!("an image is a regular file or a block device; {} {is}", path.display());
    Err(Error::new(ErrorKind::Invalid, what))
}
