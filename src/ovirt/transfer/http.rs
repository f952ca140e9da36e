//! One connection, one request after another: the part of HTTP that the daemon speaks.
//!
//! It announces the length of every body and never says good-bye on a connection, so only that
//! length tells a whole body from one that was cut short.

use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::base::cancel::Cancel;
use crate::ovirt::transfer::bandwidth::{Bandwidth, PORTION_BYTES};
use crate::ovirt::transfer::counters::WireCounters;
use crate::ovirt::transfer::places::Place;
use crate::ovirt::transfer::wire::Wire;
use crate::ovirt::trust::TlsStream;

/// Longest head of an answer.
const HEAD_BYTES_MAX: usize = 16 << 10;
const HEADERS_MAX: usize = 64;
/// A body up to this length goes out together with its head.
const SMALL_BODY_BYTES: usize = 4 << 10;

/// What carries a connection.
pub(super) enum Channel {
    Tls(Box<TlsStream<Wire>>),
    Plain(Wire),
}

impl Channel {
    pub(super) fn wire(&mut self) -> &mut Wire {
        match self {
            Self::Tls(stream) => stream.inner(),
            Self::Plain(wire) => wire,
        }
    }

    /// The daemon ends no encryption before it closes, so a missing word of that means nothing.
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tls(stream) => match stream.read(out) {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(0),
                read => read,
            },
            Self::Plain(wire) => wire.read(out),
        }
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Tls(stream) => stream.write_all(bytes).and_then(|()| stream.flush()),
            Self::Plain(wire) => wire.write_all(bytes),
        }
    }
}

/// A request.
pub(super) struct Request<'a> {
    pub(super) method: &'static str,
    /// Path and query.
    pub(super) target: String,
    /// One more header: name and value.
    pub(super) header: Option<(&'static str, String)>,
    pub(super) body: &'a [u8],
    /// Longest time until the answer begins.
    pub(super) answer_within: Duration,
    /// Longest time without a byte in its body.
    pub(super) quiet_max: Duration,
}

/// The head of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) status: u16,
    /// Length of the body.
    pub(super) body_bytes: u64,
    pub(super) range: Option<Range>,
    closes: bool,
}

/// Which part of an image an answer holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) from: u64,
    pub(super) size_bytes: u64,
}

/// What a connection is made of.
pub(super) struct Parts {
    pub(super) channel: Channel,
    /// The host as requests name it.
    pub(super) host: String,
    pub(super) bandwidth: Option<Arc<Bandwidth>>,
    pub(super) cancel: Cancel,
    pub(super) counters: Arc<WireCounters>,
    /// Taken from others until the connection is closed.
    pub(super) _place: Option<Place>,
}

/// A connection.
pub(super) struct Connection {
    parts: Parts,
    /// Came together with the head of the answer.
    ahead: Vec<u8>,
    ahead_from: usize,
    /// Bytes of the body that were not read yet.
    body_left: u64,
    quiet_max: Duration,
    /// Whether the other end can take another request once the body is read.
    is_sound: bool,
    used_at: Instant,
}

impl Connection {
    pub(super) fn new(parts: Parts) -> Self {
        let (quiet_max, used_at) = (Duration::ZERO, Instant::now());
        let (ahead, ahead_from, body_left, is_sound) = (Vec::new(), 0, 0, true);
        Self { parts, ahead, ahead_from, body_left, quiet_max, is_sound, used_at }
    }

    pub(super) fn wire(&mut self) -> &mut Wire {
        self.parts.channel.wire()
    }

    /// Whether the next request may go out on it.
    pub(super) fn is_free(&self) -> bool {
        self.is_sound && self.body_left == 0 && self.ahead_from == self.ahead.len()
    }

    /// When it was used last.
    pub(super) fn used_at(&self) -> Instant {
        self.used_at
    }

    /// Sends a request and reads the head of its answer. Afterwards the body is to be read.
    pub(super) fn exchange(&mut self, request: &Request<'_>) -> io::Result<Head> {
        self.parts.counters.request();
        self.is_sound = false;
        self.quiet_max = request.quiet_max;
        self.wire().set_quiet_max(request.quiet_max);
        let sent = self.send(request);
        if let Err(error) = &sent
            && !is_hang_up(error)
        {
            return sent.map(|()| unreachable!("it is an error"));
        }
        self.wire().set_quiet_max(request.answer_within);
        let head = match (sent, self.read_head()) {
            // It was refused before all of it was sent.
            (Err(_), Ok(head)) if head.status >= 400 => Head { closes: true, ..head },
            (Err(error), _) | (Ok(()), Err(error)) => return Err(error),
            (Ok(()), Ok(head)) => head,
        };
        // The daemon may have left a body that it refused unread.
        let is_refused = head.status >= 400 && !request.body.is_empty();
        self.is_sound = !head.closes && !is_refused && head.status < 500;
        self.body_left = head.body_bytes;
        self.used_at = Instant::now();
        self.wire().set_quiet_max(request.quiet_max);
        Ok(head)
    }

    fn send(&mut self, request: &Request<'_>) -> io::Result<()> {
        let Request { method, target, header, body, .. } = request;
        let mut head = format!("{method} {target} HTTP/1.1\r\nHost: {}\r\n", self.parts.host);
        if let Some((name, value)) = header {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        if !body.is_empty() || matches!(*method, "PUT" | "PATCH") {
            let _ = write!(head, "Content-Length: {}\r\n", body.len());
        }
        head.push_str("\r\n");
        let mut head = head.into_bytes();
        if body.len() <= SMALL_BODY_BYTES {
            head.extend_from_slice(body);
            return self.parts.channel.write_all(&head);
        }
        self.parts.channel.write_all(&head)?;
        for portion in body.chunks(PORTION_BYTES) {
            self.throttle(portion.len())?;
            self.parts.channel.write_all(portion)?;
        }
        Ok(())
    }

    fn throttle(&self, bytes: usize) -> io::Result<()> {
        match &self.parts.bandwidth {
            Some(bandwidth) => bandwidth.take(bytes, &self.parts.cancel).map_err(io::Error::other),
            None => Ok(()),
        }
    }

    fn read_head(&mut self) -> io::Result<Head> {
        let mut received = std::mem::take(&mut self.ahead);
        received.drain(..self.ahead_from);
        self.ahead_from = 0;
        loop {
            if let Some((len, head)) = parse(&received)? {
                received.drain(..len);
                // Interim answers announce the real one.
                if head.status >= 200 {
                    self.ahead = received;
                    return Ok(head);
                }
                continue;
            }
            if received.len() >= HEAD_BYTES_MAX {
                return Err(senseless("the head of the answer does not end"));
            }
            let had = received.len();
            received.resize(HEAD_BYTES_MAX, 0);
            let read = self.parts.channel.read(&mut received[had..])?;
            received.truncate(had + read);
            if read == 0 {
                let what = "the connection was closed before an answer";
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, what));
            }
        }
    }

    /// All of a body that must not be longer than `bytes_max`.
    pub(super) fn read_whole(&mut self, bytes_max: usize) -> io::Result<Vec<u8>> {
        if self.body_left > bytes_max as u64 {
            return Err(senseless("the answer is too long"));
        }
        let mut body = Vec::with_capacity(self.body_left as usize);
        self.read_to_end(&mut body)?;
        Ok(body)
    }
}

impl Read for Connection {
    /// Reads from the body. Nothing is its end; one that ends before its announced length is an
    /// error.
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let mut len = out.len().min(usize::try_from(self.body_left).unwrap_or(usize::MAX));
        if len == 0 {
            return Ok(0);
        }
        let ahead = &self.ahead[self.ahead_from..];
        let read = if ahead.is_empty() {
            if self.parts.bandwidth.is_some() {
                len = len.min(PORTION_BYTES);
            }
            let read = self.parts.channel.read(&mut out[..len])?;
            self.throttle(read)?;
            read
        } else {
            let len = len.min(ahead.len());
            out[..len].copy_from_slice(&ahead[..len]);
            self.ahead_from += len;
            len
        };
        if read == 0 {
            let what = format!("the answer ended {} bytes before its end", self.body_left);
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, what));
        }
        self.body_left -= read as u64;
        if self.body_left == 0 {
            self.used_at = Instant::now();
        }
        Ok(read)
    }
}

/// Whether the other end stopped listening; it may have answered before that.
fn is_hang_up(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset)
}

fn senseless(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

/// The head at the beginning of `received` and its length, if all of it is there.
fn parse(received: &[u8]) -> io::Result<Option<(usize, Head)>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let parsed = response.parse(received).map_err(|error| senseless(error.to_string()))?;
    let httparse::Status::Complete(len) = parsed else { return Ok(None) };
    let status = response.code.unwrap_or_default();
    let value = |name: &str| {
        let mut found = response.headers.iter().filter(|one| one.name.eq_ignore_ascii_case(name));
        let value = found.next().and_then(|one| std::str::from_utf8(one.value).ok());
        (value.map(str::trim), found.next().is_some())
    };
    let length = match value("content-length") {
        (Some(text), false) => number(text).ok_or_else(|| senseless("no length"))?,
        (None, false) if status < 200 || status == 204 || status == 304 => 0,
        _ => return Err(senseless("the answer does not announce its length")),
    };
    if value("transfer-encoding").0.is_some() {
        return Err(senseless("the answer comes in an encoding that was not asked for"));
    }
    let closes = value("connection").0.is_some_and(|text| text.eq_ignore_ascii_case("close"))
        || response.version != Some(1);
    let range = value("content-range").0.and_then(range);
    Ok(Some((len, Head { status, body_bytes: length, range, closes })))
}

fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// Reads `bytes FROM-TO/SIZE`.
fn range(text: &str) -> Option<Range> {
    let (range, size) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (from, _) = range.split_once('-')?;
    Some(Range { from: number(from)?, size_bytes: number(size)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn heads_are_read_piece_by_piece() {
        let text = "HTTP/1.1 206 Partial Content\r\ncontent-length: 16\r\n\
                    content-range: bytes 4096-4111/268435456\r\nDate: today\r\n\r\nbody";
        for cut in 0..text.len() - 4 {
            assert_eq!(parse(&text.as_bytes()[..cut]).unwrap(), None);
        }
        let range = Some(Range { from: 4096, size_bytes: 268_435_456 });
        let head = Head { status: 206, body_bytes: 16, range, closes: false };
        assert_eq!(parse(text.as_bytes()).unwrap(), Some((text.len() - 4, head)));
    }

    proptest! {
        #[test]
        fn whatever_arrives_is_a_head_or_an_error(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            is_status in any::<bool>(),
        ) {
            let start: &[u8] = if is_status { b"HTTP/1.1 206 x\r\ncontent-length:" } else { b"" };
            let bytes = [start, &bytes, b"\r\n\r\n"].concat();
            if let Ok(Some((len, _))) = parse(&bytes) {
                prop_assert!(len <= bytes.len());
            }
        }
    }

    #[test]
    fn a_connection_that_will_be_closed_is_not_used_again() {
        for (text, closes) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", false),
            ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: Close\r\n\r\n", true),
            ("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", true),
        ] {
            assert_eq!(parse(text.as_bytes()).unwrap().unwrap().1.closes, closes);
        }
    }

    #[test]
    fn an_answer_whose_length_is_unknown_is_refused() {
        for headers in [
            "",
            "content-length: -1\r\n",
            "content-length: +1\r\n",
            "content-length: 1x\r\n",
            "content-length: 99999999999999999999\r\n",
            "content-length: 1\r\ncontent-length: 1\r\n",
            "content-length: 1\r\ntransfer-encoding: chunked\r\n",
        ] {
            let text = format!("HTTP/1.1 200 OK\r\n{headers}\r\n");
            assert!(parse(text.as_bytes()).is_err(), "{headers}");
        }
        assert!(parse(b"SSH-2.0-OpenSSH\r\n\r\n").is_err());
        assert!(parse(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap().is_some());
    }
}
