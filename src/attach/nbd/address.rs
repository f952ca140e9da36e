//! Where a server listens.

use std::fmt;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind, Result};

/// A Unix socket, or a host and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// The path of a socket that only its user can open.
    Unix(PathBuf),
    /// A TCP port; 0 for one that is free.
    Tcp {
        /// A name or an address, without brackets.
        host: String,
        /// The port.
        port: u16,
    },
}

impl Address {
    /// `HOST:PORT` and `[ADDRESS]:PORT` are TCP; everything with a `/`, and what ends in no port,
    /// is the path of a socket. [`ErrorKind::Invalid`] if it is neither.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = |what: &'static str| Err(Error::new(ErrorKind::Invalid, what));
        if text.is_empty() {
            return wrong("the address is empty");
        }
        let is_number = |port: &str| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
        let Some((host, port)) = text.rsplit_once(':').filter(|(_, port)| is_number(port)) else {
            return Ok(Self::Unix(text.into()));
        };
        if text.contains('/') {
            return Ok(Self::Unix(text.into()));
        }
        let Ok(port) = port.parse() else { return wrong("a port is at most 65535") };
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = match bare {
            Some(host) => host,
            None if host.contains(':') => return wrong("an IPv6 address stands in brackets"),
            None => host,
        };
        if host.is_empty() {
            return wrong("a host stands before the port, such as localhost");
        }
        Ok(Self::Tcp { host: host.to_owned(), port })
    }

    /// What a client is given to find a server's only export.
    #[must_use]
    pub fn uri(&self) -> String {
        match self {
            Self::Unix(path) => format!("nbd+unix:///?socket={}", escaped(path)),
            tcp @ Self::Tcp { .. } => format!("nbd://{tcp}"),
        }
    }

    /// The addresses that a host stands for. Unless `is_open`, all must be of this machine alone.
    pub(super) fn resolve(host: &str, port: u16, is_open: bool) -> Result<Vec<SocketAddr>> {
        let resolved = (host, port).to_socket_addrs().map_err(|error| {
            let what = format!("cannot find the host {host}");
            Error::new(ErrorKind::NotFound, what).because(error)
        })?;
        let resolved: Vec<_> = resolved.collect();
        match resolved.iter().find(|address| !address.ip().to_canonical().is_loopback()) {
            Some(address) if !is_open => Err(refused(address.ip())),
            _ => Ok(resolved),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => path.display().fmt(f),
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

fn refused(address: IpAddr) -> Error {
    let what = format!("other machines may reach {address}, and NBD asks nobody for a password");
    Error::new(ErrorKind::Denied, what)
}

/// A path for the query of a URI.
fn escaped(path: &Path) -> String {
    let mut out = String::new();
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'/' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(*byte));
            }
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16) -> Address {
        Address::Tcp { host: host.to_owned(), port }
    }

    #[test]
    fn an_address_is_a_path_unless_it_ends_in_a_port() {
        let of = |text: &str| Address::parse(text).unwrap();
        assert_eq!(of("localhost:10809"), tcp("localhost", 10809));
        assert_eq!(of("[::1]:0"), tcp("::1", 0));
        for path in ["/run/web.sock", "web.sock", "./a:1", "a:b", "C:/x:9"] {
            assert_eq!(of(path), Address::Unix(path.into()));
        }
        for wrong in ["", "::1:10809", "host:70000", ":10809"] {
            assert_eq!(Address::parse(wrong).unwrap_err().kind(), ErrorKind::Invalid, "{wrong}");
        }
    }

    #[test]
    fn uris_are_what_clients_take() {
        assert_eq!(tcp("::1", 7).uri(), "nbd://[::1]:7");
        let unix = Address::Unix("/run/a b&c".into());
        assert_eq!(unix.uri(), "nbd+unix:///?socket=/run/a%20b%26c");
    }

    #[test]
    fn only_addresses_of_this_machine_are_taken_unless_others_are_let_in() {
        assert!(Address::resolve("127.0.0.1", 1, false).is_ok());
        assert!(Address::resolve("::1", 1, false).is_ok());
        for open in ["0.0.0.0", "::", "192.0.2.1", "::ffff:192.0.2.1"] {
            let refused = Address::resolve(open, 1, false).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Denied, "{open}");
            assert!(Address::resolve(open, 1, true).is_ok());
        }
    }
}
