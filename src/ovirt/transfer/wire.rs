//! A socket on which nothing waits for ever, and whose bytes are counted.
//!
//! What trickles is as bad as silence: a wait ends when [`PROGRESS_BYTES`] have not moved in the
//! time that was given. Only waiting counts, not what the caller does between two calls.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::base::cancel::Cancel;
use crate::ovirt::transfer::counters::WireCounters;

/// Waiting is cut into pieces, so that a request to end is seen soon.
const TICK: Duration = Duration::from_millis(200);
/// Bytes that are asked of the socket at once: encryption asks for little at a time.
const READ_AHEAD_BYTES: usize = 64 << 10;

/// Bytes that must move within the time that is given.
const PROGRESS_BYTES: usize = 256 << 10;

/// What carries the bytes.
pub(super) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A socket with a deadline for every wait.
pub(super) struct Wire {
    socket: Socket,
    waiting: Waiting,
    ahead: Vec<u8>,
    ahead_from: usize,
    cancel: Cancel,
    counters: Arc<WireCounters>,
}

impl Wire {
    pub(super) fn new(
        socket: Socket,
        quiet_max: Duration,
        cancel: Cancel,
        counters: Arc<WireCounters>,
    ) -> io::Result<Self> {
        match &socket {
            Socket::Tcp(tcp) => {
                tcp.set_nodelay(true)?;
                tcp.set_read_timeout(Some(TICK))?;
                tcp.set_write_timeout(Some(TICK))?;
            }
            Socket::Unix(unix) => {
                unix.set_read_timeout(Some(TICK))?;
                unix.set_write_timeout(Some(TICK))?;
            }
        }
        let waiting = Waiting::at_most(quiet_max);
        Ok(Self { socket, waiting, ahead: Vec::new(), ahead_from: 0, cancel, counters })
    }

    /// Sets the longest time without progress, which begins now.
    pub(super) fn set_quiet_max(&mut self, quiet_max: Duration) {
        self.waiting = Waiting::at_most(quiet_max);
    }

    /// Whether the other end is at an address of this machine.
    pub(super) fn is_to_this_machine(&self) -> bool {
        let Socket::Tcp(tcp) = &self.socket else { return true };
        match (tcp.peer_addr(), tcp.local_addr()) {
            (Ok(peer), Ok(local)) => peer.ip() == local.ip(),
            _ => false,
        }
    }

    fn receive(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let Self { socket, waiting, cancel, counters, .. } = self;
        let read = waiting.until_moved(cancel, || match socket {
            Socket::Tcp(tcp) => tcp.read(out),
            Socket::Unix(unix) => unix.read(out),
        })?;
        counters.receive(read);
        Ok(read)
    }
}

/// How long there was no progress, and how long that may be.
struct Waiting {
    longest: Duration,
    waited: Duration,
    moved_bytes: usize,
}

impl Waiting {
    const fn at_most(longest: Duration) -> Self {
        Self { longest, waited: Duration::ZERO, moved_bytes: 0 }
    }

    /// Tries until something moves, the time is over, or the end of the run is asked for.
    fn until_moved(
        &mut self,
        cancel: &Cancel,
        mut step: impl FnMut() -> io::Result<usize>,
    ) -> io::Result<usize> {
        loop {
            if cancel.is_requested() {
                return Err(io::Error::other("interrupted"));
            }
            let began = Instant::now();
            let moved = match step() {
                Ok(moved) => Some(moved),
                Err(error) if is_for_now(&error) => None,
                Err(error) => return Err(error),
            };
            self.note(began.elapsed(), moved.unwrap_or(0));
            match moved {
                _ if self.waited >= self.longest => return Err(self.over()),
                Some(moved) => return Ok(moved),
                None => {}
            }
        }
    }

    fn note(&mut self, waited: Duration, moved: usize) {
        self.waited += waited;
        self.moved_bytes += moved;
        if self.moved_bytes >= PROGRESS_BYTES {
            (self.waited, self.moved_bytes) = (Duration::ZERO, 0);
        }
    }

    fn over(&self) -> io::Error {
        let seconds = self.longest.as_secs_f32();
        let what = format!("only {} bytes came or went in {seconds} s", self.moved_bytes);
        io::Error::new(ErrorKind::TimedOut, what)
    }
}

/// Whether there is only nothing to do at the moment.
fn is_for_now(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

impl Read for Wire {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.ahead_from == self.ahead.len() {
            if out.len() >= READ_AHEAD_BYTES {
                return self.receive(out);
            }
            let mut ahead = std::mem::take(&mut self.ahead);
            ahead.resize(READ_AHEAD_BYTES, 0);
            let read = self.receive(&mut ahead)?;
            ahead.truncate(read);
            (self.ahead, self.ahead_from) = (ahead, 0);
        }
        let rest = &self.ahead[self.ahead_from..];
        let len = rest.len().min(out.len());
        out[..len].copy_from_slice(&rest[..len]);
        self.ahead_from += len;
        Ok(len)
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Self { socket, waiting, cancel, counters, .. } = self;
        let written = waiting.until_moved(cancel, || match socket {
            Socket::Tcp(tcp) => tcp.write(bytes),
            Socket::Unix(unix) => unix.write(bytes),
        })?;
        counters.send(written);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
