//! Ends a mount, and says who keeps it from ending.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::{Error, ErrorKind, IoContext, Result};
use crate::fuse::mount_table::{self, Mount};
use crate::fuse::sys;

/// The program that mounts and unmounts for ordinary users.
const HELPER: &str = "fusermount3";

/// Where the helper is; none if it is not installed.
pub(super) fn find_helper() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // The last two even where PATH does not name them: they are where systems put it.
    let directories = std::env::split_paths(&path).chain(["/bin", "/sbin"].map(PathBuf::from));
    directories.map(|directory| directory.join(HELPER)).find(|helper| helper.is_file())
}

/// Takes the mount away, unless it is gone already; with `is_lazy` also while files on it are open,
/// which stay usable until they are closed. [`ErrorKind::Busy`] if something is in the way.
pub(super) fn unmount(mount: &Mount, is_lazy: bool) -> Result<()> {
    let mounts = mount_table::mounts_at(&mount.path)?;
    if !mounts.contains(mount) {
        return Ok(());
    }
    if mounts.last() != Some(mount) {
        let what = "something else is mounted over the mount";
        return Err(Error::new(ErrorKind::Busy, what).at(&mount.path));
    }
    let error = match sys::unmount(&mount.path, is_lazy) {
        Ok(()) => return Ok(()),
        // Ordinary users may not; the helper may for them.
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
            return unmount_by_helper(&mount.path, is_lazy);
        }
        Err(error) => error,
    };
    match error.raw_os_error() {
        Some(libc::EBUSY) => Err(busy(&mount.path)),
        _ => Err(error).context("cannot unmount", &mount.path),
    }
}

fn unmount_by_helper(path: &Path, is_lazy: bool) -> Result<()> {
    let mut helper = Command::new(find_helper().unwrap_or_else(|| HELPER.into()));
    helper.arg("-u").args(is_lazy.then_some("-z")).arg("--").arg(path);
    helper.stdin(Stdio::null());
    let output = helper.output().context("cannot run fusermount3 to unmount", path)?;
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    match output.status.success() {
        true => Ok(()),
        false if said.contains("busy") => Err(busy(path)),
        false => Err(io::Error::other(said)).context("cannot unmount", path),
    }
}

fn busy(path: &Path) -> Error {
    let loops = loops_over(Path::new("/sys/block"), path);
    let what = match loops.is_empty() {
        true => "the mount is in use: a program has a file open on it, or works in it".to_owned(),
        false => format!("the mount is in use by {}", loops.join(", ")),
    };
    Error::new(ErrorKind::Busy, what).at(path)
}

/// The loop devices whose files lie below `path`, for people: `/dev/loop3 (.../disk.raw)`.
fn loops_over(block_devices: &Path, path: &Path) -> Vec<String> {
    let mut loops = Vec::new();
    for device in fs::read_dir(block_devices).into_iter().flatten().flatten() {
        // Deleted files have a remark behind their name, and still lie below the mount.
        let Ok(file) = fs::read_to_string(device.path().join("loop/backing_file")) else {
            continue;
        };
        let file = file.trim_end();
        if Path::new(file).starts_with(path) {
            loops.push(format!("/dev/{} ({file})", device.file_name().to_string_lossy()));
        }
    }
    loops.sort();
    loops
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loop_devices_over_the_mount_are_named() {
        let dir = tempfile::tempdir().unwrap();
        for (device, file) in [("loop0", "/mnt/b/x.raw"), ("loop2", "/mnt/bb/y"), ("sda", "")] {
            let about = dir.path().join(device).join("loop");
            fs::create_dir_all(&about).unwrap();
            fs::write(about.join("backing_file"), format!("{file}\n")).unwrap();
        }
        let found = loops_over(dir.path(), Path::new("/mnt/b"));
        assert_eq!(found, ["/dev/loop0 (/mnt/b/x.raw)"]);
    }
}
