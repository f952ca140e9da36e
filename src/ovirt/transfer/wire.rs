//! A socket on which nothing waits for ever, and whose bytes are counted.

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

/// What carries the bytes.
pub(super) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A socket with a deadline for every wait.
pub(super) struct Wire {
    socket: Socket,
    /// Longest time without a byte.
    quiet_max: Duration,
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
        Ok(Self { socket, quiet_max, ahead: Vec::new(), ahead_from: 0, cancel, counters })
    }

    /// Sets the longest time without a byte.
    pub(super) fn set_quiet_max(&mut self, quiet_max: Duration) {
        self.quiet_max = quiet_max;
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
        let Self { socket, quiet_max, cancel, counters, .. } = self;
        let read = patiently(*quiet_max, cancel, || match socket {
            Socket::Tcp(tcp) => tcp.read(out),
            Socket::Unix(unix) => unix.read(out),
        })?;
        counters.receive(read);
        Ok(read)
    }
}

/// Tries until something happens, the time is over, or the end of the run is asked for.
fn patiently(
    quiet_max: Duration,
    cancel: &Cancel,
    mut step: impl FnMut() -> io::Result<usize>,
) -> io::Result<usize> {
    let began = Instant::now();
    loop {
        if cancel.is_requested() {
            return Err(io::Error::other("interrupted"));
        }
        match step() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                if began.elapsed() >= quiet_max {
                    let what = format!("nothing came or went for {} s", quiet_max.as_secs());
                    return Err(io::Error::new(ErrorKind::TimedOut, what));
                }
            }
            done => return done,
        }
    }
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
        let Self { socket, quiet_max, cancel, counters, .. } = self;
        let written = patiently(*quiet_max, cancel, || match socket {
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
