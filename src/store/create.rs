//! The directories of a repository: making them, and what is checked before they are trusted.

use std::collections::HashSet;
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

/// Makes all directories of an empty repository durable at `root`, which is missing or empty, or
/// has some of them and nothing in them: what an interrupted run left. Of two makers at once both
/// come through, and the configuration has one winner.
pub(super) fn create(root: &Path) -> Result<()> {
    make_with_parents(root)?;
    check_trust(root)?;
    check_empty(root)?;
    for directory in directories(root) {
        match make_directory(&directory) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            _ => sync(&directory)?,
        }
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

/// Fails unless there is nothing at `root` but empty directories of a repository.
fn check_empty(root: &Path) -> Result<()> {
    let ours: HashSet<PathBuf> = directories(root).collect();
    let mut todo = vec![root.to_owned()];
    while let Some(directory) = todo.pop() {
        let what = "cannot look into the directory";
        for entry in directory.read_dir().context(what, &directory)? {
            let path = entry.context(what, &directory)?.path();
            // The root of an ext4 file system is never quite empty.
            if directory == root && path.file_name() == Some(OsStr::new("lost+found")) {
                continue;
            }
            // Nor is that of a repository whose making was interrupted, if it has a key.
            if directory == root.join(Area::Keys.directory()) {
                continue;
            }
            let is_directory = path.symlink_metadata().is_ok_and(|about| about.is_dir());
            if !is_directory || !ours.contains(&path) {
                let what = "the directory is not empty";
                return Err(Error::new(ErrorKind::AlreadyExists, what).at(root));
            }
            todo.push(path);
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
