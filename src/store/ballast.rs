//! A file that only occupies space, to be given up when there is none left.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use crate::error::{IoContext, Result};
use crate::store::publish::{Publisher, remove};
use crate::store::sys;

const NAME: &str = "ballast";
const MODE: u32 = 0o600;

fn path(publisher: &Publisher) -> PathBuf {
    publisher.root().join(NAME)
}

/// Makes the ballast, or makes it longer. It is no object: half of one is half as good, and one
/// that a crash takes is made again. Where files cannot occupy space unwritten, or it is full,
/// there is none.
pub(super) fn stow(publisher: &Publisher, bytes: u64) -> Result<()> {
    let path = path(publisher);
    let what = "cannot keep space in reserve";
    if path.symlink_metadata().is_ok_and(|about| about.is_file() && about.len() >= bytes) {
        return Ok(());
    }
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(MODE).custom_flags(libc::O_NOFOLLOW);
    let file = options.open(&path).context(what, &path)?;
    publisher.hand_over(&file);
    match sys::allocate(&file, bytes) {
        Err(error) if is_no_matter(&error) => remove(&path).context(what, &path),
        allocated => allocated.context(what, &path),
    }
}

/// Gives the space up. That there is none is no error.
pub(super) fn release(publisher: &Publisher) -> Result<()> {
    let path = path(publisher);
    remove(&path).context("cannot give up the space that is kept in reserve", &path)
}

fn is_no_matter(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EOPNOTSUPP | libc::ENOSYS | libc::ENOSPC | libc::EDQUOT | libc::EFBIG)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{DirStore, Store};
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn the_ballast_occupies_space_grows_and_goes() {
        let temp = tempfile::tempdir().unwrap();
        let store = DirStore::create(temp.path()).unwrap();
        let path = temp.path().join(NAME);
        for bytes in [1 << 20, 3 << 20] {
            store.stow_ballast(bytes).unwrap();
            if !path.exists() {
                eprintln!("SKIPPED: files of this file system cannot occupy space unwritten");
                return;
            }
            assert!(path.metadata().unwrap().blocks() * 512 >= bytes);
        }
        store.stow_ballast(5).unwrap();
        assert_eq!(path.metadata().unwrap().len(), 3 << 20, "it never shrinks");
        store.release_ballast().unwrap();
        store.release_ballast().unwrap();
        assert!(!path.exists());
    }
}
