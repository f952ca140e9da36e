//! Why something could not be read, told to everybody who asked for it.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::{Error, ErrorKind};

/// An error with many readers.
#[derive(Clone)]
pub(super) struct Shared(Arc<Error>);

impl Shared {
    /// What a caller may act on.
    pub(super) fn kind(&self) -> ErrorKind {
        self.0.kind()
    }

    /// An error of one reader's own, with the same text.
    pub(super) fn into_error(self) -> Error {
        let mut error = Error::new(self.kind(), "it could not be read");
        if let Some(chunk) = self.0.chunk_id() {
            error = error.chunk(chunk);
        }
        error.because(self)
    }
}

impl fmt::Display for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl StdError for Shared {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source()
    }
}

/// That something failed, and when.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    at: Instant,
    cause: Shared,
}

impl Failure {
    /// It failed just now.
    pub(super) fn now(error: Error) -> Self {
        Self { at: Instant::now(), cause: Shared(Arc::new(error)) }
    }

    /// How long ago that was.
    pub(super) fn age(&self) -> Duration {
        self.at.elapsed()
    }

    /// Why.
    pub(super) fn cause(&self) -> Shared {
        self.cause.clone()
    }
}
