//! File systems in files, mounted.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use crate::run::{attempt, run};

/// Loop devices are few and shared with others; waits for one.
const TRIES: usize = 120;
const PAUSE: Duration = Duration::from_millis(500);

/// A kind of file system.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) len_bytes: u64,
    make: &'static [&'static str],
    options: &'static str,
}

pub(crate) const EXT4: Kind = Kind {
    name: "ext4",
    len_bytes: 64 << 20,
    make: &[
        "mkfs.ext4",
        "-q",
        "-F",
        "-b4096",
        "-m0",
        "-Jsize=4",
        "-Enodiscard,lazy_itable_init=0,lazy_journal_init=0",
    ],
    options: "loop",
};

pub(crate) const XFS: Kind = Kind {
    name: "xfs",
    len_bytes: 320 << 20,
    make: &["mkfs.xfs", "-q", "-f", "-K", "-ssize=4096"],
    // States of one file system have the same name, and its mount may still be on its way out.
    options: "loop,nouuid",
};

impl Kind {
    /// Makes an empty one in a file that has its length.
    pub(crate) fn make(&self, file: &Path) {
        let args = self.make[1..].iter().map(AsRef::as_ref);
        run(self.make[0], args.chain([file.as_os_str()]));
    }
}

/// A mounted file system; the mount and its loop device go with the value.
pub(crate) struct Mounted {
    dir: PathBuf,
}

impl Mounted {
    /// What the system says if it cannot be mounted.
    pub(crate) fn new(kind: &Kind, file: &Path, dir: &Path) -> Result<Self, String> {
        for _ in 0..TRIES {
            let args = ["-t", kind.name, "-o", kind.options].map(AsRef::as_ref);
            let out = attempt("mount", args.into_iter().chain([file.as_os_str(), dir.as_ref()]));
            let text = String::from_utf8_lossy(&out.stderr).into_owned();
            match out.status.success() {
                true => return Ok(Self { dir: dir.to_owned() }),
                false if text.contains("loop device") => thread::sleep(PAUSE),
                false => return Err(text),
            }
        }
        Err("no loop device was free".to_owned())
    }

    pub(crate) fn repo(&self) -> PathBuf {
        self.dir.join("repo")
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let unmount = || Command::new("umount").arg(&self.dir).status().is_ok_and(|s| s.success());
        let is_done = (0..20).any(|_| unmount() || (thread::sleep(PAUSE), false).1);
        assert!(is_done || thread::panicking(), "cannot unmount {:?}", self.dir);
    }
}
