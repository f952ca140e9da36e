//! The one public error: a kind that callers act on, a sentence, its context, and the cause.
//!
//! [`std::fmt::Display`] says what failed and where and leaves the cause to the chain
//! ([`std::error::Error::source`]); advice and exit codes belong to the command line.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::base::id::ChunkId;

/// Shorthand for results of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What a caller may want to do differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Stored bytes are not what they must be. Never retried; a scrub lists what is affected.
    Corrupt,
    /// A named restore point, disk, object or file is not there.
    NotFound,
    /// The name is taken: a file that would be overwritten, a repository that exists already.
    AlreadyExists,
    /// Another session has it. Safe to retry later.
    Busy,
    /// Written by a newer release, or something this build does not do.
    Unsupported,
    /// What the caller gave makes no sense: a bad name, two disks of one name, a wrong size.
    Invalid,
    /// The image to back up is damaged, changed while it was read, or ended early.
    Source,
    /// The medium is full.
    Full,
    /// The operating system, or the engine, forbids it.
    Denied,
    /// The engine or one of its hosts cannot be reached, failed a request, or is not who it should
    /// be.
    Remote,
    /// A rule says that this cannot be backed up.
    Refused,
    /// The storage shows an older state than was seen before, or another repository.
    Rollback,
    /// The caller asked for the end of the run.
    Cancelled,
    /// The operating system failed a call. The source says which.
    Io,
}

/// An error of this crate.
///
/// Boxed, so that results stay small.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    what: Cow<'static, str>,
    path: Option<PathBuf>,
    offset_bytes: Option<u64>,
    chunk: Option<ChunkId>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// `what` is a clause that begins in lower case and reads well before " in PATH".
    #[must_use]
    pub fn new(kind: ErrorKind, what: impl Into<Cow<'static, str>>) -> Self {
        let what = what.into();
        Self(Box::new(Inner {
            kind,
            what,
            path: None,
            offset_bytes: None,
            chunk: None,
            source: None,
        }))
    }

    /// Stored bytes that are not what they must be.
    #[must_use]
    pub fn corrupt(what: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Corrupt, what)
    }

    /// Adds the object or file that the operation was about, unless a deeper layer already did.
    #[must_use]
    pub fn at(mut self, path: impl Into<PathBuf>) -> Self {
        self.0.path.get_or_insert(path.into());
        self
    }

    /// Adds a byte offset inside that object, unless a deeper layer already did.
    #[must_use]
    pub fn at_byte(mut self, offset_bytes: u64) -> Self {
        self.0.offset_bytes.get_or_insert(offset_bytes);
        self
    }

    /// Adds the chunk that the operation was about.
    #[must_use]
    pub fn chunk(mut self, chunk: ChunkId) -> Self {
        self.0.chunk = Some(chunk);
        self
    }

    /// Adds the cause.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// What a caller may act on.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The object or file that the operation was about.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.0.path.as_deref()
    }

    /// The chunk that the operation was about.
    #[must_use]
    pub fn chunk_id(&self) -> Option<ChunkId> {
        self.0.chunk
    }

    /// The error and its causes on one line, outermost first.
    #[must_use]
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.what)?;
        if let Some(chunk) = &self.0.chunk {
            write!(f, " (chunk {chunk})")?;
        }
        if let Some(path) = &self.0.path {
            write!(f, " in {}", path.display())?;
        }
        if let Some(offset) = self.0.offset_bytes {
            write!(f, " at byte {offset}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.0.kind, self.chain())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

/// Adds what was tried and on which file, so that no bare "No such file or directory" escapes.
pub trait IoContext<T> {
    /// `what` is a clause such as "cannot read the image".
    fn context(self, what: impl Into<Cow<'static, str>>, path: &Path) -> Result<T>;
}

impl<T> IoContext<T> for io::Result<T> {
    fn context(self, what: impl Into<Cow<'static, str>>, path: &Path) -> Result<T> {
        self.map_err(|source| Error::new(kind_of(&source), what).at(path).because(source))
    }
}

fn kind_of(error: &io::Error) -> ErrorKind {
    match error.kind() {
        io::ErrorKind::NotFound => ErrorKind::NotFound,
        io::ErrorKind::AlreadyExists => ErrorKind::AlreadyExists,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => ErrorKind::Denied,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::Full,
        _ => ErrorKind::Io,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_says_what_and_where_and_leaves_the_cause_to_the_chain() {
        let cause = io::Error::other("the medium sighed");
        let error = Error::corrupt("the table is damaged").at("packs/3f/3fa9").at_byte(96);
        let error = error.because(cause);
        assert_eq!(error.to_string(), "the table is damaged in packs/3f/3fa9 at byte 96");
        let chain = "the table is damaged in packs/3f/3fa9 at byte 96: the medium sighed";
        assert_eq!(error.chain(), chain);
    }

    #[test]
    fn the_innermost_place_is_kept() {
        let error = Error::corrupt("bad").at("inner").at_byte(1).at("outer").at_byte(2);
        assert_eq!(error.to_string(), "bad in inner at byte 1");
    }
}
