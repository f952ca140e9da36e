//! What a program on the mount is told.

use fuser::Errno;

use crate::error::ErrorKind;

/// The error number for each kind of error. What is wrong is told to the monitor in full.
pub(super) fn errno(kind: ErrorKind) -> Errno {
    match kind {
        ErrorKind::Corrupt
        | ErrorKind::Io
        | ErrorKind::Source
        | ErrorKind::Remote
        | ErrorKind::Rollback => Errno::EIO,
        ErrorKind::NotFound => Errno::ENOENT,
        ErrorKind::AlreadyExists => Errno::EEXIST,
        ErrorKind::Busy => Errno::EBUSY,
        ErrorKind::Unsupported => Errno::EOPNOTSUPP,
        ErrorKind::Invalid => Errno::EINVAL,
        ErrorKind::Full => Errno::ENOSPC,
        ErrorKind::Denied | ErrorKind::Refused => Errno::EACCES,
        ErrorKind::Cancelled => Errno::EINTR,
    }
}
