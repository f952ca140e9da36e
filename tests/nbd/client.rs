//! A client that says what it is told to say.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

const OPTION_MAGIC: u64 = 0x4948_4156_454f_5054;
const REQUEST_MAGIC: u32 = 0x2560_9513;

pub(crate) const READ: u16 = 0;
pub(crate) const WRITE: u16 = 1;
pub(crate) const DISC: u16 = 2;
pub(crate) const FLUSH: u16 = 3;
pub(crate) const TRIM: u16 = 4;
pub(crate) const CACHE: u16 = 5;
pub(crate) const WRITE_ZEROES: u16 = 6;
pub(crate) const BLOCK_STATUS: u16 = 7;

pub(crate) const FUA: u16 = 1;
pub(crate) const NO_HOLE: u16 = 2;
pub(crate) const DF: u16 = 4;
pub(crate) const REQ_ONE: u16 = 8;
pub(crate) const FAST_ZERO: u16 = 16;

/// What came back for one request, or a part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    Simple { cookie: u64, errno: u32 },
    Part { cookie: u64, is_last: bool, part: Part },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    None,
    Data(u64, Vec<u8>),
    Hole(u64, u32),
    Status(Vec<(u32, u32)>),
    Error { errno: u32, text: String, offset: Option<u64> },
}

pub(crate) struct Client {
    pub(crate) stream: UnixStream,
    pub(crate) flags: u16,
    pub(crate) size: u64,
}

/// What is wished of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    Simple,
    Structured,
    Allocation,
}

impl Client {
    pub(crate) fn connect(path: &Path, wish: Wish) -> Self {
        let mut client = Self::greet(path, 3);
        if wish != Wish::Simple {
            assert_eq!(client.option(8, &[]), [(1, vec![])]);
        }
        if wish == Wish::Allocation {
            let query = b"base:allocation";
            let count = 1u32.to_be_bytes();
            let len = (query.len() as u32).to_be_bytes();
            let answers = client.option(10, &[&[0; 4], &count[..], &len, query].concat());
            assert_eq!(answers, [(4, [&[0, 0, 0, 1], &query[..]].concat()), (1, vec![])]);
        }
        let answers = client.option(7, &[0; 6]);
        let export = &answers.iter().find(|(kind, data)| *kind == 3 && data[..2] == [0, 0]);
        let export = &export.unwrap().1;
        client.size = u64::from_be_bytes(export[2..10].try_into().unwrap());
        client.flags = u16::from_be_bytes(export[10..].try_into().unwrap());
        client
    }

    /// Up to the first option.
    pub(crate) fn greet(path: &Path, flags: u32) -> Self {
        let stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut client = Self { stream, flags: 0, size: 0 };
        assert_eq!(&client.take(18)[..16], b"NBDMAGICIHAVEOPT");
        client.stream.write_all(&flags.to_be_bytes()).unwrap();
        client
    }

    pub(crate) fn take(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.stream.read_exact(&mut bytes).unwrap();
        bytes
    }

    fn u32(&mut self) -> u32 {
        u32::from_be_bytes(self.take(4).try_into().unwrap())
    }

    fn u64(&mut self) -> u64 {
        u64::from_be_bytes(self.take(8).try_into().unwrap())
    }

    pub(crate) fn send_option(&mut self, code: u32, data: &[u8]) {
        let len = (data.len() as u32).to_be_bytes();
        let bytes = [&OPTION_MAGIC.to_be_bytes()[..], &code.to_be_bytes(), &len, data].concat();
        self.stream.write_all(&bytes).unwrap();
    }

    /// The answers to an option, up to the one that ends them.
    pub(crate) fn option(&mut self, code: u32, data: &[u8]) -> Vec<(u32, Vec<u8>)> {
        self.send_option(code, data);
        let mut answers = Vec::new();
        loop {
            assert_eq!(self.u64(), 0x0003_e889_0455_65a9);
            assert_eq!(self.u32(), code);
            let (kind, len) = (self.u32(), self.u32());
            answers.push((kind, self.take(len as usize)));
            if kind == 1 || kind >> 31 == 1 {
                return answers;
            }
        }
    }

    pub(crate) fn request(&mut self, flags: u16, command: u16, cookie: u64, offset: u64, len: u32) {
        let mut bytes = REQUEST_MAGIC.to_be_bytes().to_vec();
        bytes.extend(flags.to_be_bytes());
        bytes.extend(command.to_be_bytes());
        bytes.extend(cookie.to_be_bytes());
        bytes.extend(offset.to_be_bytes());
        bytes.extend(len.to_be_bytes());
        self.stream.write_all(&bytes).unwrap();
    }

    pub(crate) fn reply(&mut self) -> Reply {
        let magic = self.u32();
        if magic == 0x6744_6698 {
            return Reply::Simple { errno: self.u32(), cookie: self.u64() };
        }
        assert_eq!(magic, 0x668e_33ef);
        let head = self.take(4);
        let (flags, kind) = (head[1], u16::from_be_bytes([head[2], head[3]]));
        let cookie = self.u64();
        let len = self.u32() as usize;
        let part = parse(kind, &self.take(len));
        Reply::Part { cookie, is_last: flags == 1, part }
    }

    /// The parts of one reply, with no other request on its way.
    pub(crate) fn parts(&mut self) -> Vec<Part> {
        let mut parts = Vec::new();
        loop {
            match self.reply() {
                Reply::Part { is_last, part, .. } => {
                    parts.push(part);
                    if is_last {
                        return parts;
                    }
                }
                Reply::Simple { errno: 0, .. } => return vec![Part::None],
                simple => panic!("{simple:?}"),
            }
        }
    }

    /// Asks and waits for the answer.
    pub(crate) fn ask(&mut self, flags: u16, command: u16, offset: u64, len: u32) -> Vec<Part> {
        self.request(flags, command, 77, offset, len);
        self.parts()
    }

    pub(crate) fn write(&mut self, flags: u16, offset: u64, bytes: &[u8]) -> Vec<Part> {
        self.request(flags, WRITE, 78, offset, bytes.len() as u32);
        self.stream.write_all(bytes).unwrap();
        self.parts()
    }

    /// The bytes of a range, put together from the parts of the reply.
    pub(crate) fn read(&mut self, offset: u64, len: u32) -> Result<Vec<u8>, Part> {
        let mut bytes = vec![0xee; len as usize];
        let mut got = 0;
        for part in self.ask(0, READ, offset, len) {
            let (at, part) = match part {
                Part::Data(at, part) => (at, part),
                Part::Hole(at, len) => (at, vec![0; len as usize]),
                Part::None => continue,
                other => return Err(other),
            };
            let start = (at - offset) as usize;
            bytes[start..start + part.len()].copy_from_slice(&part);
            got += part.len();
        }
        assert_eq!(got, len as usize);
        Ok(bytes)
    }

    /// Whether the server has closed the connection, once all that it sent is taken.
    pub(crate) fn sees_the_end(mut self) -> bool {
        match io::copy(&mut self.stream, &mut io::sink()) {
            Ok(_) => true,
            Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
        }
    }
}

fn parse(kind: u16, payload: &[u8]) -> Part {
    let number = |at: usize| u32::from_be_bytes(payload[at..at + 4].try_into().unwrap());
    let long = |at: usize| u64::from_be_bytes(payload[at..at + 8].try_into().unwrap());
    match kind {
        0 => Part::None,
        1 => Part::Data(long(0), payload[8..].to_vec()),
        2 => Part::Hole(long(0), number(8)),
        5 => {
            assert_eq!(number(0), 1, "the context");
            let pairs = (4..payload.len()).step_by(8);
            Part::Status(pairs.map(|at| (number(at), number(at + 4))).collect())
        }
        0x8001 | 0x8002 => {
            let end = 6 + usize::from(u16::from_be_bytes([payload[4], payload[5]]));
            let text = String::from_utf8(payload[6..end].to_vec()).unwrap();
            let offset = (kind == 0x8002).then(|| long(end));
            Part::Error { errno: number(0), text, offset }
        }
        other => panic!("a part of kind {other}"),
    }
}
