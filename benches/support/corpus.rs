//! Images to measure with.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Programs, libraries and documents of this system; what is missing is left out.
const TREES: [&str; 3] = ["/usr/bin", "/usr/share", "/usr/lib/x86_64-linux-gnu"];
/// Larger files are left out, so that the image has one size everywhere.
const FILE_MAX: &str = "-100M";

/// An ext4 image of 1.5 GiB with files of this system.
pub(crate) fn system_image(scratch: &Path) -> PathBuf {
    let tree = scratch.join("tree");
    fs::create_dir(&tree).expect("a directory");
    let script = "find \"$@\" -xdev -type f -size \"$MAX\" -print0 2>/dev/null | sort -z |
        tar --create --null --files-from=- --ignore-failed-read 2>/dev/null | head -c 1300M |
        tar --extract --ignore-zeros 2>/dev/null; true";
    let staged = Command::new("sh")
        .args(["-c", script, "sh"])
        .args(TREES)
        .env("MAX", FILE_MAX)
        .current_dir(&tree)
        .status();
    assert!(staged.is_ok_and(|status| status.success()), "files of this system can be copied");
    let path = scratch.join("system.raw");
    let made = Command::new("mkfs.ext4")
        .args(["-q", "-d"])
        .args([tree.as_os_str(), path.as_os_str(), "1536M".as_ref()])
        .status();
    assert!(made.is_ok_and(|status| status.success()), "mkfs.ext4 is installed");
    fs::remove_dir_all(&tree).expect("the copies can be removed");
    path
}
