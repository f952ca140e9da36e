//! The two files of the overlay of one disk: its bytes, and which blocks they are.
//!
//! Files of a view that is thrown away have no name, so that nothing stays behind, however the
//! process ends. `docs/semantics.md` has the layout of those that are kept.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::base::hash::blake3_256;
use crate::base::id::{ChunkId, PointId, RepoId};
use crate::error::{Error, ErrorKind, IoContext, Result};
use crate::vfs::overlay::blocks::{ChunkBlocks, RECORD_BYTES};
use crate::vfs::overlay::sys;

const MAGIC: &[u8; 8] = b"BKSTOVL1";
/// The records begin behind a block of the file system, so that no record crosses a sector.
const HEADER_BYTES: usize = 4096;
const HASHED_BYTES: usize = HEADER_BYTES - 32;

/// Which disk an overlay lies over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Below {
    pub(super) repo: RepoId,
    pub(super) point: PointId,
    pub(super) disk: usize,
    pub(super) size_bytes: u64,
    pub(super) map_root: ChunkId,
}

/// The files of one disk's overlay.
pub(super) struct Files {
    data: File,
    /// None where the view is thrown away.
    map: Option<File>,
    path: PathBuf,
}

impl Files {
    /// Files without a name.
    pub(super) fn nameless(dir: &Path) -> Result<Self> {
        let data = nameless_file(dir).context("cannot make an overlay", dir)?;
        Ok(Self { data, map: None, path: dir.to_owned() })
    }

    /// Files that stay: those that are there, or new ones.
    pub(super) fn kept(dir: &Path, below: &Below) -> Result<Self> {
        let path = data_path(dir, below);
        let map_path = path.with_extension("map");
        let open = |path: &Path| {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
        };
        let what = "cannot open the overlay";
        let files = Self {
            data: open(&path).context(what, &path)?,
            map: Some(open(&map_path).context(what, &map_path)?),
            path,
        };
        files.check_header(&map_path, below)?;
        // The names must be as durable as what is written under them later.
        File::open(dir).and_then(|dir| dir.sync_all()).context(what, dir)?;
        Ok(files)
    }

    /// Whether there are kept files for the disk.
    pub(super) fn exist(dir: &Path, below: &Below) -> Result<bool> {
        let path = data_path(dir, below).with_extension("map");
        path.try_exists().context("cannot look for the overlay", &path)
    }

    fn check_header(&self, map_path: &Path, below: &Below) -> Result<()> {
        let Some(map) = &self.map else { return Ok(()) };
        let expected = header(below);
        let what = "cannot read the overlay";
        let len = map.metadata().context(what, map_path)?.len();
        let mut found = vec![0; HEADER_BYTES.min(usize::try_from(len).unwrap_or(HEADER_BYTES))];
        map.read_exact_at(&mut found, 0).context(what, map_path)?;
        if found == expected {
            return self.check_length(below);
        }
        // No record is written before the header is durable, so after a crash there is nothing
        // behind one that is not.
        if len <= HEADER_BYTES as u64 && found.iter().all(|byte| *byte == 0) {
            let what = "cannot write the overlay";
            self.data.set_len(below.size_bytes).context(what, &self.path)?;
            self.data.sync_all().context(what, &self.path)?;
            map.write_all_at(&expected, 0).context(what, map_path)?;
            return map.sync_all().context(what, map_path);
        }
        let what = "this is no overlay of this disk of this repository";
        Err(Error::new(ErrorKind::Invalid, what).at(map_path))
    }

    /// The bytes have the length of the disk from the beginning: what is missing of them must not
    /// read as zero.
    fn check_length(&self, below: &Below) -> Result<()> {
        let len = self.data.metadata().context("cannot read the overlay", &self.path)?.len();
        match len == below.size_bytes {
            true => Ok(()),
            false => Err(Error::corrupt("the overlay's bytes are gone or cut").at(&self.path)),
        }
    }

    /// Calls `f` with every chunk of which the map says something.
    pub(super) fn load(&self, mut f: impl FnMut(u64, ChunkBlocks)) -> Result<()> {
        let Some(map) = &self.map else { return Ok(()) };
        let what = "cannot read the overlay's map";
        let len = map.metadata().context(what, &self.path)?.len();
        // In pieces: the map of a large disk that was written at its end has a long hole.
        let mut piece = vec![0; RECORD_BYTES << 10];
        let mut at = HEADER_BYTES as u64;
        while at < len {
            let wanted = piece.len().min(usize::try_from(len - at).unwrap_or(usize::MAX));
            let piece = &mut piece[..wanted - wanted % RECORD_BYTES];
            if piece.is_empty() {
                break;
            }
            map.read_exact_at(piece, at).context(what, &self.path)?;
            let first = (at - HEADER_BYTES as u64) / RECORD_BYTES as u64;
            for (record, chunk) in piece.as_chunks::<RECORD_BYTES>().0.iter().zip(first..) {
                if record.iter().any(|byte| *byte != 0) {
                    let damaged = || Error::corrupt("the overlay's map is damaged").at(&self.path);
                    f(chunk, ChunkBlocks::decode(*record).ok_or_else(damaged)?);
                }
            }
            at += piece.len() as u64;
        }
        Ok(())
    }

    pub(super) fn read(&self, offset_bytes: u64, out: &mut [u8]) -> Result<()> {
        let read = self.data.read_exact_at(out, offset_bytes);
        read.context("cannot read the overlay", &self.path)
    }

    pub(super) fn write(&self, offset_bytes: u64, bytes: &[u8]) -> Result<()> {
        let written = self.data.write_all_at(bytes, offset_bytes);
        written.context("cannot write the overlay", &self.path)
    }

    /// Gives space back. Where that cannot be, the bytes stay and nobody reads them.
    pub(super) fn discard(&self, offset_bytes: u64, len_bytes: u64) {
        let _only_space = sys::punch_hole(&self.data, offset_bytes, len_bytes);
    }

    /// Makes `chunks` durable, after the bytes that they speak of. Nothing to do where the view is
    /// thrown away.
    pub(super) fn save(&self, chunks: &[(u64, ChunkBlocks)]) -> Result<()> {
        let Some(map) = &self.map else { return Ok(()) };
        let what = "cannot make the overlay durable";
        self.data.sync_data().context(what, &self.path)?;
        for (chunk, blocks) in chunks {
            let at = HEADER_BYTES as u64 + chunk * RECORD_BYTES as u64;
            map.write_all_at(&blocks.encode(), at).context(what, &self.path)?;
        }
        map.sync_data().context(what, &self.path)
    }

    pub(super) fn is_kept(&self) -> bool {
        self.map.is_some()
    }
}

fn data_path(dir: &Path, below: &Below) -> PathBuf {
    dir.join(format!("{}.{}.data", below.point, below.disk))
}

fn header(below: &Below) -> Vec<u8> {
    let mut header = MAGIC.to_vec();
    header.extend_from_slice(below.repo.as_bytes());
    header.extend_from_slice(below.point.as_bytes());
    header.extend_from_slice(&(below.disk as u64).to_le_bytes());
    header.extend_from_slice(&below.size_bytes.to_le_bytes());
    header.extend_from_slice(below.map_root.as_bytes());
    header.resize(HASHED_BYTES, 0);
    let hash = blake3_256(&header);
    header.extend_from_slice(&hash);
    header
}

fn nameless_file(dir: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    match options.custom_flags(libc::O_TMPFILE).open(dir) {
        Err(error) if has_no_nameless_files(&error) => {
            let (file, path) = named_file(dir, options.custom_flags(0).create_new(true))?;
            fs::remove_file(&path)?;
            Ok(file)
        }
        opened => opened,
    }
}

/// A file with a name that nobody has, whatever a process of the same number has left.
fn named_file(dir: &Path, options: &OpenOptions) -> io::Result<(File, PathBuf)> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    loop {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = dir.join(format!(".backstop-overlay-{}-{number}", std::process::id()));
        match options.open(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            opened => return opened.map(|file| (file, path)),
        }
    }
}

fn has_no_nameless_files(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EISDIR | libc::ENOENT))
}
