//! What can go wrong with one request, told apart by what helps.

use std::io;

use crate::error::{Error, ErrorKind};
use crate::ovirt::probe::Reach;
use crate::ovirt::transfer::http::{Connection, Head};
use crate::ovirt::transfer::url::ImageUrl;
use crate::ovirt::trust::Handshake;

/// Longest text of the daemon that is repeated, in bytes.
const TEXT_BYTES_MAX: usize = 1000;

/// What a request gave, or why it came to nothing.
pub(super) type Attempt<T> = Result<T, Trouble>;

/// Why a request came to nothing.
#[derive(Debug)]
pub(super) enum Trouble {
    /// There is no connection: another way may lead there.
    Unreachable(Reach),
    /// The connection is of no use any more, or never was: a new one may do.
    Broken(Error),
    /// The host answered that it cannot: that may pass, or another ticket may do.
    Failing(Error),
    /// The ticket is not valid: the engine may know why.
    Refused(Error),
    /// Nothing helps.
    Final(Error),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Final(error)
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        let what = "the connection that an image travels by broke off";
        Self::Broken(Error::new(ErrorKind::Remote, what).because(error))
    }
}

/// The trouble with an answer that is no success.
pub(super) fn trouble_of(head: &Head, connection: &mut Connection, url: &ImageUrl) -> Trouble {
    let kind = match head.status {
        401 | 403 => ErrorKind::Denied,
        404 => ErrorKind::NotFound,
        _ => ErrorKind::Remote,
    };
    let text = connection.read_whole(TEXT_BYTES_MAX).unwrap_or_default();
    let text = url.redact(&String::from_utf8_lossy(&text));
    let text = text.trim();
    let what = match text.is_empty() || text.starts_with('<') {
        true => format!("the host answered {}", head.status),
        false => format!("the host answered {}: {}", head.status, text.escape_debug()),
    };
    let error = Error::new(kind, what);
    match head.status {
        401 | 403 => Trouble::Refused(error),
        408 | 409 | 429 => Trouble::Broken(error),
        500.. => Trouble::Failing(error),
        _ => Trouble::Final(error),
    }
}

/// An answer that makes no sense.
pub(super) fn senseless(what: impl Into<std::borrow::Cow<'static, str>>) -> Trouble {
    Trouble::Final(Error::new(ErrorKind::Remote, what))
}

/// The error for a place that cannot be reached.
pub(super) fn unreached(reach: &Reach) -> Error {
    Error::new(ErrorKind::Remote, "cannot reach who has the image").because(reach.to_string())
}

/// Whether to try the same way again is of any use.
pub(super) fn may_pass(reach: &Reach) -> bool {
    match reach {
        Reach::NoAddress(_) | Reach::NoConnection(_) => true,
        Reach::Encrypted(handshake) => matches!(handshake, Handshake::Failed(_)),
        Reach::Connected | Reach::NotTried(_) => false,
    }
}
