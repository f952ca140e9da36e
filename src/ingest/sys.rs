//! The system calls that the standard library does not offer.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// Where the first data at or after `offset` begins; nothing if there is only a hole up to the end.
pub(super) fn next_data(file: &File, offset: u64) -> io::Result<Option<u64>> {
    match seek(file, offset, libc::SEEK_DATA) {
        Err(error) if error.raw_os_error() == Some(libc::ENXIO) => Ok(None),
        found => found.map(Some),
    }
}

/// Where the first hole at or after `offset` begins; the end of the file counts as one.
pub(super) fn next_hole(file: &File, offset: u64) -> io::Result<u64> {
    seek(file, offset, libc::SEEK_HOLE)
}

/// Tells the kernel that the file will be read from its beginning to its end.
pub(super) fn advise_sequential(file: &File) {
    // SAFETY: the descriptor is open for as long as `file` is borrowed, and the call takes numbers
    // only. It is advice: that a file system ignores or refuses it changes nothing.
    unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_SEQUENTIAL) };
}

/// Moves the position of the file, which nothing here uses: all reads name their offset. So threads
/// that share `file` do not disturb each other.
fn seek(file: &File, offset: u64, whence: libc::c_int) -> io::Result<u64> {
    let offset = libc::off_t::try_from(offset).map_err(io::Error::other)?;
    // SAFETY: the descriptor is open for as long as `file` is borrowed, and the call takes numbers
    // only.
    let found = unsafe { libc::lseek(file.as_raw_fd(), offset, whence) };
    u64::try_from(found).map_err(|_| io::Error::last_os_error())
}
