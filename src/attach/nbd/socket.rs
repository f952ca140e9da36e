//! Sockets of both kinds, behind one face.

use std::fs;
use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::attach::nbd::address::Address;
use crate::error::{Error, ErrorKind, IoContext, Result};

/// Most parts that the system takes in one call.
const SLICES_MAX: usize = 1024;

/// A connection.
pub(super) enum Socket {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Socket {
    pub(super) fn try_clone(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Unix(stream) => Self::Unix(stream.try_clone()?),
            Self::Tcp(stream) => Self::Tcp(stream.try_clone()?),
        })
    }

    pub(super) fn shutdown(&self, how: Shutdown) {
        let _is_closed = match self {
            Self::Unix(stream) => stream.shutdown(how),
            Self::Tcp(stream) => stream.shutdown(how),
        };
    }

    /// For both directions; none is for ever.
    pub(super) fn set_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        match self {
            Self::Unix(stream) => {
                stream.set_read_timeout(timeout)?;
                stream.set_write_timeout(timeout)
            }
            Self::Tcp(stream) => {
                stream.set_read_timeout(timeout)?;
                stream.set_write_timeout(timeout)
            }
        }
    }

    /// Sends all parts, one after the other.
    pub(super) fn send(&self, parts: &mut [IoSlice<'_>]) -> io::Result<()> {
        let mut rest = parts;
        // Empty parts are no sign of an end.
        IoSlice::advance_slices(&mut rest, 0);
        while !rest.is_empty() {
            let some = &rest[..rest.len().min(SLICES_MAX)];
            let sent = match self {
                Self::Unix(stream) => (&*stream).write_vectored(some),
                Self::Tcp(stream) => (&*stream).write_vectored(some),
            };
            match sent {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(sent) => IoSlice::advance_slices(&mut rest, sent),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl Read for &Socket {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self {
            Socket::Unix(stream) => (&*stream).read(out),
            Socket::Tcp(stream) => (&*stream).read(out),
        }
    }
}

/// Takes connections. A Unix socket is removed when it is dropped.
pub(super) enum Listener {
    Unix { listener: UnixListener, path: PathBuf, inode: (u64, u64) },
    Tcp(TcpListener),
}

impl Listener {
    /// Listens. Unless `is_open`, only where nobody of another machine comes.
    ///
    /// [`ErrorKind::AlreadyExists`] if there is a file at the path of the socket; a socket on which
    /// nobody listens any more is taken away.
    pub(super) fn bind(address: &Address, is_open: bool) -> Result<Self> {
        match address {
            Address::Unix(path) => bind_unix(path),
            Address::Tcp { host, port } => {
                let resolved = Address::resolve(host, *port, is_open)?;
                let bound = TcpListener::bind(resolved.as_slice()).map_err(|error| {
                    let kind = match error.kind() {
                        io::ErrorKind::AddrInUse => ErrorKind::Busy,
                        io::ErrorKind::PermissionDenied => ErrorKind::Denied,
                        _ => ErrorKind::Io,
                    };
                    Error::new(kind, format!("cannot listen on {address}")).because(error)
                })?;
                Ok(Self::Tcp(bound))
            }
        }
    }

    /// Where it listens, with the port that the system chose if it was asked to.
    pub(super) fn address(&self) -> io::Result<Address> {
        Ok(match self {
            Self::Unix { path, .. } => Address::Unix(path.clone()),
            Self::Tcp(listener) => {
                let bound = listener.local_addr()?;
                Address::Tcp { host: bound.ip().to_string(), port: bound.port() }
            }
        })
    }

    /// Waits for the next connection.
    pub(super) fn accept(&self) -> io::Result<Socket> {
        match self {
            Self::Unix { listener, .. } => Ok(Socket::Unix(listener.accept()?.0)),
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept()?;
                stream.set_nodelay(true)?;
                Ok(Socket::Tcp(stream))
            }
        }
    }

    /// What ends [`Listener::accept`] from another thread: shut down, nobody is taken any more.
    pub(super) fn stopper(&self) -> io::Result<Socket> {
        Ok(match self {
            Self::Unix { listener, .. } => {
                Socket::Unix(OwnedFd::from(listener.try_clone()?).into())
            }
            Self::Tcp(listener) => Socket::Tcp(OwnedFd::from(listener.try_clone()?).into()),
        })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Self::Unix { path, inode, .. } = self
            && fs::symlink_metadata(&*path).is_ok_and(|found| (found.dev(), found.ino()) == *inode)
        {
            let _is_gone = fs::remove_file(path);
        }
    }
}

fn bind_unix(path: &Path) -> Result<Listener> {
    let what = "cannot make the socket";
    // What is told, and removed later, holds wherever the process goes.
    let path = &std::path::absolute(path).context(what, path)?;
    remove_dead(path)?;
    let listener = match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(in_the_way(path)),
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
            let long = "the path of a socket is at most 107 bytes long";
            return Err(Error::new(ErrorKind::Invalid, long).at(path));
        }
        bound => bound.context(what, path)?,
    };
    let found = fs::symlink_metadata(path).context(what, path)?;
    let inode = (found.dev(), found.ino());
    let bound = Listener::Unix { listener, path: path.clone(), inode };
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).context(what, path)?;
    Ok(bound)
}

/// Takes away the socket of a process that is gone; everything else stays.
pub fn remove_dead(path: &Path) -> Result<()> {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
    let refuses = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    if is_socket && UnixStream::connect(path).is_err_and(refuses) {
        fs::remove_file(path).context("cannot take away the dead socket", path)?;
    }
    Ok(())
}

fn in_the_way(path: &Path) -> Error {
    Error::new(ErrorKind::AlreadyExists, "there is something at the path of the socket").at(path)
}
