//! Private copies of disks that can be written: an overlay over each.
//!
//! What is written lies in files of the view's own directory, never in the repository. A block of
//! 4 KiB comes from the overlay once a byte of it was written, and from the restore point before.

mod blocks;
mod disk;
mod files;
mod space;
mod sys;

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::base::id::{PointId, RepoId};
use crate::base::sync::lock;
use crate::error::{Error, ErrorKind, IoContext, Result};
use crate::format::commit::PointRecord;
use crate::vfs::overlay::files::Below;
use crate::vfs::overlay::space::SpaceLimit;

pub(in crate::vfs) use blocks::{BlockState, ChunkBlocks};
pub(in crate::vfs) use disk::OverlayDisk;

/// The file that whoever uses a directory of kept overlays has locked.
const LOCK_NAME: &str = "lock";

/// How a view is written to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OverlayOptions {
    /// An existing directory for what is written.
    pub dir: PathBuf,
    /// Bytes that all disks of the view may take together.
    pub limit_bytes: Option<u64>,
    /// Whether what is written stays when the view ends, for the next one with this directory.
    pub keep: bool,
}

/// The overlays of a view.
pub(super) struct Overlays {
    repo: RepoId,
    options: OverlayOptions,
    space: Arc<SpaceLimit>,
    disks: Mutex<HashMap<(PointId, usize), Arc<OverlayDisk>>>,
    _lock: Option<File>,
}

impl Overlays {
    /// Overlays of `repo`. [`ErrorKind::Busy`] if another view keeps its own in the directory.
    pub(super) fn new(repo: RepoId, options: OverlayOptions) -> Result<Self> {
        let dir = &options.dir;
        let is_dir = fs::metadata(dir).context("cannot keep overlays in the directory", dir)?;
        if !is_dir.is_dir() {
            return Err(Error::new(ErrorKind::Invalid, "this is no directory").at(dir));
        }
        let locked = options.keep.then(|| lock_directory(dir)).transpose()?;
        let space = Arc::new(SpaceLimit::new(options.limit_bytes));
        Ok(Self { repo, options, space, disks: Mutex::default(), _lock: locked })
    }

    /// The overlay of the disk at the place `disk` of a restore point, if it has one there.
    pub(super) fn disk(
        &self,
        point: &PointRecord,
        disk: usize,
    ) -> Result<Option<Arc<OverlayDisk>>> {
        let Some(record) = point.disks.get(disk) else { return Ok(None) };
        let mut disks = lock(&self.disks);
        if let Some(known) = disks.get(&(point.id, disk)) {
            return Ok(Some(Arc::clone(known)));
        }
        let below = Below {
            repo: self.repo,
            point: point.id,
            disk,
            size_bytes: record.size_bytes,
            map_root: record.map_root,
        };
        let OverlayOptions { dir, keep, .. } = &self.options;
        let opened = OverlayDisk::open(below, dir.clone(), *keep, Arc::clone(&self.space))?;
        let opened = Arc::new(opened);
        disks.insert((point.id, disk), Arc::clone(&opened));
        Ok(Some(opened))
    }

    /// Makes all that was written durable, where it is kept.
    pub(super) fn flush(&self) -> Result<()> {
        let disks: Vec<_> = lock(&self.disks).values().cloned().collect();
        disks.iter().try_for_each(|disk| disk.flush())
    }
}

fn lock_directory(dir: &Path) -> Result<File> {
    let path = dir.join(LOCK_NAME);
    let what = "cannot lock the directory of overlays";
    let opened = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
    let file = opened.context(what, &path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => {
            let what = "another writable view uses this directory of overlays";
            Err(Error::new(ErrorKind::Busy, what).at(dir))
        }
        Err(fs::TryLockError::Error(error)) => Err(error).context(what, &path),
    }
}
