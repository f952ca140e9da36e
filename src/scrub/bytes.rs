//! The bytes of a pack against its name: what can be checked without any key.

use crate::base::cancel::Cancel;
use crate::base::hash::StreamHasher;
use crate::base::limits::PACK_BYTES_MAX;
use crate::error::{Error, ErrorKind, Result};
use crate::format::layout::ObjectName;
use crate::monitor::Monitor;
use crate::pack;
use crate::scrub::listing::ListedPack;
use crate::store::Store;

/// Bytes that are read at once, and hashed while they are in the processor's cache.
const READ_BYTES: usize = 1 << 20;
/// How often a pack is read until its bytes have to be taken for what is stored.
const ATTEMPTS: usize = 3;

/// What reading all of a pack gave.
pub(super) enum Bytes {
    Intact,
    Different,
    /// Parts of it could not be read; they are zero in the buffer.
    Unreadable(Error),
}

impl Bytes {
    /// What is wrong with them.
    pub(super) fn problem(self) -> Option<String> {
        match self {
            Self::Intact => None,
            Self::Different => Some("the bytes of the pack are not those of its name".to_owned()),
            Self::Unreadable(error) => Some(error.chain()),
        }
    }
}

/// Reads packs as they are.
pub(super) struct PackReading<'a> {
    pub(super) store: &'a dyn Store,
    pub(super) monitor: &'a dyn Monitor,
    pub(super) cancel: &'a Cancel,
}

impl PackReading<'_> {
    /// Reads a pack into `buffer`, again if it is not what its name says. True with it if it was
    /// that only when it was read again.
    pub(super) fn read(&self, listed: ListedPack, buffer: &mut Vec<u8>) -> Result<(Bytes, bool)> {
        buffer.resize(listed.len_bytes.min(PACK_BYTES_MAX as u64) as usize, 0);
        if listed.len_bytes > PACK_BYTES_MAX as u64 {
            self.read_once(listed, buffer, true)?;
            let what = format!("the pack has {} bytes, more than any has", listed.len_bytes);
            return Ok((Bytes::Unreadable(Error::corrupt(what)), false));
        }
        for attempt in 0..ATTEMPTS {
            let (hash, failure) = self.read_once(listed, buffer, attempt == 0)?;
            if let Some(error) = failure {
                return Ok((Bytes::Unreadable(error), false));
            }
            if hash == *listed.id.as_bytes() {
                return Ok((Bytes::Intact, attempt > 0));
            }
        }
        Ok((Bytes::Different, false))
    }

    /// The hash of the bytes, and the first failure to read some of them.
    fn read_once(
        &self,
        listed: ListedPack,
        buffer: &mut [u8],
        is_first: bool,
    ) -> Result<([u8; 32], Option<Error>)> {
        let name = ObjectName::pack(listed.id);
        let mut hasher = StreamHasher::default();
        let mut failure = None;
        for (number, part) in buffer.chunks_mut(READ_BYTES).enumerate() {
            if self.cancel.is_requested() {
                return Err(Error::new(ErrorKind::Cancelled, "the scrub was interrupted"));
            }
            let offset = (number * READ_BYTES) as u64;
            if let Some(error) = pack::read_what_can_be(self.store, &name, offset, part)? {
                failure.get_or_insert(error);
            }
            hasher.update(part);
            if is_first {
                self.monitor.advance(part.len() as u64);
            }
        }
        Ok((hasher.finish(), failure))
    }
}
