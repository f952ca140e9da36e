//! The calls of the operating system that the standard library does not offer.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The user and group that this process acts as.
pub(super) fn effective_ids() -> (u32, u32) {
    // SAFETY: no arguments, and the calls cannot fail.
    unsafe { (libc::geteuid(), libc::getegid()) }
}

/// Takes the mount at `path` away; with `is_lazy` also while something on it is open, which stays
/// usable until it is closed.
pub(super) fn unmount(path: &Path, is_lazy: bool) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let lazy = if is_lazy { libc::MNT_DETACH } else { 0 };
    // SAFETY: the path ends in NUL and lives until the call returns.
    let result = unsafe { libc::umount2(path.as_ptr(), lazy | libc::UMOUNT_NOFOLLOW) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
