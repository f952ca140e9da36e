//! A raw image in a file, with holes where the disk is zero.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::chunk::is_zero;
use crate::error::{Error, ErrorKind, IoContext, Result};
use crate::restore::sink::ImageSink;
use crate::store::writeback::Writeback;

/// Zero parts of a chunk that are this long, and aligned so, become holes too. The length of a
/// cluster of the usual image formats: shorter holes scatter the file and save little.
const HOLE_BYTES: usize = 64 << 10;

/// A file that is being restored to. One that is not finished is removed when it is dropped, or
/// left empty if it was there before.
#[derive(Debug)]
pub struct SparseFile {
    file: File,
    path: PathBuf,
    existed: bool,
    writeback: Writeback,
    is_finished: AtomicBool,
}

impl SparseFile {
    /// Makes a file of `size_bytes` bytes that all read as zero, readable by its owner only.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::AlreadyExists`] if there is one and `force` is not set; with `force` its bytes
    /// are lost. [`ErrorKind::Invalid`] if what is there is no regular file.
    pub fn create(path: impl Into<PathBuf>, size_bytes: u64, force: bool) -> Result<Self> {
        let path = path.into();
        let (file, existed) = match open_new(&path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists && force => {
                (open_existing(&path)?, true)
            }
            file => (file?, false),
        };
        let (writeback, is_finished) = (Writeback::default(), AtomicBool::new(false));
        let sink = Self { file, path, existed, writeback, is_finished };
        // To nothing first: what was there before must not show through.
        let sized = sink.file.set_len(0).and_then(|()| sink.file.set_len(size_bytes));
        sized.context("cannot set the length of the file", &sink.path)?;
        Ok(sink)
    }

    /// Removes what is incomplete. Nothing more can be done about a failure to do so.
    fn abandon(&self) {
        if self.existed {
            let _ = self.file.set_len(0);
        } else if self.is_still_at_its_path() {
            let _ = fs::remove_file(&self.path);
        }
    }

    fn is_still_at_its_path(&self) -> bool {
        match (self.file.metadata(), self.path.symlink_metadata()) {
            (Ok(open), Ok(found)) => (open.dev(), open.ino()) == (found.dev(), found.ino()),
            _ => false,
        }
    }
}

impl ImageSink for SparseFile {
    fn write_at(&self, offset_bytes: u64, bytes: &[u8]) -> Result<()> {
        let mut at = 0;
        while at < bytes.len() {
            let end = run_end(bytes, at);
            if !is_zero(&bytes[at..end.min(at + HOLE_BYTES)]) {
                let written = self.file.write_all_at(&bytes[at..end], offset_bytes + at as u64);
                written.context("cannot write to the file", &self.path)?;
                self.writeback.wrote(&self.file, end - at);
            }
            at = end;
        }
        Ok(())
    }

    /// Nothing to do: what was never written is a hole.
    fn zero(&self, _offset_bytes: u64, _len_bytes: u64) -> Result<()> {
        Ok(())
    }

    fn finish(&self) -> Result<()> {
        self.file.sync_all().context("cannot make the file durable", &self.path)?;
        self.writeback.synced(&self.file);
        let parent = match self.path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        let synced = File::open(parent).and_then(|directory| directory.sync_all());
        synced.context("cannot make the directory durable", parent)?;
        self.is_finished.store(true, Ordering::Release);
        Ok(())
    }
}

impl Drop for SparseFile {
    fn drop(&mut self) {
        if !*self.is_finished.get_mut() {
            self.abandon();
        }
    }
}

/// Where the run of blocks that begins at `at` ends: all zero, or none of them zero.
fn run_end(bytes: &[u8], at: usize) -> usize {
    let mut blocks = bytes[at..].chunks(HOLE_BYTES).map(is_zero);
    let first = blocks.next();
    let more = blocks.take_while(|zero| Some(*zero) == first).count();
    (at + (more + 1) * HOLE_BYTES).min(bytes.len())
}

fn open_new(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    let options = options.write(true).create_new(true).mode(0o600);
    options.open(path).context("cannot make the file", path)
}

fn open_existing(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    // Not blocking, because opening a pipe would wait for its reader.
    let options = options.write(true).custom_flags(libc::O_NONBLOCK);
    let file = options.open(path).context("cannot open the file", path)?;
    if !file.metadata().context("cannot inspect the file", path)?.is_file() {
        let what = "a disk is restored to a regular file or a block device, and this is neither";
        return Err(Error::new(ErrorKind::Invalid, what).at(path));
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_never_overwritten_unless_that_is_asked_for() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("disk.raw");
        fs::write(&path, b"precious").unwrap();
        let error = SparseFile::create(&path, 100, false).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        assert_eq!(error.path(), Some(path.as_path()));
        assert_eq!(fs::read(&path).unwrap(), b"precious");
        let sink = SparseFile::create(&path, 100, true).unwrap();
        sink.finish().unwrap();
        drop(sink);
        assert_eq!(fs::read(&path).unwrap(), [0; 100]);
        std::os::unix::fs::symlink("nowhere", temp.path().join("link")).unwrap();
        let error = SparseFile::create(temp.path().join("link"), 1, false).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    }

    #[test]
    fn what_is_not_finished_is_removed_and_a_file_that_was_there_is_left_empty() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("disk.raw");
        drop(SparseFile::create(&path, 100, false).unwrap());
        assert!(!path.exists());
        fs::write(&path, b"old").unwrap();
        let sink = SparseFile::create(&path, 100, true).unwrap();
        sink.write_at(0, &[1; 100]).unwrap();
        drop(sink);
        assert_eq!(fs::read(&path).unwrap(), b"");
        let sink = SparseFile::create(temp.path().join("moved"), 1, false).unwrap();
        fs::rename(temp.path().join("moved"), temp.path().join("kept")).unwrap();
        fs::write(temp.path().join("moved"), b"of somebody else").unwrap();
        drop(sink);
        assert_eq!(fs::read(temp.path().join("moved")).unwrap(), b"of somebody else");
    }

    #[test]
    fn zero_blocks_inside_a_chunk_become_holes() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("disk.raw");
        let mut chunk = vec![0; 10 * HOLE_BYTES + 100];
        chunk[3 * HOLE_BYTES + 5] = 1;
        chunk[4 * HOLE_BYTES..6 * HOLE_BYTES].fill(2);
        *chunk.last_mut().unwrap() = 3;
        let sink = SparseFile::create(&path, chunk.len() as u64 + 7, false).unwrap();
        sink.write_at(7, &chunk).unwrap();
        sink.write_at(0, &[9; 7]).unwrap();
        sink.finish().unwrap();
        drop(sink);
        let expected = [&[9; 7][..], &chunk].concat();
        assert!(fs::read(&path).unwrap() == expected);
        let stored = path.metadata().unwrap().blocks() * 512;
        assert!(stored <= 5 * HOLE_BYTES as u64 + 64 * 1024, "{stored} bytes are stored");
    }

    #[test]
    fn what_is_no_regular_file_is_refused() {
        let temp = tempfile::tempdir().unwrap();
        assert!(SparseFile::create(temp.path(), 1, true).is_err());
        let error = SparseFile::create("/dev/null", 1, true).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }
}
