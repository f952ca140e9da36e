//! Whether this machine and the repository are fit for work.

use std::fs::OpenOptions;
use std::io;
use std::path::Path;

use crate::error::{ErrorKind, Result};
use crate::ovirt::check::Step;
use crate::repo::Repository;

/// Free space below which a medium is nearly full: a hundredth of it.
const NEARLY_FULL: u64 = 100;

/// What the machine offers: nothing of it is needed for backups.
#[must_use]
pub fn environment() -> Vec<Step> {
    vec![
        device(
            "fuse",
            "/dev/fuse",
            "`backstop mount` works",
            "`modprobe fuse`; in a container, \
               give it the device",
        ),
        device(
            "loop",
            "/dev/loop-control",
            "disks of a mount can be block devices",
            "`modprobe loop`; in a container, give it the device",
        ),
    ]
}

fn device(name: &'static str, path: &str, good: &str, remedy: &str) -> Step {
    match OpenOptions::new().read(true).write(true).open(Path::new(path)) {
        Ok(_) => Step::good(name, format!("{path}: {good}")),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Step::doubtful(name, format!("{path}: {error}"), "run as root, or as its group")
        }
        Err(error) => Step::doubtful(name, format!("{path}: {error}"), remedy),
    }
}

/// Whether the repository can be written, and has room.
#[must_use]
pub fn repository(repo: &Repository) -> Step {
    const NAME: &str = "repository";
    match look(repo) {
        Ok((detail, false)) => Step::good(NAME, detail),
        Ok((detail, true)) => {
            let remedy = "make room: drop restore points, or give the medium more space";
            Step::doubtful(NAME, detail, remedy)
        }
        Err(error) => {
            let remedy = match error.kind() {
                ErrorKind::Denied => "run as the user that owns the repository",
                ErrorKind::Full => "make room: drop restore points, or give the medium more space",
                _ => "the kernel's log (`dmesg`) may say more about the medium",
            };
            Step::bad(NAME, error.chain(), remedy)
        }
    }
}

/// What was seen, and whether the medium is nearly full.
fn look(repo: &Repository) -> Result<(String, bool)> {
    let points = repo.points()?.len();
    // An object without a name leaves no trace.
    let mut staged = repo.store().stage()?;
    staged.append(b"a trial")?;
    let space = repo.store().space()?;
    let is_nearly_full =
        space.is_some_and(|space| space.free_bytes < space.total_bytes / NEARLY_FULL);
    let free = space.map_or_else(String::new, |space| {
        format!(", {} MiB of {} MiB free", space.free_bytes >> 20, space.total_bytes >> 20)
    });
    Ok((format!("can be written; {points} restore points{free}"), is_nearly_full))
}
