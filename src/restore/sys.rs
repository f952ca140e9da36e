//! The calls of the operating system that the standard library does not offer.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// How a device may make a range read as zero without being sent the zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ZeroMethod {
    /// By giving the space back, where the device promises zeros for it.
    Discard,
    /// By whatever the device has for it; the kernel writes zeros where it has nothing.
    ZeroOut,
}

/// Makes a range of a block device read as zero. The range must lie on the device and on whole
/// blocks of it; `EOPNOTSUPP` if the device cannot do it that way.
pub(super) fn zero_range(
    device: &File,
    method: ZeroMethod,
    offset_bytes: u64,
    len_bytes: u64,
) -> io::Result<()> {
    let mode = libc::FALLOC_FL_KEEP_SIZE
        | match method {
            ZeroMethod::Discard => libc::FALLOC_FL_PUNCH_HOLE,
            ZeroMethod::ZeroOut => libc::FALLOC_FL_ZERO_RANGE,
        };
    let invalid = |_| io::Error::from_raw_os_error(libc::EINVAL);
    let offset = libc::off_t::try_from(offset_bytes).map_err(invalid)?;
    let len = libc::off_t::try_from(len_bytes).map_err(invalid)?;
    loop {
        // SAFETY: no pointers; the descriptor is open for as long as `device` is borrowed.
        if unsafe { libc::fallocate(device.as_raw_fd(), mode, offset, len) } == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}
