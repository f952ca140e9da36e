//! The calls of the operating system that the standard library does not offer.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// Gives the space of a range of the file back; the range reads as zero then. File systems without
/// holes refuse, with `EOPNOTSUPP`.
pub(super) fn punch_hole(file: &File, offset_bytes: u64, len_bytes: u64) -> io::Result<()> {
    let mode = libc::FALLOC_FL_KEEP_SIZE | libc::FALLOC_FL_PUNCH_HOLE;
    let offset = libc::off_t::try_from(offset_bytes).map_err(io::Error::other)?;
    let len = libc::off_t::try_from(len_bytes).map_err(io::Error::other)?;
    // SAFETY: no pointers; the descriptor is open for as long as `file` is borrowed.
    match unsafe { libc::fallocate(file.as_raw_fd(), mode, offset, len) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
