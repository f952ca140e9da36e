//! What kind of image a file is. A guest can write anything into its disk, the header of another
//! format too, so what a file holds never decides: its name or the caller does.

use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::str::FromStr;

use crate::error::{Error, ErrorKind, Result};
use crate::ingest::file::ImageFile;

/// The first bytes of every qcow2 image.
pub(super) const QCOW2_MAGIC: [u8; 4] = *b"QFI\xfb";

/// How the bytes of a file make a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ImageFormat {
    /// Every byte of the file is a byte of the disk. Written `raw`.
    Raw,
    /// QEMU's format, version 2 or 3. Written `qcow2`.
    Qcow2,
}

impl ImageFormat {
    /// The format that a name announces: qcow2 if it ends in `.qcow2`, raw otherwise.
    #[must_use]
    pub fn of_name(path: &Path) -> Self {
        let name = path.file_name().unwrap_or_default();
        if name.as_bytes().ends_with(b".qcow2") { Self::Qcow2 } else { Self::Raw }
    }
}

impl fmt::Display for ImageFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
        })
    }
}

/// Fails with [`ErrorKind::Invalid`] for every other word.
impl FromStr for ImageFormat {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "raw" => Ok(Self::Raw),
            "qcow2" => Ok(Self::Qcow2),
            _ => {
                let what = format!("the image format {text:?} is neither raw nor qcow2");
                Err(Error::new(ErrorKind::Invalid, what))
            }
        }
    }
}

/// The format of an open file: the given one, or else what its name announces.
///
/// A file that is raw by its name only and begins like a qcow2 image is [`ErrorKind::Invalid`]:
/// either reading of it may be wrong, so somebody has to say.
pub(super) fn settle_format(file: &ImageFile, given: Option<ImageFormat>) -> Result<ImageFormat> {
    if let Some(format) = given {
        return Ok(format);
    }
    let format = ImageFormat::of_name(file.path());
    if format == ImageFormat::Raw && file.begins_with(&QCOW2_MAGIC)? {
        let what = "the image looks like qcow2, and its name does not say so: say which format \
                    it is";
        return Err(Error::new(ErrorKind::Invalid, what).at(file.path()));
    }
    Ok(format)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_is_written_as_it_is_parsed() {
        for format in [ImageFormat::Raw, ImageFormat::Qcow2] {
            assert_eq!(format.to_string().parse::<ImageFormat>().unwrap(), format);
        }
        let error = "QCOW2".parse::<ImageFormat>().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }

    #[test]
    fn only_the_end_of_the_last_part_of_a_name_says_qcow2() {
        let of = |name: &str| ImageFormat::of_name(Path::new(name));
        assert_eq!(of("/images/web.qcow2"), ImageFormat::Qcow2);
        assert_eq!(of(".qcow2"), ImageFormat::Qcow2);
        for raw in ["web", "web.img", "web.qcow2/disk", "web.qcow2.old", "web.QCOW2", "qcow2", ".."]
        {
            assert_eq!(of(raw), ImageFormat::Raw, "{raw}");
        }
    }
}
