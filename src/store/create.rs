//! The directories of a repository: making them, and what is checked before they are trusted.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind, IoContext, Result};
use crate::format::layout::{Area, ObjectName};
use crate::store::publish::{TEMP_DIRECTORY, make_directory};
use crate::store::sys;

const CONFIG_COPIES: u8 = 3;
const WORLD_WRITABLE: u32 = 0o002;

/// The directories that packs are spread over: `00` to `ff`.
pub(super) fn pack_directories(root: &Path) -> impl Iterator<Item = PathBuf> {
    let packs = root.join(Area::Packs.directory());
    (0..=u8::MAX).map(move |first| packs.join(format!("{first:02x}")))
}

/// All directories of a repository, each after the one that it lies in.
pub(super) fn directories(root: &Path) -> impl Iterator<Item = PathBuf> {
    let areas = Area::ALL.map(Area::directory).into_iter().filter(|area| !area.is_empty());
    let areas = areas.chain([TEMP_DIRECTORY]).map(|area| root.join(area)).collect::<Vec<_>>();
    areas.into_iter().chain(pack_directories(root))
}

/// Makes all directories of an empty repository durable at `root`, which is missing or empty.
pub(super) fn create(root: &Path) -> Result<()> {
    make_with_parents(root)?;
    check_trust(root)?;
    check_empty(root)?;
    // The first of these decides a race: of two makers one finds the directory taken.
    let areas = Area::ALL.map(Area::directory).into_iter().filter(|area| !area.is_empty());
    for directory in areas.chain([TEMP_DIRECTORY]) {
        make_directory(&root.join(directory))?;
    }
    for directory in pack_directories(root) {
        make_directory(&directory)?;
        sync(&directory)?;
    }
    sync(&root.join(Area::Packs.directory()))?;
    sync(root)
}

/// Fails unless there is a repository at `root` that no stranger can have tampered with.
pub(super) fn check(root: &Path) -> Result<()> {
    check_trust(root)?;
    for copy in 0..CONFIG_COPIES {
        match root.join(ObjectName::config(copy).to_string()).symlink_metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            // A directory that may not be looked into is not one without a repository.
            found => return found.map(drop).context("cannot look into the repository", root),
        }
    }
    let what = "there is no repository (none of config.0, config.1, config.2)";
    Err(Error::new(ErrorKind::NotFound, what).at(root))
}

/// Everything below trusts that an object stays what it was published as. Whoever may write to the
/// directory can replace objects, and shrink one while it is mapped.
fn check_trust(root: &Path) -> Result<()> {
    let about = root.metadata().context("cannot open the repository", root)?;
    let user = sys::effective_user();
    let problem = if !about.is_dir() {
        return Err(Error::new(ErrorKind::Invalid, "the repository is not a directory").at(root));
    } else if about.mode() & WORLD_WRITABLE != 0 {
        "every user may write to the repository"
    } else if user != 0 && about.uid() != user && about.uid() != 0 {
        "the repository belongs to another user"
    } else {
        return Ok(());
    };
    Err(Error::new(ErrorKind::Denied, problem).at(root))
}

fn check_empty(root: &Path) -> Result<()> {
    let what = "cannot look into the directory";
    for entry in root.read_dir().context(what, root)? {
        // The root of an ext4 file system is never quite empty.
        if entry.context(what, root)?.file_name() != OsStr::new("lost+found") {
            let what = "the directory is not empty";
            return Err(Error::new(ErrorKind::AlreadyExists, what).at(root));
        }
    }
    Ok(())
}

fn make_with_parents(path: &Path) -> Result<()> {
    if path.symlink_metadata().is_ok() {
        return Ok(());
    }
    let parent = path.parent().filter(|parent| *parent != Path::new(""));
    let parent = parent.unwrap_or_else(|| Path::new("."));
    if parent != Path::new(".") {
        make_with_parents(parent)?;
    }
    make_directory(path)?;
    sync(parent)
}

fn sync(directory: &Path) -> Result<()> {
    let synced = File::open(directory).and_then(|open| open.sync_all());
    synced.context("cannot make the directory durable", directory)
}
