//! A block device over a file, for as long as the value lives.

#![allow(dead_code, reason = "each test binary uses its own part of this module")]

use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tempfile::TempDir;

/// Loop devices are few: a test binary uses one at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
/// From the system's headers: opened with this, a device in use is refused.
const O_EXCL: i32 = 0o200;

/// A loop device.
pub(crate) struct LoopDevice {
    path: PathBuf,
    _backing: TempDir,
    _turn: MutexGuard<'static, ()>,
}

impl LoopDevice {
    /// A device that holds `bytes`; the reason if this machine has none to give.
    pub(crate) fn new(bytes: &[u8]) -> Result<Self, String> {
        let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let backing = tempfile::tempdir().unwrap();
        let file = backing.path().join("backing");
        fs::write(&file, bytes).unwrap();
        let output = Command::new("losetup").arg("--find").arg("--show").arg(&file).output();
        let output = output.map_err(|error| format!("cannot run losetup: {error}"))?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(format!("losetup made no device: {text}"));
        }
        let path = PathBuf::from(String::from_utf8(output.stdout).unwrap().trim());
        Ok(Self { path, _backing: backing, _turn: turn })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// All bytes of the device.
    pub(crate) fn read(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        File::open(&self.path).unwrap().read_to_end(&mut bytes).unwrap();
        bytes
    }

    /// Uses the device as a mounted file system would.
    pub(crate) fn open_exclusive(&self) -> File {
        OpenOptions::new().read(true).custom_flags(O_EXCL).open(&self.path).unwrap()
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        let detached = Command::new("losetup").arg("--detach").arg(&self.path).status();
        assert!(detached.is_ok_and(|status| status.success()), "cannot detach {:?}", self.path);
    }
}
