//! A way to the bytes, and connections by it.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::sync::Arc;

use crate::ovirt::probe::{Prober, Reach};
use crate::ovirt::transfer::http::{Channel, Connection, Parts};
use crate::ovirt::transfer::options::{TransferOptions, Transport};
use crate::ovirt::transfer::places::Place;
use crate::ovirt::transfer::trouble::{Attempt, Trouble};
use crate::ovirt::transfer::url::ImageUrl;
use crate::ovirt::transfer::wire::{Socket, Wire};
use crate::ovirt::trust::encrypt;

/// A way to the bytes. Never changes; the next one has a higher number.
pub(super) struct Route {
    pub(super) number: u64,
    pub(super) transport: Transport,
    pub(super) url: Arc<ImageUrl>,
    /// The path, or a zero byte and a name without a file, of the daemon's socket.
    pub(super) socket: Option<String>,
}

impl Route {
    /// Connects and, over a network, encrypts at once: a daemon that waits for that lets nobody
    /// else in.
    pub(super) fn connect(
        &self,
        options: &TransferOptions,
        place: Option<Place>,
    ) -> Attempt<Connection> {
        let channel = match &self.socket {
            Some(socket) => Channel::Plain(local(socket, options).map_err(no_connection)?),
            None => self.encrypted(options)?,
        };
        options.counters.connect();
        Ok(Connection::new(Parts {
            channel,
            host: self.url.place.to_string(),
            bandwidth: options.bandwidth.clone(),
            cancel: options.cancel.clone(),
            counters: Arc::clone(&options.counters),
            _place: place,
        }))
    }

    fn encrypted(&self, options: &TransferOptions) -> Attempt<Channel> {
        let patience = options.patience.retry.connect;
        let prober = Prober { map: options.map.clone(), patience };
        let stream = prober.connect(&self.url.place).map_err(Trouble::Unreachable)?;
        let wire = wire(Socket::Tcp(stream), options).map_err(no_connection)?;
        match encrypt(wire, &self.url.place.host, &options.anchor)? {
            Ok(stream) => Ok(Channel::Tls(Box::new(stream))),
            Err(handshake) => Err(Trouble::Unreachable(Reach::Encrypted(handshake))),
        }
    }
}

fn wire(socket: Socket, options: &TransferOptions) -> io::Result<Wire> {
    let connect = options.patience.retry.connect;
    Wire::new(socket, connect, options.cancel.clone(), Arc::clone(&options.counters))
}

fn local(socket: &str, options: &TransferOptions) -> io::Result<Wire> {
    let address = match socket.strip_prefix('\0') {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(socket)?,
    };
    wire(Socket::Unix(UnixStream::connect_addr(&address)?), options)
}

fn no_connection(error: io::Error) -> Trouble {
    Trouble::Unreachable(Reach::NoConnection(error.to_string()))
}
