//! A disk or partition of this machine.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::base::limits::CHUNK_BYTES;
use crate::error::{Error, ErrorKind, IoContext, Result};
use crate::restore::sink::ImageSink;
use crate::restore::sys::{self, ZeroMethod};
use crate::store::writeback::Writeback;

/// A multiple of every block length in use: only whole blocks can be zeroed by the device.
const BLOCK_BYTES: u64 = 4096;
/// The ways to zero, the cheapest first. After the last one come written zeros.
const METHODS: [ZeroMethod; 2] = [ZeroMethod::Discard, ZeroMethod::ZeroOut];

/// A block device that is being restored to. What it holds beyond the end of the disk is left as
/// it is.
#[derive(Debug)]
pub struct BlockDevice {
    device: File,
    path: PathBuf,
    writeback: Writeback,
    /// The first of [`METHODS`] that the device has not refused yet.
    method: AtomicUsize,
}

impl BlockDevice {
    /// Opens a device for a disk of `size_bytes` bytes. Writes nothing yet.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::AlreadyExists`] unless `force` is set: whatever is on a device is overwritten.
    /// [`ErrorKind::Invalid`] if it is too small or no block device, [`ErrorKind::Busy`] if it is
    /// mounted or otherwise in use.
    pub fn open(path: impl Into<PathBuf>, size_bytes: u64, force: bool) -> Result<Self> {
        let path = path.into();
        if !force {
            let what = "a restore would overwrite the block device";
            return Err(Error::new(ErrorKind::AlreadyExists, what).at(path));
        }
        let mut device = open_exclusive(&path)?;
        let about = device.metadata().context("cannot inspect the device", &path)?;
        if !about.file_type().is_block_device() {
            return Err(Error::new(ErrorKind::Invalid, "this is no block device").at(path));
        }
        let device_bytes = device.seek(SeekFrom::End(0));
        let device_bytes = device_bytes.context("cannot measure the device", &path)?;
        if device_bytes < size_bytes {
            let what = format!(
                "the device has {device_bytes} bytes, too few for the {size_bytes} of the disk"
            );
            return Err(Error::new(ErrorKind::Invalid, what).at(path));
        }
        let writeback = Writeback::default();
        Ok(Self { device, path, writeback, method: AtomicUsize::new(0) })
    }

    fn zero_blocks(&self, offset_bytes: u64, len_bytes: u64) -> Result<()> {
        loop {
            let number = self.method.load(Ordering::Relaxed);
            let Some(method) = METHODS.get(number) else {
                return self.write_zeros(offset_bytes, len_bytes);
            };
            match sys::zero_range(&self.device, *method, offset_bytes, len_bytes) {
                Err(error) if is_refusal(&error) => {
                    self.method.fetch_max(number + 1, Ordering::Relaxed);
                }
                zeroed => return zeroed.context("cannot zero the device", &self.path),
            }
        }
    }

    fn write_zeros(&self, offset_bytes: u64, len_bytes: u64) -> Result<()> {
        let zeros = vec![0; CHUNK_BYTES.min(len_bytes as usize)];
        let mut done = 0;
        while done < len_bytes {
            let part = &zeros[..zeros.len().min((len_bytes - done) as usize)];
            self.write_at(offset_bytes + done, part)?;
            done += part.len() as u64;
        }
        Ok(())
    }
}

impl ImageSink for BlockDevice {
    fn write_at(&self, offset_bytes: u64, bytes: &[u8]) -> Result<()> {
        let written = self.device.write_all_at(bytes, offset_bytes);
        written.context("cannot write to the device", &self.path)?;
        self.writeback.wrote(&self.device, bytes.len());
        Ok(())
    }

    fn zero(&self, offset_bytes: u64, len_bytes: u64) -> Result<()> {
        let end = offset_bytes + len_bytes;
        let first = offset_bytes.next_multiple_of(BLOCK_BYTES).min(end);
        let last = (end / BLOCK_BYTES * BLOCK_BYTES).max(first);
        self.write_zeros(offset_bytes, first - offset_bytes)?;
        if last > first {
            self.zero_blocks(first, last - first)?;
        }
        self.write_zeros(last, end - last)
    }

    fn finish(&self) -> Result<()> {
        self.device.sync_all().context("cannot make the device durable", &self.path)?;
        self.writeback.synced(&self.device);
        Ok(())
    }
}

/// Opens the device unless anybody else uses it: for a block device that is what the flag means.
fn open_exclusive(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    let options = options.write(true).custom_flags(libc::O_EXCL | libc::O_NONBLOCK);
    match options.open(path) {
        Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
            let what = "the device is mounted or otherwise in use";
            Err(Error::new(ErrorKind::Busy, what).at(path).because(error))
        }
        opened => opened.context("cannot open the device", path),
    }
}

fn is_refusal(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::ENOSYS | libc::EINVAL))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sink(device: File, method: usize) -> BlockDevice {
        let (path, writeback) = (PathBuf::from("device"), Writeback::default());
        BlockDevice { device, path, writeback, method: AtomicUsize::new(method) }
    }

    /// A file stands in for the device: it takes the same calls.
    fn device(method: usize, bytes: &[u8]) -> BlockDevice {
        let device = tempfile::tempfile().unwrap();
        device.write_all_at(bytes, 0).unwrap();
        sink(device, method)
    }

    #[test]
    fn every_way_to_zero_zeroes_the_range_and_nothing_beside_it() {
        let old = vec![7; 3 * CHUNK_BYTES];
        for method in 0..=METHODS.len() {
            for (start, end) in [(0, 0), (1, 2), (4095, 8193), (8192, 12288), (5, 2 * CHUNK_BYTES)]
            {
                let sink = device(method, &old);
                sink.zero(start as u64, (end - start) as u64).unwrap();
                let mut found = vec![0; old.len()];
                sink.device.read_exact_at(&mut found, 0).unwrap();
                let mut expected = old.clone();
                expected[start..end].fill(0);
                assert!(found == expected, "method {method}, {start}..{end}");
            }
        }
    }

    #[test]
    fn a_device_that_refuses_one_way_is_asked_for_the_next_and_not_again() {
        // A pipe can be zeroed in no way at all.
        let (_reader, writer) = io::pipe().unwrap();
        let device = File::from(std::os::fd::OwnedFd::from(writer));
        let sink = sink(device, 0);
        assert!(sink.zero(0, BLOCK_BYTES).is_err());
        assert!(is_refusal(&io::Error::from_raw_os_error(libc::EOPNOTSUPP)));
        assert!(!is_refusal(&io::Error::from_raw_os_error(libc::EIO)));
    }

    #[test]
    fn what_is_no_block_device_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let open = |force| BlockDevice::open(file.path(), 1, force).unwrap_err().kind();
        assert_eq!(open(true), ErrorKind::Invalid);
        assert_eq!(open(false), ErrorKind::AlreadyExists);
    }
}
