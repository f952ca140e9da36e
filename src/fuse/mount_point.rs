//! The directory to mount on: what it must be, and dead mounts that are in its way.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind, IoContext, Result};
use crate::fuse::mount_table::{self, Mount};
use crate::fuse::unmount;
use crate::monitor::Monitor;

/// The type of our file system, as `mount` and the table of mounts show it.
const KIND: &str = "fuse.backstop";

/// Makes sure that `given` is an existing empty directory apart from the repository, and says
/// where it is without links. A dead mount of ours on it is taken away first, and told.
pub(super) fn prepare(
    given: &Path,
    repo_path: Option<&Path>,
    monitor: &dyn Monitor,
) -> Result<PathBuf> {
    take_over(given, monitor)?;
    let path = fs::canonicalize(given).context("cannot mount on the directory", given)?;
    if let Some(repo_path) = repo_path {
        check_apart(&path, repo_path)?;
    }
    // An empty file system of another kind is as good a place as an empty directory.
    if mount_table::mounts_at(&path)?.last().is_some_and(is_ours) {
        let what = "restore points are mounted there already; unmount it first";
        return Err(Error::new(ErrorKind::Busy, what).at(path));
    }
    let mut entries = fs::read_dir(&path).context("cannot mount on the directory", &path)?;
    if entries.next().is_some() {
        let what = "the directory to mount on is not empty: its files would be hidden";
        return Err(Error::new(ErrorKind::Invalid, what).at(path));
    }
    Ok(path)
}

/// Takes away a mount of ours whose process was killed: every use of it fails with ENOTCONN.
fn take_over(given: &Path, monitor: &dyn Monitor) -> Result<()> {
    let Err(error) = fs::metadata(given) else { return Ok(()) };
    if error.raw_os_error() != Some(libc::ENOTCONN) {
        return Ok(());
    }
    let path = absolute(given).context("cannot find the directory", given)?;
    let Some(dead) = mount_table::mounts_at(&path)?.pop().filter(is_ours) else {
        let what = "a dead mount of another program is in the way; unmount it first";
        return Err(Error::new(ErrorKind::Busy, what).at(path).because(error));
    };
    unmount::unmount(&dead, true)?;
    let what = "took over the mount of a process that was killed";
    monitor.problem(&Error::new(ErrorKind::Busy, what).at(path));
    Ok(())
}

/// Takes away a mount of ours at `path` whose process was killed. Nothing happens if there is none.
pub fn remove_dead(given: &Path) -> Result<()> {
    let path = match absolute(given) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        path => path.context("cannot find the directory", given)?,
    };
    match mount_table::mounts_at(&path)?.pop().filter(is_ours) {
        Some(dead) => unmount::unmount(&dead, true),
        None => Ok(()),
    }
}

/// Whether the mount is of this program.
pub(super) fn is_ours(mount: &Mount) -> bool {
    mount.kind == KIND
}

/// The path without links where its last part cannot be looked at.
fn absolute(given: &Path) -> io::Result<PathBuf> {
    let given = std::path::absolute(given)?;
    match (given.parent(), given.file_name()) {
        (Some(parent), Some(name)) => Ok(fs::canonicalize(parent)?.join(name)),
        _ => Ok(given),
    }
}

/// A mount over its own repository, or a repository in its own mount, would wait for itself.
fn check_apart(path: &Path, repo_path: &Path) -> Result<()> {
    let repo = fs::canonicalize(repo_path).context("cannot find the repository", repo_path)?;
    let what = match () {
        () if path.starts_with(&repo) => "the directory to mount on lies in the repository",
        () if repo.starts_with(path) => "the repository lies below the directory to mount on",
        () => return Ok(()),
    };
    Err(Error::new(ErrorKind::Invalid, what).at(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::VoidMonitor;

    fn refusal(given: &Path, repo: Option<&Path>) -> (ErrorKind, String) {
        let error = prepare(given, repo, &VoidMonitor).unwrap_err();
        (error.kind(), error.to_string())
    }

    #[test]
    fn only_an_empty_directory_apart_from_the_repository_will_do() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let [repo, inside, place] = ["repo", "repo/inside", "place"].map(|name| root.join(name));
        for path in [&repo, &inside, &place] {
            fs::create_dir(path).unwrap();
        }
        assert_eq!(prepare(&place, Some(&repo), &VoidMonitor).unwrap(), place);
        assert_eq!(prepare(&place.join("../place"), None, &VoidMonitor).unwrap(), place);
        let missing = root.join("missing");
        assert_eq!(refusal(&missing, None).0, ErrorKind::NotFound);
        for (place, said) in [(&inside, "lies in"), (&repo, "lies in"), (&root, "lies below")] {
            let (kind, text) = refusal(place, Some(&repo));
            assert_eq!(kind, ErrorKind::Invalid);
            assert!(text.contains(said), "{text}");
        }
        fs::write(place.join("file"), "").unwrap();
        assert!(refusal(&place, None).1.contains("not empty"));
        assert_eq!(refusal(&place.join("file"), None).0, ErrorKind::Io);
    }
}
