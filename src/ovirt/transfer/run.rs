//! A run of bytes of an image, read in order.

use std::io::Read;

use crate::error::{Error, ErrorKind, Result};
use crate::ingest::source::RunReader;
use crate::ovirt::transfer::client::ImageClient;
use crate::ovirt::transfer::pool::{Lease, Tries};
use crate::ovirt::transfer::trouble::Attempt;

/// Bytes of one request. The daemon reads up to 8 MiB ahead, and shorter requests keep what it read
/// in the caches of its processor.
const REQUEST_BYTES: u64 = 4 << 20;

/// Reads a run of bytes, and goes on at the byte that it reached when a connection breaks.
pub(super) struct Run<'a> {
    client: &'a ImageClient,
    lease: Option<Lease<'a>>,
    at: u64,
    end: u64,
    tries: Tries,
}

impl<'a> Run<'a> {
    /// Nothing is asked for yet.
    pub(super) fn new(client: &'a ImageClient, from: u64, len: u64) -> Self {
        Self { client, lease: None, at: from, end: from + len, tries: Tries::default() }
    }

    /// Reads into `out`, which must not be empty; returns how many bytes, and none at the end.
    pub(super) fn read(&mut self, out: &mut [u8]) -> Result<usize> {
        while self.at < self.end {
            match self.step(out) {
                Ok(0) => {}
                Ok(read) => {
                    self.at += read as u64;
                    self.tries.progress(read);
                    if self.at == self.end {
                        self.lease = None;
                    }
                    return Ok(read);
                }
                Err(trouble) => {
                    self.lease = None;
                    let place = self.at;
                    let recovered = self.client.pool().recover(&mut self.tries, trouble);
                    recovered.map_err(|error| unread(error, place))?;
                }
            }
        }
        Ok(0)
    }

    /// Reads what is there, or asks for the next part.
    fn step(&mut self, out: &mut [u8]) -> Attempt<usize> {
        if self.lease.is_none() {
            self.lease = Some(self.client.pool().lease(&mut self.tries)?);
        }
        let Some(lease) = &mut self.lease else { return Ok(0) };
        if lease.is_free() {
            let url = std::sync::Arc::clone(&lease.route.url);
            let len = REQUEST_BYTES.min(self.end - self.at);
            self.client.ask_range(lease, &url, self.at, len)?;
        }
        Ok(lease.read(out)?)
    }
}

impl RunReader for Run<'_> {
    fn read_exact(&mut self, out: &mut [u8]) -> Result<()> {
        let mut done = 0;
        while done < out.len() {
            match self.read(&mut out[done..])? {
                0 => return Err(Error::new(ErrorKind::Source, "the image ended early")),
                read => done += read,
            }
        }
        Ok(())
    }
}

/// Says where the image could not be read. The ends of runs that were asked for stay what they are.
fn unread(error: Error, place: u64) -> Error {
    if error.kind() == ErrorKind::Cancelled {
        return error;
    }
    Error::new(error.kind(), "an image cannot be read").at_byte(place).because(error)
}
