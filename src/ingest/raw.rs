//! Raw images: every byte of the file or block device is a byte of the disk.

use std::path::Path;

use crate::base::limits::DISK_BYTES_MAX;
use crate::error::{Error, ErrorKind, Result};
use crate::ingest::file::ImageFile;
use crate::ingest::source::{Extent, ImageSource};

/// A raw image in a regular file or on a block device.
///
/// Holes of a file are found without reading them; of a block device everything counts as data. A
/// change is noticed by the file's length, times and inode; of a block device only by its length.
#[derive(Debug)]
pub struct RawImage {
    file: ImageFile,
}

impl RawImage {
    /// Opens `path`, whatever its bytes look like.
    ///
    /// Fails with [`ErrorKind::Invalid`] if it is neither a regular file nor a block device, and
    /// with [`ErrorKind::Unsupported`] if it is longer than [`DISK_BYTES_MAX`].
    pub fn open(path: &Path) -> Result<Self> {
        Self::from_file(ImageFile::open(path)?)
    }

    pub(super) fn from_file(file: ImageFile) -> Result<Self> {
        check_disk_size(file.len_bytes(), file.path())?;
        file.advise_sequential();
        Ok(Self { file })
    }

    /// The extent that begins at `offset_bytes` and ends within `limit_bytes`. Both lie in the
    /// image, and the limit is not zero.
    pub(super) fn extent_within(&self, offset_bytes: u64, limit_bytes: u64) -> Result<Extent> {
        self.file.extent_within(offset_bytes, limit_bytes)
    }
}

impl ImageSource for RawImage {
    fn size_bytes(&self) -> u64 {
        self.file.len_bytes()
    }

    fn extent_at(&self, offset_bytes: u64) -> Result<Extent> {
        check_range(offset_bytes, 1, self.size_bytes(), self.file.path())?;
        self.extent_within(offset_bytes, self.size_bytes() - offset_bytes)
    }

    fn read_at(&self, offset_bytes: u64, out: &mut [u8]) -> Result<()> {
        check_range(offset_bytes, out.len() as u64, self.size_bytes(), self.file.path())?;
        self.file.read_exact_at(offset_bytes, out)
    }

    fn finish(&self) -> Result<()> {
        self.file.check_unchanged()
    }
}

/// Refuses a disk that no restore point can hold.
pub(super) fn check_disk_size(size_bytes: u64, path: &Path) -> Result<()> {
    if size_bytes <= DISK_BYTES_MAX {
        return Ok(());
    }
    let most = DISK_BYTES_MAX >> 40;
    let what = format!("a disk of {size_bytes} bytes is larger than the limit of {most} TiB");
    Err(Error::new(ErrorKind::Unsupported, what).at(path))
}

/// Refuses to look beyond the end of a disk, instead of making up what stands there.
pub(super) fn check_range(offset: u64, len: u64, size: u64, path: &Path) -> Result<()> {
    if offset.checked_add(len).is_some_and(|end| end <= size) {
        return Ok(());
    }
    let what = format!("{len} bytes were asked for beyond the end of the disk of {size} bytes");
    Err(Error::new(ErrorKind::Source, what).at(path).at_byte(offset))
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::os::unix::fs::FileExt;

    use super::*;
    use crate::ingest::source::ExtentKind;

    const HOLE: u64 = 4 << 20;

    /// 1 MiB of data, a hole, 1 MiB and one byte of data.
    fn sparse_image() -> (tempfile::NamedTempFile, RawImage) {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().write_all_at(&[1; 1 << 20], 0).unwrap();
        file.as_file().write_all_at(&[2; (1 << 20) + 1], (1 << 20) + HOLE).unwrap();
        let image = RawImage::open(file.path()).unwrap();
        (file, image)
    }

    #[test]
    fn holes_are_zero_and_the_rest_is_data() {
        let (_file, image) = sparse_image();
        assert_eq!(image.size_bytes(), (2 << 20) + HOLE + 1);
        let data = Extent { len_bytes: 1 << 20, kind: ExtentKind::Data };
        assert_eq!(image.extent_at(0).unwrap(), data);
        let hole = Extent { len_bytes: HOLE, kind: ExtentKind::Zero };
        assert_eq!(image.extent_at(1 << 20).unwrap(), hole);
        let last = Extent { len_bytes: 1, kind: ExtentKind::Data };
        assert_eq!(image.extent_at(image.size_bytes() - 1).unwrap(), last);
    }

    #[test]
    fn a_hole_at_the_end_is_zero_up_to_the_end() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(12_345).unwrap();
        let image = RawImage::open(file.path()).unwrap();
        let hole = Extent { len_bytes: 12_340, kind: ExtentKind::Zero };
        assert_eq!(image.extent_at(5).unwrap(), hole);
    }

    #[test]
    fn nothing_is_read_beyond_the_end() {
        let (_file, image) = sparse_image();
        let size = image.size_bytes();
        image.read_at(size - 3, &mut [0; 3]).unwrap();
        for (offset, len) in [(size - 3, 4), (size, 1), (u64::MAX, 2)] {
            let error = image.read_at(offset, &mut vec![0; len]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Source, "{error}");
        }
        assert_eq!(image.extent_at(size).unwrap_err().kind(), ErrorKind::Source);
    }

    #[test]
    fn an_image_that_ends_early_says_where() {
        let (file, image) = sparse_image();
        file.as_file().set_len(1000).unwrap();
        let error = image.read_at(990, &mut [0; 20]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Source);
        let place = format!("the image ends early in {} at byte 1000", file.path().display());
        assert_eq!(error.to_string(), place);
    }

    #[test]
    fn an_image_that_was_left_alone_finishes() {
        let (_file, image) = sparse_image();
        image.read_at(0, &mut [0; 4096]).unwrap();
        image.finish().unwrap();
    }

    #[test]
    fn a_write_that_keeps_the_length_is_noticed_at_the_end() {
        let (file, image) = sparse_image();
        // File times advance in ticks of the kernel; a change within the tick of the opening is
        // beyond what they can show.
        std::thread::sleep(std::time::Duration::from_millis(50));
        let writer = OpenOptions::new().write(true).open(file.path()).unwrap();
        writer.write_all_at(&[9], 77).unwrap();
        let error = image.finish().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Source);
        assert!(error.to_string().starts_with("the image changed while it was read in "));
    }

    #[test]
    fn what_is_neither_a_file_nor_a_block_device_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        let null = Path::new("/dev/null");
        let wrong = [(dir.path(), "directory"), (&pipe, "stream"), (null, "character device")];
        for (path, word) in wrong {
            let error = RawImage::open(path).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(error.to_string().contains(word), "{error}");
        }
    }

    #[test]
    fn a_disk_larger_than_any_restore_point_is_refused() {
        let path = Path::new("huge.raw");
        check_disk_size(DISK_BYTES_MAX, path).unwrap();
        let error = check_disk_size(DISK_BYTES_MAX + 1, path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
    }
}
