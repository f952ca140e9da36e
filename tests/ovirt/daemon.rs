//! A transfer daemon for tests that breaks off, stalls and lies when it is told to.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use backstop::ovirt::transfer::TicketUrls;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::engine::Authority;

/// A ticket that must be seen nowhere.
pub(crate) const TICKET: &str = "canary-ticket";

/// What it does instead of answering a request.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Trick {
    /// Sends that many bytes of the body, and closes as if all were well.
    Cut(usize),
    /// Sends that many bytes of the body, and then nothing.
    Stall(usize),
    /// Sends a byte of the body now and then.
    Trickle,
    /// Says nothing at all.
    Silence,
    /// Does not even read the body.
    Deaf,
    /// Closes without a word.
    Close,
    /// Answers with a status and a text that repeats the ticket.
    Status(u16),
    /// Answers so before it has read the body, and leaves that unread.
    Refuse(u16),
    /// Answers with another part of the image than was asked for.
    OtherRange,
    /// Announces and sends one byte less.
    Shorter,
    /// Answers with the whole image.
    Whole,
    /// Announces no length.
    NoLength,
}

/// A request as it arrived: method and path without the ticket, and the value of its range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) what: String,
    pub(crate) range: String,
}

pub(crate) struct State {
    pub(crate) image: Vec<u8>,
    /// Answer to OPTIONS; none for a daemon that does not know it.
    pub(crate) abilities: Option<String>,
    /// Lists of extents by context.
    pub(crate) lists: BTreeMap<&'static str, String>,
    pub(crate) tricks: VecDeque<Trick>,
    /// Tricks for everything that is no part of the image.
    pub(crate) other_tricks: VecDeque<Trick>,
    pub(crate) asked: Vec<Asked>,
    pub(crate) tickets: Vec<String>,
}

/// The daemon. Serves until it is dropped.
pub(crate) struct FakeDaemon {
    pub(crate) port: u16,
    state: Arc<Mutex<State>>,
    tls: Arc<Mutex<Arc<ServerConfig>>>,
    open: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
    is_over: Arc<AtomicBool>,
}

/// What a daemon of today can do.
pub(crate) const ABILITIES: &str = r#"{"features": ["checksum", "extents", "flush", "zero"],
    "unix_socket": "\u0000/org/ovirt/imageio", "max_readers": 40, "max_writers": 40}"#;

impl FakeDaemon {
    pub(crate) fn start(address: &str, authority: &Authority, image: Vec<u8>) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Mutex::new(State {
            image,
            abilities: Some(ABILITIES.to_owned()),
            lists: BTreeMap::new(),
            tricks: VecDeque::new(),
            other_tricks: VecDeque::new(),
            asked: Vec::new(),
            tickets: vec![TICKET.to_owned()],
        }));
        let tls = Arc::new(Mutex::new(authority.server()));
        let daemon = Self {
            port,
            state: Arc::clone(&state),
            tls: Arc::clone(&tls),
            open: Arc::default(),
            most: Arc::default(),
            is_over: Arc::default(),
        };
        let (open, most) = (Arc::clone(&daemon.open), Arc::clone(&daemon.most));
        let is_over = Arc::clone(&daemon.is_over);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if is_over.load(Ordering::SeqCst) {
                    break;
                }
                let (state, config) = (Arc::clone(&state), Arc::clone(&*tls.lock().unwrap()));
                let (open, most) = (Arc::clone(&open), Arc::clone(&most));
                let is_over = Arc::clone(&is_over);
                thread::spawn(move || {
                    most.fetch_max(open.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    // Clients may go away at any time.
                    let _ = serve(stream, config, &state, &is_over);
                    open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        daemon
    }

    pub(crate) fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.state.lock().unwrap())
    }

    /// Does these instead of answering requests for parts of the image, one after the other.
    pub(crate) fn play(&self, tricks: &[Trick]) {
        self.with(|state| state.tricks.extend(tricks));
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.with(|state| state.asked.clone())
    }

    /// The ranges of the requests with that beginning.
    pub(crate) fn ranges(&self, what: &str) -> Vec<String> {
        let asked = self.asked();
        asked.iter().filter(|one| one.what == what).map(|one| one.range.clone()).collect()
    }

    /// Most connections that there ever were at once.
    pub(crate) fn most_connections(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }

    /// Connections that there are.
    pub(crate) fn open_connections(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    pub(crate) fn change_authority(&self, authority: &Authority) {
        *self.tls.lock().unwrap() = authority.server();
    }

    pub(crate) fn url(&self, host: &str, ticket: &str) -> String {
        format!("https://{host}:{}/images/{ticket}", self.port)
    }

    pub(crate) fn urls(&self) -> TicketUrls {
        TicketUrls { direct: Some(self.url("127.0.0.1", TICKET).into()), proxy: None }
    }
}

impl Drop for FakeDaemon {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        let _ = TcpStream::connect(("::1", self.port));
    }
}

type Stream = BufReader<StreamOwned<ServerConnection, TcpStream>>;

fn serve(
    tcp: TcpStream,
    config: Arc<ServerConfig>,
    state: &Mutex<State>,
    is_over: &AtomicBool,
) -> io::Result<()> {
    let connection = ServerConnection::new(config).unwrap();
    let mut stream = BufReader::new(StreamOwned::new(connection, tcp));
    while !is_over.load(Ordering::SeqCst) {
        let Some((head, headers)) = read_head(&mut stream)? else { return Ok(()) };
        if !answer(&mut stream, state, &head, &headers)? {
            return Ok(());
        }
    }
    Ok(())
}

fn read_head(stream: &mut Stream) -> io::Result<Option<(String, BTreeMap<String, String>)>> {
    let mut head = String::new();
    if stream.read_line(&mut head)? == 0 {
        return Ok(None);
    }
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    Ok(Some((head, headers)))
}

/// Answers one request; says whether the connection goes on.
fn answer(
    stream: &mut Stream,
    state: &Mutex<State>,
    head: &str,
    headers: &BTreeMap<String, String>,
) -> io::Result<bool> {
    let mut words = head.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let path = target.strip_prefix("/images/").unwrap_or_default();
    let ticket_end = path.find(['/', '?']).unwrap_or(path.len());
    let (ticket, rest) = path.split_at(ticket_end);
    let range = headers.get("range").or(headers.get("content-range")).cloned().unwrap_or_default();
    let is_part = !range.is_empty() || method == "PATCH";
    let trick = {
        let mut state = state.lock().unwrap();
        state.asked.push(Asked { what: format!("{method} {rest}"), range: range.clone() });
        match is_part {
            true => state.tricks.pop_front(),
            false => state.other_tricks.pop_front(),
        }
    };
    let len: usize = headers.get("content-length").map_or(0, |len| len.parse().unwrap());
    if let Some(Trick::Refuse(status)) = trick {
        respond(stream, status, "", b"no")?;
        return Ok(true);
    }
    if let Some(Trick::Deaf) = trick {
        thread::sleep(Duration::from_secs(30));
    }
    let mut body = vec![0; len];
    stream.read_exact(&mut body)?;
    let mut held = state.lock().unwrap();
    if !held.tickets.iter().any(|one| one == ticket) {
        drop(held);
        return respond(stream, 403, "", format!("No such ticket {ticket}").as_bytes())
            .map(|()| false);
    }
    let (status, more, body) = reply(&mut held, method, rest, &range, &body);
    let whole = held.image.clone();
    drop(held);
    let Some(trick) = trick else {
        respond(stream, status, &more, &body)?;
        return Ok(true);
    };
    match trick {
        Trick::Cut(sent) => send(stream, status, &more, body.len(), &body[..sent])?,
        Trick::Stall(sent) => {
            send(stream, status, &more, body.len(), &body[..sent])?;
            thread::sleep(Duration::from_secs(30));
        }
        Trick::Trickle => trickle(stream, status, &more, &body)?,
        Trick::Silence | Trick::Deaf => thread::sleep(Duration::from_secs(30)),
        Trick::Close | Trick::Refuse(_) => {}
        Trick::Status(status) => {
            respond(stream, status, "", format!("Trouble with {ticket}").as_bytes())?;
            return Ok(true);
        }
        Trick::OtherRange => {
            let more = "Content-Range: bytes 1-2/3\r\n";
            respond(stream, 206, more, &body)?;
        }
        Trick::Shorter => respond(stream, status, &more, &body[1..])?,
        Trick::Whole => respond(stream, 200, "", &whole)?,
        Trick::NoLength => {
            stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
            stream.get_mut().write_all(&body)?;
        }
    }
    Ok(false)
}

fn trickle(stream: &mut Stream, status: u16, more: &str, body: &[u8]) -> io::Result<()> {
    send(stream, status, more, body.len(), b"")?;
    for byte in body.chunks(1) {
        thread::sleep(Duration::from_millis(50));
        stream.get_mut().write_all(byte)?;
        stream.get_mut().flush()?;
    }
    Ok(())
}

type Reply = (u16, String, Vec<u8>);

fn reply(state: &mut State, method: &str, rest: &str, range: &str, body: &[u8]) -> Reply {
    let plain = |status, body: &str| (status, String::new(), body.as_bytes().to_vec());
    match (method, rest) {
        ("OPTIONS", _) => match &state.abilities {
            Some(abilities) => plain(200, abilities),
            None => plain(405, "no"),
        },
        ("GET", "") => {
            let (from, to) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
            let (from, to): (usize, usize) = (from.parse().unwrap(), to.parse().unwrap());
            let size = state.image.len();
            match to < size {
                true => {
                    let more = format!("Content-Range: bytes {from}-{to}/{size}\r\n");
                    (206, more, state.image[from..=to].to_vec())
                }
                false => plain(416, "past the end"),
            }
        }
        ("GET", _) => {
            let context = rest.rsplit_once("context=").map_or("", |(_, context)| context);
            match state.lists.get(context) {
                Some(list) => plain(200, list),
                None => plain(404, "not supported"),
            }
        }
        ("PUT", _) => {
            let from = range.strip_prefix("bytes ").unwrap().split_once('-').unwrap().0;
            let from: usize = from.parse().unwrap();
            state.image[from..from + body.len()].copy_from_slice(body);
            plain(200, "")
        }
        _ => {
            let document: serde_json::Value = serde_json::from_slice(body).unwrap();
            if document["op"] == "zero" {
                let number = |key: &str| document[key].as_u64().unwrap() as usize;
                let from = number("offset");
                state.image[from..from + number("size")].fill(0);
            }
            plain(200, "")
        }
    }
}

fn respond(stream: &mut Stream, status: u16, more: &str, body: &[u8]) -> io::Result<()> {
    send(stream, status, more, body.len(), body)
}

fn send(stream: &mut Stream, status: u16, more: &str, len: usize, body: &[u8]) -> io::Result<()> {
    let head = format!("HTTP/1.1 {status} Because\r\nContent-Length: {len}\r\n{more}\r\n");
    let stream = stream.get_mut();
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)?;
    stream.flush()
}
