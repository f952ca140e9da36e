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

/// `PR_SET_IO_FLUSHER` of `linux/prctl.h`, since Linux 5.6.
const PR_SET_IO_FLUSHER: libc::c_int = 57;

/// Tells the kernel that this thread, and those that it starts, write what other writes wait for:
/// it must not wait for them when it is short of memory. Takes root.
pub(super) fn write_for_others() -> io::Result<()> {
    // SAFETY: numbers only.
    match unsafe { libc::prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
