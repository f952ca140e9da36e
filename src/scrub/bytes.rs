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
    /// Compares a pack with its name, and keeps none of it unless something is wrong: then it is as
    /// with [`PackReading::read`]. A part at a time stays in the processor's cache, where a whole
    /// pack would go to memory and back.
    pub(super) fn compare(
        &self,
        listed: ListedPack,
        buffer: &mut Vec<u8>,
    ) -> Result<(Bytes, bool)> {
        match listed.len_bytes <= PACK_BYTES_MAX as u64 && self.is_intact(listed, buffer)? {
            true => Ok((Bytes::Intact, false)),
            false => self.read_after(1, listed, buffer),
        }
    }

    /// Reads a pack into `buffer`, again if it is not what its name says. True with it if it was
    /// that only when it was read again.
    pub(super) fn read(&self, listed: ListedPack, buffer: &mut Vec<u8>) -> Result<(Bytes, bool)> {
        self.read_after(0, listed, buffer)
    }

    /// Reads a pack that was read `attempts` times before and was not what its name says.
    fn read_after(
        &self,
        attempts: usize,
        listed: ListedPack,
        buffer: &mut Vec<u8>,
    ) -> Result<(Bytes, bool)> {
        buffer.resize(listed.len_bytes.min(PACK_BYTES_MAX as u64) as usize, 0);
        if listed.len_bytes > PACK_BYTES_MAX as u64 {
            self.read_once(listed, buffer, true)?;
            let what = format!("the pack has {} bytes, more than any has", listed.len_bytes);
            return Ok((Bytes::Unreadable(Error::corrupt(what)), false));
        }
        for attempt in attempts..ATTEMPTS {
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

    /// Whether a pack is what its name says, when it is read for the first time.
    fn is_intact(&self, listed: ListedPack, window: &mut Vec<u8>) -> Result<bool> {
        window.resize(READ_BYTES, 0);
        let mut hasher = StreamHasher::default();
        let mut offset = 0;
        while offset < listed.len_bytes {
            let left = listed.len_bytes - offset;
            let part = &mut window[..left.min(READ_BYTES as u64) as usize];
            if self.read_part(listed, offset, part, &mut hasher)?.is_some() {
                self.monitor.advance(left);
                return Ok(false);
            }
            self.monitor.advance(part.len() as u64);
            offset += part.len() as u64;
        }
        Ok(hasher.finish() == *listed.id.as_bytes())
    }

    /// The hash of the bytes, and the first failure to read some of them.
    fn read_once(
        &self,
        listed: ListedPack,
        buffer: &mut [u8],
        is_first: bool,
    ) -> Result<([u8; 32], Option<Error>)> {
        let mut hasher = StreamHasher::default();
        let mut failure = None;
        for (number, part) in buffer.chunks_mut(READ_BYTES).enumerate() {
            let offset = (number * READ_BYTES) as u64;
            if let Some(error) = self.read_part(listed, offset, part, &mut hasher)? {
                failure.get_or_insert(error);
            }
            if is_first {
                self.monitor.advance(part.len() as u64);
            }
        }
        Ok((hasher.finish(), failure))
    }

    /// Reads what can be read of a part, and hashes it; the first failure to read some of it.
    fn read_part(
        &self,
        listed: ListedPack,
        offset_bytes: u64,
        part: &mut [u8],
        hasher: &mut StreamHasher,
    ) -> Result<Option<Error>> {
        if self.cancel.is_requested() {
            return Err(Error::new(ErrorKind::Cancelled, "the scrub was interrupted"));
        }
        let name = ObjectName::pack(listed.id);
        let failure = pack::read_what_can_be(self.store, &name, offset_bytes, part)?;
        hasher.update(part);
        Ok(failure)
    }
}
