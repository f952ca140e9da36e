//! A disk of 64 GiB of which one chunk in a hundred changes.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use backstop::base::limits::CHUNK_BYTES;
use backstop::chunk::is_zero;
use backstop::error::Result;
use backstop::ingest::source::{Extent, ExtentKind, ImageSource};

use crate::limit::{noise, read_chunk};

const DISK_BYTES: u64 = 64 << 30;
/// One chunk in that many changes.
const DIRTY_EVERY: u64 = 100;
const CHUNK: u64 = CHUNK_BYTES as u64;
const DISK_CHUNKS: u64 = DISK_BYTES / CHUNK;
const DIRTY_CHUNKS: u64 = DISK_CHUNKS.div_ceil(DIRTY_EVERY);

/// The chunks that change, in a file; the rest of the disk is they over and over, so that it is
/// soon backed up for the first time.
pub(crate) struct Dirtied {
    path: PathBuf,
    file: Arc<File>,
}

impl Dirtied {
    /// Takes the contents from an image.
    pub(crate) fn new(scratch: &Path, image: &Path) -> Self {
        let path = scratch.join("dirty.raw");
        let mut options = File::options();
        let options = options.read(true).write(true).create_new(true);
        let file = options.open(&path).expect("a file");
        let image = File::open(image).expect("the image");
        let mut buffer = Vec::new();
        let mut copied = 0;
        for index in 0.. {
            read_chunk(&image, index, &mut buffer);
            if copied == DIRTY_CHUNKS || buffer.len() < CHUNK_BYTES {
                break;
            }
            if !is_zero(&buffer) {
                file.write_all_at(&buffer, copied * CHUNK).expect("room");
                copied += 1;
            }
        }
        assert_eq!(copied, DIRTY_CHUNKS, "the image has that many chunks with data");
        Self { path, file: Arc::new(file) }
    }

    /// Where the chunks that change lie, one after the other.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Changes them.
    pub(crate) fn change(&mut self, run: usize) {
        for chunk in 0..DIRTY_CHUNKS {
            let change = [&b"run"[..], &run.to_le_bytes()].concat();
            self.file.write_all_at(&change, chunk * CHUNK + 77).expect("room");
        }
    }

    /// The disk, of which nothing is known.
    pub(crate) fn whole(&self) -> impl ImageSource + 'static {
        Disk { file: Arc::clone(&self.file), knows_changes: false }
    }

    /// The disk, of which is known what changed since.
    pub(crate) fn changed(&self) -> impl ImageSource + 'static {
        Disk { file: Arc::clone(&self.file), knows_changes: true }
    }
}

struct Disk {
    file: Arc<File>,
    knows_changes: bool,
}

impl ImageSource for Disk {
    fn size_bytes(&self) -> u64 {
        DISK_BYTES
    }

    fn extent_at(&self, offset_bytes: u64) -> Result<Extent> {
        let chunk = offset_bytes / CHUNK;
        let (kind, end) = if !self.knows_changes {
            (ExtentKind::Data, DISK_CHUNKS)
        } else if chunk.is_multiple_of(DIRTY_EVERY) {
            (ExtentKind::Data, chunk + 1)
        } else {
            (ExtentKind::Unchanged, chunk.next_multiple_of(DIRTY_EVERY).min(DISK_CHUNKS))
        };
        Ok(Extent { len_bytes: end * CHUNK - offset_bytes, kind })
    }

    fn read_at(&self, offset_bytes: u64, out: &mut [u8]) -> Result<()> {
        let (chunk, within) = (offset_bytes / CHUNK, offset_bytes % CHUNK);
        let place = chunk / DIRTY_EVERY * CHUNK + within;
        self.file.read_exact_at(out, place).expect("the file can be read");
        Ok(())
    }

    fn finish(&self) -> Result<()> {
        Ok(())
    }
}

/// Makes a file of random bytes.
pub(crate) fn write_noise(path: &Path, len: usize) {
    let file = File::create(path).expect("a file");
    for at in (0..len).step_by(CHUNK_BYTES) {
        file.write_all_at(&noise(CHUNK_BYTES.min(len - at)), at as u64).expect("room");
    }
}
