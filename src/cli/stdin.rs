//! Standard input as a disk, which ends when the run is interrupted, even if nothing arrives.

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::os::fd::AsFd;
use std::time::Duration;

use crate::base::cancel::Cancel;
use crate::cli::failure::{Failure, Result};
use crate::cli::sys;
use crate::error::{Error, ErrorKind, IoContext};
use crate::ingest::source::ImageStream;
use crate::ingest::stream::ReaderStream;

/// How long a silent input keeps an interrupted run waiting.
const PATIENCE: Duration = Duration::from_millis(200);

/// Standard input, to its end.
pub(super) struct StdinStream {
    stream: ReaderStream<Input>,
    cancel: Cancel,
}

impl StdinStream {
    /// Refuses a terminal: nobody types a disk.
    pub(super) fn open(cancel: &Cancel) -> Result<Self> {
        let stdin = io::stdin();
        if stdin.is_terminal() {
            return Err(Failure::usage("`-` reads a disk from standard input: pipe one into it"));
        }
        let owned = stdin.as_fd().try_clone_to_owned();
        let file = owned.context("cannot read standard input", "-".as_ref())?;
        Ok(Self::over(File::from(file), cancel))
    }

    fn over(file: File, cancel: &Cancel) -> Self {
        let input = Input { file, cancel: cancel.clone() };
        Self { stream: ReaderStream::new(input), cancel: cancel.clone() }
    }
}

impl ImageStream for StdinStream {
    fn read(&mut self, out: &mut [u8]) -> crate::error::Result<usize> {
        self.stream.read(out).map_err(|error| match self.cancel.is_requested() {
            true => Error::new(ErrorKind::Cancelled, "the backup was interrupted"),
            false => error,
        })
    }
}

struct Input {
    file: File,
    cancel: Cancel,
}

impl Read for Input {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while !self.cancel.is_requested() {
            if sys::wait_readable(&self.file, PATIENCE)? {
                return self.file.read(out);
            }
        }
        // Never a quiet end: that would make a shorter disk of it.
        Err(io::Error::other("interrupted"))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::OwnedFd;

    use super::*;

    #[test]
    fn an_interrupted_stream_fails_instead_of_ending() {
        let (reader, mut writer) = io::pipe().unwrap();
        writer.write_all(b"some").unwrap();
        let cancel = Cancel::default();
        let mut stream = StdinStream::over(File::from(OwnedFd::from(reader)), &cancel);
        let mut out = [0; 4];
        assert_eq!(stream.read(&mut out).unwrap(), 4);
        cancel.request();
        assert_eq!(stream.read(&mut out).unwrap_err().kind(), ErrorKind::Cancelled);
    }
}
