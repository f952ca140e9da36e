//! A server: it listens, serves each connection on threads of its own, and ends them in order.

use std::collections::HashMap;
use std::io;
use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, Builder, JoinHandle};
use std::time::Duration;

use crate::attach::nbd::address::Address;
use crate::attach::nbd::export::Export;
use crate::attach::nbd::handshake::shake_hands;
use crate::attach::nbd::socket::{Listener, Socket};
use crate::attach::nbd::transmission::Transmission;
use crate::base::sync::lock;
use crate::error::{Error, ErrorKind, Result};
use crate::monitor::Monitor;

/// How long clients have, at the end, to take the replies to what they have asked.
const LAST_REPLIES: Duration = Duration::from_secs(5);
/// How long what is then still read from the repository is waited for.
const LAST_READS: Duration = Duration::from_secs(2);
/// Before another try where the system has no more descriptors.
const AGAIN: Duration = Duration::from_millis(200);

/// How to serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerOptions {
    /// Connections at a time. Those beyond are closed at once.
    pub connections_max: usize,
    /// Whether addresses are taken that other machines can reach. Nobody is asked for a password:
    /// whoever reaches the port has the disk.
    pub is_open_to_others: bool,
}

impl Default for ServerOptions {
    /// 32 connections, of this machine only.
    fn default() -> Self {
        Self { connections_max: 32, is_open_to_others: false }
    }
}

/// A running server. It ends when this is dropped.
pub struct Server {
    shared: Arc<Shared>,
    address: Address,
    stopper: Socket,
    accepting: Option<JoinHandle<()>>,
}

struct Shared {
    export: Export,
    connections_max: usize,
    monitor: Arc<dyn Monitor>,
    is_ending: AtomicBool,
    live: Arc<Live>,
}

/// The connections that are open. Apart from the export, so that a connection can let go of the
/// disk before it counts as closed.
#[derive(Default)]
struct Live {
    connections: Mutex<HashMap<u64, Socket>>,
    closed: Condvar,
    last: AtomicU64,
}

impl Server {
    /// Listens, and serves from then on.
    pub fn bind(
        address: &Address,
        export: Export,
        options: &ServerOptions,
        monitor: Arc<dyn Monitor>,
    ) -> Result<Self> {
        let cannot = |error: io::Error| {
            Error::new(ErrorKind::Io, format!("cannot serve on {address}")).because(error)
        };
        let listener = Listener::bind(address, options.is_open_to_others)?;
        let bound = listener.address().map_err(cannot)?;
        let stopper = listener.stopper().map_err(cannot)?;
        let shared = Arc::new(Shared {
            export,
            connections_max: options.connections_max,
            monitor,
            is_ending: AtomicBool::new(false),
            live: Arc::default(),
        });
        let accepting = Arc::clone(&shared);
        let accepting = start("nbd", move || accept(&accepting, &listener)).map_err(cannot)?;
        Ok(Self { shared, address: bound, stopper, accepting: Some(accepting) })
    }

    /// Where it listens, with the port that the system chose where it was asked to.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Length of the disk.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.shared.export.facts.size_bytes
    }

    /// Clients that are connected.
    #[must_use]
    pub fn connections(&self) -> usize {
        lock(&self.shared.live.connections).len()
    }
}

impl Drop for Server {
    /// Takes no more requests, answers those that were taken, makes durable what was written, and
    /// removes the socket. Clients that do not read are left after some seconds.
    fn drop(&mut self) {
        self.shared.is_ending.store(true, Ordering::SeqCst);
        self.stopper.shutdown(Shutdown::Both);
        if let Some(accepting) = self.accepting.take() {
            let _panicked = accepting.join();
        }
        let live = &self.shared.live;
        live.shut(Shutdown::Read);
        if !live.wait_for_none(LAST_REPLIES) {
            live.shut(Shutdown::Both);
            live.wait_for_none(LAST_READS);
        }
        let flushed = self.shared.export.open().and_then(|view| view.flush());
        flushed.unwrap_or_else(|problem| self.shared.monitor.problem(&problem));
    }
}

impl Live {
    fn shut(&self, how: Shutdown) {
        lock(&self.connections).values().for_each(|socket| socket.shutdown(how));
    }

    /// Whether all connections ended in time.
    fn wait_for_none(&self, patience: Duration) -> bool {
        let connections = lock(&self.connections);
        let waited = self.closed.wait_timeout_while(connections, patience, |some| !some.is_empty());
        waited.unwrap_or_else(PoisonError::into_inner).0.is_empty()
    }

    /// Keeps a connection, unless there are as many as there may be.
    fn keep(self: &Arc<Self>, socket: &Socket, most: usize) -> io::Result<Option<Connection>> {
        let id = self.last.fetch_add(1, Ordering::Relaxed);
        let mut connections = lock(&self.connections);
        if connections.len() >= most {
            return Ok(None);
        }
        connections.insert(id, socket.try_clone()?);
        Ok(Some(Connection { live: Arc::clone(self), id }))
    }
}

impl Shared {
    /// Answers one client to its end.
    fn serve(&self, socket: &Socket) {
        let facts = &self.export.facts;
        let Ok(Some(agreed)) = shake_hands(socket, facts) else { return };
        match self.export.open() {
            Ok(view) => Transmission::new(&*view, facts, agreed, socket, &*self.monitor).run(),
            Err(problem) => self.monitor.problem(&problem),
        }
    }
}

/// Takes connections until the server ends.
fn accept(shared: &Arc<Shared>, listener: &Listener) {
    let mut has_told = false;
    while !shared.is_ending.load(Ordering::SeqCst) {
        match listener.accept().and_then(|socket| begin(shared, socket)) {
            Ok(()) => {}
            Err(_) if shared.is_ending.load(Ordering::SeqCst) => {}
            Err(error) => {
                if !std::mem::replace(&mut has_told, true) {
                    let what = "cannot take a connection over NBD";
                    shared.monitor.problem(&Error::new(ErrorKind::Io, what).because(error));
                }
                thread::sleep(AGAIN);
            }
        }
    }
}

/// Serves a connection on a thread of its own, or closes it if there are too many.
fn begin(shared: &Arc<Shared>, socket: Socket) -> io::Result<()> {
    let Some(connection) = shared.live.keep(&socket, shared.connections_max)? else {
        return Ok(());
    };
    let shared = Arc::clone(shared);
    let serve = move || {
        shared.serve(&socket);
        drop(shared);
        drop(connection);
    };
    start("nbd-connection", serve).map(drop)
}

/// A connection that counts as one until this is dropped.
struct Connection {
    live: Arc<Live>,
    id: u64,
}

impl Drop for Connection {
    fn drop(&mut self) {
        let socket = lock(&self.live.connections).remove(&self.id);
        if let Some(socket) = socket {
            socket.shutdown(Shutdown::Both);
        }
        self.live.closed.notify_all();
    }
}

fn start(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    Builder::new().name(name.to_owned()).spawn(work)
}
