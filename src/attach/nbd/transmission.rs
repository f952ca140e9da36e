//! One connection after its handshake: requests in, replies out, several at a time.

use std::io::{self, BufReader, IoSlice, Read};
use std::net::Shutdown;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::thread::{self, Builder};

use crate::attach::nbd::BlockView;
use crate::attach::nbd::budget::{Budget, Taken};
use crate::attach::nbd::crew::Crew;
use crate::attach::nbd::export::ExportFacts;
use crate::attach::nbd::haggling::Agreed;
use crate::attach::nbd::reply;
use crate::attach::nbd::request::{REQUEST_BYTES, Refusal, Request, Work};
use crate::attach::nbd::socket::Socket;
use crate::attach::nbd::wire::{Errno, MAX_PAYLOAD_BYTES, PREFERRED_BLOCK_BYTES, STATE_HOLE_ZERO};
use crate::base::limits::CHUNK_BYTES;
use crate::base::sync::lock;
use crate::error::{Error, ErrorKind, Result};
use crate::monitor::Monitor;
use crate::vfs::{ReadPiece, SeekKind};

/// Bytes of payloads and of replies in one piece that a connection may hold at once.
const BUDGET_BYTES: usize = MAX_PAYLOAD_BYTES as usize;
/// Bytes of requests that are taken from the socket at once; payloads pass it by.
const INPUT_BYTES: usize = 16 << 10;
/// A payload is given memory as it comes, in steps of this.
const PAYLOAD_STEP: usize = CHUNK_BYTES;
/// A hole in a reply that is shorter travels as zeros: it would not be worth a part of its own.
const HOLE_BYTES_MIN: usize = PREFERRED_BLOCK_BYTES as usize;

/// A connection on which requests are answered.
pub(super) struct Transmission<'a> {
    view: &'a dyn BlockView,
    facts: &'a ExportFacts,
    agreed: Agreed,
    monitor: &'a dyn Monitor,
    socket: &'a Socket,
    input: Mutex<Input<'a>>,
    output: Mutex<()>,
    budget: Budget,
    crew: Crew,
}

struct Input<'a> {
    reader: BufReader<&'a Socket>,
    has_ended: bool,
}

/// A request, what there is to do, and what it holds.
struct Task<'a> {
    request: Request,
    work: std::result::Result<Work, Refusal>,
    payload: Vec<u8>,
    _taken: Taken<'a>,
}

impl<'a> Transmission<'a> {
    /// Nothing is read yet.
    pub(super) fn new(
        view: &'a dyn BlockView,
        facts: &'a ExportFacts,
        agreed: Agreed,
        socket: &'a Socket,
        monitor: &'a dyn Monitor,
    ) -> Self {
        let reader = BufReader::with_capacity(INPUT_BYTES, socket);
        Self {
            view,
            facts,
            agreed,
            monitor,
            socket,
            input: Mutex::new(Input { reader, has_ended: false }),
            output: Mutex::default(),
            crew: Crew::default(),
            budget: Budget::new(BUDGET_BYTES),
        }
    }

    /// Answers until the client leaves, or does not keep to the protocol. Whoever is free reads the
    /// next request; all that was read is answered before this returns.
    pub(super) fn run(&self) {
        thread::scope(|scope| {
            let thread = || Builder::new().name("nbd-request".to_owned());
            let start = || thread().spawn_scoped(scope, || self.work()).is_ok();
            // More threads are of no use to a client that takes no replies.
            self.crew.staff(start, || self.output.try_lock().is_ok());
        });
    }

    fn work(&self) {
        while let Some(task) = self.next() {
            self.crew.begin();
            let answered = catch_unwind(AssertUnwindSafe(|| self.answer(&task)));
            match answered {
                Ok(Ok(())) => {}
                Ok(Err(_)) => self.socket.shutdown(Shutdown::Both),
                Err(_) => {
                    let what = "a request over NBD failed: there is a mistake in this program";
                    self.monitor.problem(&Error::new(ErrorKind::Io, what));
                    self.socket.shutdown(Shutdown::Both);
                }
            }
            drop(task);
            if !self.crew.goes_on() {
                return;
            }
        }
        self.crew.end();
    }

    /// The next request with its payload; none when there are no more.
    fn next(&self) -> Option<Task<'_>> {
        let mut input = lock(&self.input);
        if input.has_ended {
            return None;
        }
        let task = self.read_task(&mut input.reader).ok().flatten();
        input.has_ended = task.is_none();
        task
    }

    fn read_task(&self, reader: &mut BufReader<&Socket>) -> io::Result<Option<Task<'_>>> {
        let mut bytes = [0; REQUEST_BYTES];
        reader.read_exact(&mut bytes)?;
        let Some(request) = Request::decode(&bytes) else { return Ok(None) };
        let work = request.judge(self.facts, self.agreed);
        if work == Ok(Work::Disconnect) {
            return Ok(None);
        }
        let mut reader = reader.take(request.payload_bytes().into());
        let taken = self.budget.take(self.held_bytes(&request, work));
        let mut payload = Vec::new();
        match work {
            Ok(_) => read_payload(&mut reader, &mut payload)?,
            Err(_) => {
                io::copy(&mut reader, &mut io::sink())?;
            }
        }
        Ok((reader.limit() == 0).then_some(Task { request, work, payload, _taken: taken }))
    }

    /// What a request holds while it is worked on.
    fn held_bytes(&self, request: &Request, work: std::result::Result<Work, Refusal>) -> usize {
        match work {
            Ok(Work::Write) => request.len as usize,
            Ok(Work::Read { is_whole }) if is_whole || !self.agreed.is_structured => {
                request.len as usize
            }
            Ok(Work::Read { .. }) => CHUNK_BYTES.min(request.len as usize),
            _ => 0,
        }
    }

    /// Does what a request wants and sends the reply. Fails if that cannot be sent.
    fn answer(&self, task: &Task<'_>) -> io::Result<()> {
        let request = &task.request;
        let work = match task.work {
            Ok(work) => work,
            Err(refusal) => return self.fail(request, refusal.errno, refusal.what, None),
        };
        let done = match work {
            Work::Read { is_whole } => return self.read(request, is_whole),
            Work::BlockStatus { only_one } => return self.block_status(request, only_one),
            Work::Flush => self.view.flush(),
            Work::Disconnect => Ok(()),
            Work::Cache => self.cache(request),
            Work::Write => self.view.write(request.offset, &task.payload),
            Work::Trim => self.trim(request),
            Work::WriteZeroes { keeps_space: false } => {
                self.view.zero(request.offset, request.len.into())
            }
            Work::WriteZeroes { keeps_space: true } => self.write_zeros(request),
        };
        let is_change = matches!(work, Work::Write | Work::Trim | Work::WriteZeroes { .. });
        let must_flush = is_change && request.is_forced();
        match done.and_then(|()| if must_flush { self.view.flush() } else { Ok(()) }) {
            Ok(()) => self.send(&reply::simple(request.cookie, None)),
            Err(error) => self.fail_with(request, &error, None),
        }
    }

    fn read(&self, request: &Request, is_whole: bool) -> io::Result<()> {
        let Request { cookie, offset, len, .. } = *request;
        if !self.agreed.is_structured {
            return self.read_part(request, offset, len as usize, |pieces| {
                self.send_after(&reply::simple(cookie, None), pieces)
            });
        }
        if len == 0 {
            return self.send(&reply::done(cookie));
        }
        if is_whole {
            return self.read_part(request, offset, len as usize, |pieces| {
                self.send_after(&reply::data(cookie, offset, len, true), pieces)
            });
        }
        let mut at = offset;
        while at < request.end() {
            let chunk_end = (at / CHUNK_BYTES as u64 + 1) * CHUNK_BYTES as u64;
            let end = chunk_end.min(request.end());
            let mut has_failed = false;
            let read = self.view.read(at, (end - at) as usize, &mut |pieces| {
                let sent = self.send_parts(request, at, pieces);
                has_failed |= sent.is_err();
            });
            if has_failed {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            if let Err(error) = read {
                return self.fail_with(request, &error, Some(at));
            }
            at = end;
        }
        Ok(())
    }

    /// Reads all of a request at once and sends what `send` makes of it.
    fn read_part(
        &self,
        request: &Request,
        offset: u64,
        len: usize,
        send: impl Fn(&[ReadPiece<'_>]) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut sent = Ok(());
        match self.view.read(offset, len, &mut |pieces| sent = send(pieces)) {
            Ok(()) => sent,
            Err(error) => self.fail_with(request, &error, None),
        }
    }

    /// Sends the bytes from `offset` on as parts of a structured reply, holes as holes.
    fn send_parts(
        &self,
        request: &Request,
        offset: u64,
        pieces: &[ReadPiece<'_>],
    ) -> io::Result<()> {
        let runs = runs(pieces);
        let mut at = offset;
        let mut heads = Vec::with_capacity(runs.len());
        for run in &runs {
            let end = at + run.len as u64;
            let is_last = end == request.end();
            let of = if run.is_hole { reply::hole } else { reply::data };
            heads.push(of(request.cookie, at, run.len as u32, is_last));
            at = end;
        }
        let mut parts = Vec::with_capacity(pieces.len() + heads.len());
        for (run, head) in runs.iter().zip(&heads) {
            parts.push(IoSlice::new(head));
            if !run.is_hole {
                parts.extend(run.pieces.iter().map(|piece| IoSlice::new(piece.bytes())));
            }
        }
        let _turn = lock(&self.output);
        self.socket.send(&mut parts)
    }

    fn send_after(&self, head: &[u8], pieces: &[ReadPiece<'_>]) -> io::Result<()> {
        let mut parts = vec![IoSlice::new(head)];
        parts.extend(pieces.iter().map(|piece| IoSlice::new(piece.bytes())));
        let _turn = lock(&self.output);
        self.socket.send(&mut parts)
    }

    fn send(&self, bytes: &[u8]) -> io::Result<()> {
        self.send_after(bytes, &[])
    }

    fn block_status(&self, request: &Request, only_one: bool) -> io::Result<()> {
        match self.stretches(request, only_one) {
            Ok(stretches) if stretches.is_empty() => {
                self.fail(request, Errno::Invalid, "the range is empty", None)
            }
            Ok(stretches) => self.send(&reply::block_status(request.cookie, &stretches)),
            Err(error) => self.fail_with(request, &error, None),
        }
    }

    /// Lengths and states of the stretches of a range; as each is a chunk at least, there are at
    /// most 4097.
    fn stretches(&self, request: &Request, only_one: bool) -> Result<Vec<(u32, u32)>> {
        let mut at = request.offset;
        let mut found = Vec::new();
        while let Some(extent) = self.view.extent(at, request.end())? {
            let state = if extent.kind == SeekKind::Hole { STATE_HOLE_ZERO } else { 0 };
            // No longer than the range, whose length is a u32.
            found.push(((extent.end - at) as u32, state));
            at = extent.end;
            if only_one {
                break;
            }
        }
        Ok(found)
    }

    /// Gives the space of whole blocks back; the rest of the range keeps its bytes.
    fn trim(&self, request: &Request) -> Result<()> {
        let block = u64::from(PREFERRED_BLOCK_BYTES);
        let start = request.offset.next_multiple_of(block);
        let end = match request.end() == self.facts.size_bytes {
            true => request.end(),
            false => request.end() / block * block,
        };
        if start < end { self.view.zero(start, end - start) } else { Ok(()) }
    }

    fn write_zeros(&self, request: &Request) -> Result<()> {
        let mut at = request.offset;
        while at < request.end() {
            let zeros = ReadPiece::Zeros((request.end() - at).min(CHUNK_BYTES as u64) as usize);
            self.view.write(at, zeros.bytes())?;
            at += zeros.bytes().len() as u64;
        }
        Ok(())
    }

    /// Decodes what the client will ask for, as much of it as one request may carry.
    fn cache(&self, request: &Request) -> Result<()> {
        let end = request.end().min(request.offset + u64::from(MAX_PAYLOAD_BYTES));
        let mut at = request.offset;
        while at < end {
            let len = (end - at).min(CHUNK_BYTES as u64);
            self.view.read(at, len as usize, &mut |_| ())?;
            at += len;
        }
        Ok(())
    }

    fn fail_with(&self, request: &Request, error: &Error, at: Option<u64>) -> io::Result<()> {
        self.fail(request, errno(error.kind()), &error.chain(), at)
    }

    fn fail(&self, request: &Request, errno: Errno, text: &str, at: Option<u64>) -> io::Result<()> {
        match self.agreed.is_structured {
            true => self.send(&reply::error(request.cookie, errno, text, at)),
            false => self.send(&reply::simple(request.cookie, Some(errno))),
        }
    }
}

/// Takes memory as bytes come, so that a promise alone costs nothing.
fn read_payload(reader: &mut io::Take<impl Read>, payload: &mut Vec<u8>) -> io::Result<()> {
    while reader.limit() > 0 {
        let step = PAYLOAD_STEP.min(usize::try_from(reader.limit()).unwrap_or(PAYLOAD_STEP));
        let start = payload.len();
        payload.resize(start + step, 0);
        reader.read_exact(&mut payload[start..])?;
    }
    Ok(())
}

/// Pieces that travel as one part.
struct Run<'a> {
    is_hole: bool,
    len: usize,
    pieces: &'a [ReadPiece<'a>],
}

fn runs<'a>(pieces: &'a [ReadPiece<'a>]) -> Vec<Run<'a>> {
    let is_hole = |piece: &ReadPiece<'_>| match piece {
        ReadPiece::Zeros(len) => *len >= HOLE_BYTES_MIN,
        ReadPiece::Bytes(_) => false,
    };
    let of = |pieces: &'a [ReadPiece<'a>]| Run {
        is_hole: is_hole(&pieces[0]),
        len: pieces.iter().map(|piece| piece.bytes().len()).sum(),
        pieces,
    };
    pieces.chunk_by(|a, b| is_hole(a) == is_hole(b)).map(of).collect()
}

/// The number for each kind of error. The text says what is wrong in full.
fn errno(kind: ErrorKind) -> Errno {
    match kind {
        ErrorKind::Full => Errno::NoSpace,
        ErrorKind::Denied | ErrorKind::Refused => Errno::Perm,
        ErrorKind::Invalid => Errno::Invalid,
        _ => Errno::Io,
    }
}
