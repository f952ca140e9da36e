//! From a path to something that can be read as a disk.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::ingest::file::ImageFile;
use crate::ingest::image_format::settle_format;
use crate::ingest::qcow2::Qcow2Image;
use crate::ingest::raw::RawImage;
use crate::ingest::source::ImageSource;

pub use crate::ingest::image_format::ImageFormat;

/// Whether an image may lead to other files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backing {
    /// An image that has a backing file is refused. The name of a backing file comes out of the
    /// image, so whoever wrote the image could choose which file of this machine is read.
    Refuse,
    /// The files that the image and its backing files name are read.
    Follow,
}

/// An image that is ready to be read.
pub struct OpenedImage {
    /// The disk.
    pub source: Box<dyn ImageSource>,
    /// How it was read.
    pub format: ImageFormat,
    /// The files behind the image, nearest first; empty for most images.
    pub backing_files: Vec<PathBuf>,
}

impl fmt::Debug for OpenedImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenedImage")
            .field("size_bytes", &self.source.size_bytes())
            .field("format", &self.format)
            .field("backing_files", &self.backing_files)
            .finish()
    }
}

/// Opens the image at `path`.
///
/// Its format is the given one; otherwise qcow2 if its name ends in `.qcow2`, and raw if not. What
/// it holds never decides, because a guest can write anything into its disk: a file that is raw by
/// its name only and begins like a qcow2 image is [`crate::error::ErrorKind::Invalid`]. The same
/// kind answers an image with a backing file under [`Backing::Refuse`].
pub fn open_image(
    path: &Path,
    format: Option<ImageFormat>,
    backing: Backing,
) -> Result<OpenedImage> {
    let file = ImageFile::open(path)?;
    let format = settle_format(&file, format)?;
    let (source, backing_files): (Box<dyn ImageSource>, _) = match format {
        ImageFormat::Raw => (Box::new(RawImage::from_file(file)?), Vec::new()),
        ImageFormat::Qcow2 => {
            let image = Qcow2Image::from_file(file, backing)?;
            let backing_files = image.backing_files();
            (Box::new(image), backing_files)
        }
    };
    Ok(OpenedImage { source, format, backing_files })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::ingest::image_format::QCOW2_MAGIC;

    fn file_named(name: &str) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        std::fs::write(&path, [&QCOW2_MAGIC[..], &[0; 508]].concat()).unwrap();
        (dir, path)
    }

    #[test]
    fn a_raw_disk_that_looks_like_qcow2_is_refused_until_somebody_says_that_it_is_raw() {
        let (_dir, path) = file_named("disk.img");
        let error = open_image(&path, None, Backing::Refuse).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains("say which format it is"), "{error}");
        let image = open_image(&path, Some(ImageFormat::Raw), Backing::Refuse).unwrap();
        assert_eq!((image.format, image.source.size_bytes()), (ImageFormat::Raw, 512));
        assert_eq!(image.backing_files, [] as [PathBuf; 0]);
    }

    #[test]
    fn a_given_format_is_stronger_than_the_name() {
        let (_dir, path) = file_named("disk.qcow2");
        let image = open_image(&path, Some(ImageFormat::Raw), Backing::Refuse).unwrap();
        assert_eq!(image.format, ImageFormat::Raw);
        assert!(open_image(&path, None, Backing::Refuse).is_err());
    }
}
