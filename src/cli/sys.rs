//! The calls of the operating system that the command line needs and the standard library lacks.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

/// What this process makes is for its user alone, whatever the shell says.
pub(super) fn restrict_new_files() {
    // SAFETY: umask(2) takes a number, touches no memory and cannot fail.
    unsafe { libc::umask(0o077) };
}

/// Waits until `file` has bytes or has ended; false if neither comes within `patience`.
pub(super) fn wait_readable(file: &File, patience: Duration) -> io::Result<bool> {
    let mut poll = libc::pollfd { fd: file.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let millis = libc::c_int::try_from(patience.as_millis()).unwrap_or(libc::c_int::MAX);
    // SAFETY: `poll` is one valid pollfd for the length of the call, and 1 is their number; `file`
    // keeps the descriptor open.
    match unsafe { libc::poll(&raw mut poll, 1, millis) } {
        -1 => Err(io::Error::last_os_error()),
        ready => Ok(ready > 0),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::OwnedFd;

    use super::*;

    #[test]
    fn a_pipe_is_readable_when_it_has_bytes_or_has_ended() {
        let (reader, mut writer) = io::pipe().unwrap();
        let reader = File::from(OwnedFd::from(reader));
        assert!(!wait_readable(&reader, Duration::from_millis(1)).unwrap());
        writer.write_all(b"x").unwrap();
        assert!(wait_readable(&reader, Duration::from_secs(10)).unwrap());
        let (reader, writer) = io::pipe().unwrap();
        drop(writer);
        let reader = File::from(OwnedFd::from(reader));
        assert!(wait_readable(&reader, Duration::from_secs(10)).unwrap());
    }
}
