//! Whether a place can be reached, and whether who answers there is who it should be.

use std::fmt;
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use crate::ovirt::address::{AddressMap, Place};
use crate::ovirt::trust::{Anchor, Handshake, handshake};

/// How far a probe came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// The name leads to no address.
    NoAddress(String),
    /// Nothing takes connections there.
    NoConnection(String),
    /// Connected, and no more was asked for.
    Connected,
    /// Connected; the encryption went so.
    Encrypted(Handshake),
    /// The probe itself could not be made, because of a file of certificates for example.
    NotTried(String),
}

impl Reach {
    /// Whether everything that was asked for is proven.
    #[must_use]
    pub fn is_good(&self) -> bool {
        matches!(self, Self::Connected | Self::Encrypted(Handshake::Proven))
    }
}

impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAddress(why) => write!(f, "the name leads to no address ({why})"),
            Self::NoConnection(why) => write!(f, "no connection ({why})"),
            Self::Connected => f.write_str("reached"),
            Self::Encrypted(Handshake::Proven) => f.write_str("reached, certificate proven"),
            Self::Encrypted(Handshake::UnknownAuthority) => {
                f.write_str("its certificate is signed by an authority that is not trusted")
            }
            Self::Encrypted(Handshake::OtherName(names)) if names.is_empty() => {
                f.write_str("its certificate is for another host")
            }
            Self::Encrypted(Handshake::OtherName(names)) => {
                write!(f, "its certificate is for another host: {}", names.join(", "))
            }
            Self::Encrypted(Handshake::OutOfTime) => {
                f.write_str("its certificate is no longer valid, or not yet")
            }
            Self::Encrypted(Handshake::Failed(why)) => write!(f, "no encrypted connection ({why})"),
            Self::NotTried(why) => write!(f, "not tried ({why})"),
        }
    }
}

/// Probes places, each step within a deadline.
#[derive(Debug, Clone)]
pub struct Prober {
    /// Other ways to hosts.
    pub map: AddressMap,
    /// Patience for a connection, and for each answer on it.
    pub patience: Duration,
}

impl Prober {
    /// Connects to `place` by the way of the map and, with an anchor, encrypts.
    #[must_use]
    pub fn probe(&self, place: &Place, anchor: Option<&Anchor>) -> Reach {
        let stream = match self.connect(place) {
            Ok(stream) => stream,
            Err(reach) => return reach,
        };
        let Some(anchor) = anchor else { return Reach::Connected };
        match handshake(stream, &place.host, anchor) {
            Ok(handshake) => Reach::Encrypted(handshake),
            Err(error) => Reach::NotTried(error.chain()),
        }
    }

    /// Connects to `place` by the way of the map, or says how far that came.
    pub fn connect(&self, place: &Place) -> Result<TcpStream, Reach> {
        let route = self.map.route(place);
        let found = (route.host.bare().as_str(), route.port).to_socket_addrs();
        let addresses = found.map_err(|error| Reach::NoAddress(error.to_string()))?;
        let mut failure = "no address".to_owned();
        for address in addresses {
            let connected =
                TcpStream::connect_timeout(&address, self.patience).and_then(|stream| {
                    stream.set_read_timeout(Some(self.patience))?;
                    stream.set_write_timeout(Some(self.patience))?;
                    Ok(stream)
                });
            match connected {
                Ok(stream) => return Ok(stream),
                Err(error) => failure = format!("{address}: {error}"),
            }
        }
        Err(Reach::NoConnection(failure))
    }
}
