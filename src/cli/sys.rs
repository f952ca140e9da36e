//! The calls of the operating system that the command line needs and the standard library lacks.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

/// What this process makes is for its user alone, whatever the shell says.
pub(super) fn restrict_new_files() {
    // SAFETY: umask(2) takes a number, touches no memory and cannot fail.
    unsafe { libc::umask(0o077) };
}

/// Whether this process acts as root.
pub(super) fn is_root() -> bool {
    // SAFETY: no arguments, and the call cannot fail.
    unsafe { libc::geteuid() == 0 }
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

/// Goes on in two processes: the number of the new one in the old one, none in the new one.
///
/// There must be no other thread: the new process would have what it was about to do, and not it.
pub(super) fn fork() -> io::Result<Option<libc::pid_t>> {
    // SAFETY: with a single thread the new process is in the same state as the old one, and may do
    // all that this one may.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(None),
        child => Ok(Some(child)),
    }
}

/// Waits for the end of a process that this one has started. Its exit code; none if it was killed.
pub(super) fn wait_for(child: libc::pid_t) -> io::Result<Option<u8>> {
    let mut status = 0;
    loop {
        // SAFETY: `status` is valid for the length of the call.
        if unsafe { libc::waitpid(child, &raw mut status, 0) } == child {
            let has_exited = libc::WIFEXITED(status);
            return Ok(has_exited.then(|| libc::WEXITSTATUS(status) as u8));
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// Leaves the terminal, and whatever it sends to the processes that it started.
pub(super) fn leave_terminal() -> io::Result<()> {
    // SAFETY: no arguments.
    if unsafe { libc::setsid() } == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Has standard input, output or error (0, 1 or 2) lead to `file` from now on.
pub(super) fn redirect(stream: RawFd, file: &File) -> io::Result<()> {
    // SAFETY: numbers only; `file` keeps its descriptor open, and the standard library promises
    // nothing about where the three lead.
    if unsafe { libc::dup2(file.as_raw_fd(), stream) } == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Descriptors beyond the three standard streams that are open now: those that whoever started the
/// process has left to it, as long as it has opened none itself.
pub(super) fn open_descriptors() -> io::Result<Vec<RawFd>> {
    let entries = std::fs::read_dir("/proc/self/fd")?.collect::<io::Result<Vec<_>>>()?;
    let numbers = entries.iter().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    // SAFETY: numbers only. The one that was open to read the directory is closed by now.
    let is_open = |number: &RawFd| unsafe { libc::fcntl(*number, libc::F_GETFD) } != -1;
    Ok(numbers.filter(|number| *number > 2).filter(is_open).collect())
}

/// Closes what [`open_descriptors`] has found.
pub(super) fn close_inherited(descriptors: &[RawFd]) {
    for descriptor in descriptors {
        // SAFETY: nothing in this process owns these: they were open before it opened anything.
        let _closed = unsafe { libc::close(*descriptor) };
    }
}

/// Keeps what this process knows from core dumps and from other processes of its user.
pub(super) fn keep_memory_private() -> io::Result<()> {
    let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `none` is a valid rlimit for the length of the call.
    if unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const none) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: prctl(PR_SET_DUMPABLE) takes a number and touches no memory.
    match unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// While it lives, a terminal does not show what is typed, and the key for interrupting ends the
/// line instead of the process: that would leave the terminal so.
pub(super) struct Hidden<'a> {
    terminal: &'a File,
    before: libc::termios,
}

impl<'a> Hidden<'a> {
    pub(super) fn begin(terminal: &'a File) -> io::Result<Self> {
        let mut before = std::mem::MaybeUninit::uninit();
        // SAFETY: `before` has room for a termios, and `terminal` keeps the descriptor open.
        if unsafe { libc::tcgetattr(terminal.as_raw_fd(), before.as_mut_ptr()) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call above succeeded and so has filled it.
        let before: libc::termios = unsafe { before.assume_init() };
        let mut hidden = before;
        hidden.c_lflag &= !(libc::ECHO | libc::ISIG);
        hidden.c_cc[libc::VEOL] = hidden.c_cc[libc::VINTR];
        set_terminal(terminal, &hidden)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Hidden<'_> {
    fn drop(&mut self) {
        // A terminal that is gone need not be set back.
        let _ = set_terminal(self.terminal, &self.before);
    }
}

fn set_terminal(terminal: &File, to: &libc::termios) -> io::Result<()> {
    // SAFETY: `to` is a valid termios for the length of the call, and `terminal` keeps the
    // descriptor open.
    match unsafe { libc::tcsetattr(terminal.as_raw_fd(), libc::TCSAFLUSH, to) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
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
