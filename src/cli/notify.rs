//! Tells systemd how a service fares: `Type=notify`.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use crate::cli::terminal::say;

/// Where whoever started this process as a service wants to be told.
const VARIABLE: &str = "NOTIFY_SOCKET";

/// Tells that all is there that was asked for. Nothing happens where nobody wants to be told.
pub(super) fn ready() {
    let Some(socket) = std::env::var_os(VARIABLE).filter(|socket| !socket.is_empty()) else {
        return;
    };
    // The service works all the same; whoever waits for this will say that it did not come.
    if let Err(error) = send(&socket, "READY=1") {
        say(&format!("cannot tell systemd that all is ready: {error}"));
    }
}

/// A name that begins with `@` is in the abstract namespace.
fn send(socket: &OsStr, state: &str) -> io::Result<()> {
    let address = match socket.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(socket)?,
    };
    UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(socket: &UnixDatagram) -> Vec<u8> {
        let mut buffer = [0; 64];
        let read = socket.recv(&mut buffer).unwrap();
        buffer[..read].to_vec()
    }

    #[test]
    fn a_socket_with_a_path_and_an_abstract_one_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let by_path = UnixDatagram::bind(&path).unwrap();
        send(path.as_os_str(), "READY=1").unwrap();
        assert_eq!(received(&by_path), b"READY=1");
        let name = format!("backstop-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let by_name = UnixDatagram::bind_addr(&address).unwrap();
        send(OsStr::new(&format!("@{name}")), "READY=1").unwrap();
        assert_eq!(received(&by_name), b"READY=1");
        assert!(send(OsStr::new("/nowhere/at/all"), "READY=1").is_err());
    }
}
