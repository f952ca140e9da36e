//! The name and format of a backing file, as an image records them.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind, Result};
use crate::ingest::file::ImageFile;
use crate::ingest::image_format::ImageFormat;
use crate::ingest::qcow2::header::{BackingName, Header};

/// Type of the header extension that holds the format of the backing file.
const BACKING_FORMAT: u32 = 0xe279_2aca;
/// Type of the extension that ends the area of extensions.
const END: u32 = 0;

/// What an image says about its backing file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BackingFile {
    /// The name as it is written: a path, relative to the directory of the image that says it, or
    /// something that is no path at all.
    name: Vec<u8>,
    /// The format as it is written; old images say none.
    format: Option<Vec<u8>>,
}

impl BackingFile {
    /// Reads what the header at the start of `file` says, if it names a backing file.
    pub(super) fn read(file: &ImageFile, header: &Header) -> Result<Option<Self>> {
        let Some(BackingName { offset_bytes, len_bytes }) = header.backing else {
            return Ok(None);
        };
        let mut name = vec![0; len_bytes as usize];
        file.read_exact_at(offset_bytes, &mut name)?;
        // The name follows the extensions, and ends in the first cluster as they do.
        let area_len = offset_bytes.saturating_sub(header.header_len_bytes);
        let mut area = vec![0; area_len as usize];
        file.read_exact_at(header.header_len_bytes, &mut area)?;
        let format = format_extension(&area)
            .map_err(|what| file.damaged(what, header.header_len_bytes))?
            .map(<[u8]>::to_vec);
        Ok(Some(Self { name, format }))
    }

    /// The name, for people.
    pub(super) fn display_name(&self) -> String {
        String::from_utf8_lossy(&self.name).into_owned()
    }

    /// The path of the backing file, seen from where `image` is.
    ///
    /// A name of another kind, such as `json:{...}` or `nbd://host`, is
    /// [`ErrorKind::Unsupported`].
    pub(super) fn path(&self, image: &Path) -> Result<PathBuf> {
        let upto = self.name.iter().position(|byte| matches!(byte, b':' | b'/'));
        let has_protocol = upto.is_some_and(|at| self.name[at] == b':');
        if has_protocol || self.name.contains(&0) {
            let what = format!(
                "cannot follow the backing file {:?}, which is not a plain path,",
                self.display_name()
            );
            return Err(Error::new(ErrorKind::Unsupported, what).at(image));
        }
        let directory = image.parent().unwrap_or(Path::new(""));
        Ok(directory.join(OsStr::from_bytes(&self.name)))
    }

    /// The format that `image` says its backing file has; nothing if it is silent.
    pub(super) fn format(&self, image: &Path) -> Result<Option<ImageFormat>> {
        match self.format.as_deref() {
            None => Ok(None),
            Some(b"raw") => Ok(Some(ImageFormat::Raw)),
            Some(b"qcow2") => Ok(Some(ImageFormat::Qcow2)),
            Some(other) => {
                let other = String::from_utf8_lossy(other);
                let what =
                    format!("cannot read a backing file of format {other:?}, which is named");
                Err(Error::new(ErrorKind::Unsupported, what).at(image))
            }
        }
    }
}

/// Finds the backing format among the extensions: type, length, data, padding to 8 bytes.
fn format_extension(area: &[u8]) -> std::result::Result<Option<&[u8]>, &'static str> {
    let mut rest = area;
    while let Some((head, body)) = rest.split_at_checked(8) {
        let word = |at: usize| u32::from_be_bytes(std::array::from_fn(|n| head[at + n]));
        let (kind, len) = (word(0), word(4) as usize);
        if kind == END {
            break;
        }
        let data = body.get(..len).ok_or("a header extension is longer than its place")?;
        if kind == BACKING_FORMAT {
            return Ok(Some(data));
        }
        rest = body.get(len.next_multiple_of(8)..).unwrap_or_default();
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extension(kind: u32, data: &[u8]) -> Vec<u8> {
        let mut bytes = [kind.to_be_bytes(), (data.len() as u32).to_be_bytes()].concat();
        bytes.extend_from_slice(data);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes
    }

    fn named(name: &str) -> BackingFile {
        BackingFile { name: name.as_bytes().to_vec(), format: None }
    }

    #[test]
    fn the_backing_format_is_found_behind_extensions_of_any_length() {
        for len in 0..20 {
            let unknown = extension(0x1234_5678, &vec![7; len]);
            let area = [unknown, extension(BACKING_FORMAT, b"qcow2"), extension(END, b"")];
            assert_eq!(format_extension(&area.concat()), Ok(Some(&b"qcow2"[..])));
        }
    }

    #[test]
    fn nothing_is_looked_for_behind_the_end_of_the_extensions() {
        let area = [extension(END, b""), extension(BACKING_FORMAT, b"raw")].concat();
        assert_eq!(format_extension(&area), Ok(None));
        assert_eq!(format_extension(&[]), Ok(None));
    }

    #[test]
    fn an_extension_that_is_cut_short_is_damage_or_not_there() {
        let area = extension(BACKING_FORMAT, b"qcow2");
        for len in 0..8 {
            assert_eq!(format_extension(&area[..len]), Ok(None));
        }
        for len in 8..13 {
            assert!(format_extension(&area[..len]).is_err());
        }
    }

    #[test]
    fn a_relative_name_is_seen_from_the_image_that_says_it() {
        let image = Path::new("/images/vm/top.qcow2");
        let path = |name: &str| named(name).path(image).unwrap();
        assert_eq!(path("base.raw"), Path::new("/images/vm/base.raw"));
        assert_eq!(path("../base:2.raw"), Path::new("/images/vm/../base:2.raw"));
        assert_eq!(path("/other/base.raw"), Path::new("/other/base.raw"));
        assert_eq!(named("base").path(Path::new("top")).unwrap(), Path::new("base"));
    }

    #[test]
    fn a_name_that_is_no_path_is_refused() {
        for name in
            ["json:{\"driver\":\"raw\"}", "nbd://host/disk", "file:base.raw", ":", "base\0.raw"]
        {
            let error = named(name).path(Path::new("top.qcow2")).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{name}");
        }
    }
}
