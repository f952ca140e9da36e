//! Syncs, and what follows when one fails: nothing more is written.
//!
//! After a failed sync the kernel may have dropped the bytes and yet call its copy clean, so a
//! second sync that succeeds proves nothing. A sync is therefore never tried again, and a store
//! that saw one fail stops writing for good. Opening the repository anew starts from what is on
//! disk.

use std::fmt;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::OnceLock;

use crate::error::{Error, ErrorKind, IoContext, Result};

type SyncCall = dyn Fn(&File) -> io::Result<()> + Send + Sync;

/// Syncs files and directories until one sync fails, and refuses from then on.
pub(super) struct Syncer {
    call: Box<SyncCall>,
    failure: OnceLock<Failure>,
}

struct Failure {
    kind: ErrorKind,
    text: String,
}

impl Syncer {
    /// Syncs with `fsync(2)`.
    pub(super) fn new() -> Self {
        Self { call: Box::new(File::sync_all), failure: OnceLock::new() }
    }

    /// Syncs with `call`, so that a test can watch and fail.
    #[cfg(test)]
    pub(super) fn with(call: Box<SyncCall>) -> Self {
        Self { call, failure: OnceLock::new() }
    }

    /// Fails if an earlier sync did, with the kind of that failure.
    pub(super) fn check(&self) -> Result<()> {
        let Some(failure) = self.failure.get() else { return Ok(()) };
        let what = "nothing more is written to the repository because an earlier sync failed";
        Err(Error::new(failure.kind, what).because(failure.text.clone()))
    }

    /// Waits until the bytes of an open file, or the names in an open directory, survive a crash.
    /// Whatever the sync fails with, [`Syncer::check`] fails with ever after.
    pub(super) fn sync(&self, file: &File, path: &Path) -> Result<()> {
        self.check()?;
        (self.call)(file).context("the sync failed", path).inspect_err(|error| {
            let _ = self.failure.set(Failure { kind: error.kind(), text: error.chain() });
        })
    }

    /// [`Syncer::sync`] for a directory that is not open yet.
    pub(super) fn sync_directory(&self, path: &Path) -> Result<()> {
        let directory = File::open(path).context("cannot open the directory", path)?;
        self.sync(&directory, path)
    }
}

impl fmt::Debug for Syncer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failure = self.failure.get().map(|failure| failure.text.as_str());
        f.debug_struct("Syncer").field("failure", &failure).finish_non_exhaustive()
    }
}
