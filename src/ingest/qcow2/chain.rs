//! From an image to the files behind it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::ingest::file::{Identity, ImageFile};
use crate::ingest::image_format::{ImageFormat, settle_format};
use crate::ingest::open::Backing;
use crate::ingest::qcow2::backing::BackingFile;
use crate::ingest::qcow2::header::{HEADER_BYTES, Header};
use crate::ingest::qcow2::layer::{Below, Layer};
use crate::ingest::raw::RawImage;

/// Most files of a chain, with the image itself. Engines stop at a few dozen snapshots; a read may
/// go through all of them, so their number also bounds the depth of calls.
const FILES_MAX: usize = 64;

/// An image and the files behind it.
#[derive(Debug)]
pub(super) struct Chain {
    /// The image, with everything that it reads from.
    pub(super) top: Layer,
    /// The files behind it, nearest first.
    pub(super) backing_files: Vec<PathBuf>,
}

impl Chain {
    /// Opens the qcow2 image `file` and, if that is wanted, all files behind it.
    pub(super) fn open(file: ImageFile, backing: Backing) -> Result<Self> {
        let mut walk = Walk { seen: vec![file.identity()], backing_files: Vec::new() };
        let mut above = Vec::new();
        let mut file = file;
        let (header, bottom) = loop {
            let header = read_header(&file)?;
            let Some(named) = BackingFile::read(&file, &header)? else {
                break (header, None);
            };
            if backing == Backing::Refuse {
                return Err(refused(&named, file.path()));
            }
            let (next, format) = walk.step(&named, file.path())?;
            if format == ImageFormat::Raw {
                break (header, Some(Below::Raw(RawImage::from_file(next)?)));
            }
            above.push((std::mem::replace(&mut file, next), header));
        };
        let unpacked = Arc::default();
        let mut top = Layer::new(file, &header, bottom, 0, Arc::clone(&unpacked))?;
        for (number, (file, header)) in (1..).zip(above.into_iter().rev()) {
            let below = Some(Below::Qcow2(Box::new(top)));
            top = Layer::new(file, &header, below, number, Arc::clone(&unpacked))?;
        }
        Ok(Self { top, backing_files: walk.backing_files })
    }
}

/// The files that were met so far.
struct Walk {
    seen: Vec<Identity>,
    backing_files: Vec<PathBuf>,
}

impl Walk {
    /// Opens the file that the image at `image` names.
    fn step(&mut self, named: &BackingFile, image: &Path) -> Result<(ImageFile, ImageFormat)> {
        if self.seen.len() == FILES_MAX {
            let what = format!("the chain of backing files is longer than {FILES_MAX} files");
            return Err(Error::new(ErrorKind::Unsupported, what).at(image));
        }
        let given = named.format(image)?;
        let file = ImageFile::open(&named.path(image)?)?;
        if self.seen.contains(&file.identity()) {
            let what = "the chain of backing files runs in a circle";
            return Err(Error::new(ErrorKind::Source, what).at(image));
        }
        self.seen.push(file.identity());
        self.backing_files.push(file.path().to_owned());
        let format = settle_format(&file, given)?;
        Ok((file, format))
    }
}

fn read_header(file: &ImageFile) -> Result<Header> {
    let mut bytes = [0; HEADER_BYTES];
    let len = file.len_bytes().min(HEADER_BYTES as u64) as usize;
    file.read_exact_at(0, &mut bytes[..len])?;
    Header::decode(&bytes[..len]).map_err(|error| error.at(file.path()))
}

fn refused(named: &BackingFile, image: &Path) -> Error {
    let name = named.display_name();
    let what =
        format!("backing files are followed only on request, and backing file {name:?} is named");
    Error::new(ErrorKind::Invalid, what).at(image)
}
