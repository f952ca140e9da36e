//! Images to measure with.

use std::path::{Path, PathBuf};
use std::process::Command;

const MAKER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tools/system-image");

/// An ext4 image of 1.5 GiB with files of this system.
pub(crate) fn system_image(scratch: &Path) -> PathBuf {
    let path = scratch.join("system.raw");
    let made = Command::new(MAKER).arg(&path).status();
    assert!(made.is_ok_and(|status| status.success()), "an image can be made of this system");
    path
}
