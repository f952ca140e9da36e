//! The bytes that all overlays of a view may take together.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, ErrorKind, Result};
use crate::vfs::overlay::blocks::BLOCK_BYTES;

/// Counts blocks, up to a limit.
pub(super) struct SpaceLimit {
    taken: AtomicU64,
    most: u64,
}

impl SpaceLimit {
    /// Up to that many bytes, in whole blocks.
    pub(super) fn new(limit_bytes: Option<u64>) -> Self {
        let most = limit_bytes.map_or(u64::MAX, |bytes| bytes / BLOCK_BYTES as u64);
        Self { taken: AtomicU64::new(0), most }
    }

    /// Takes room for that many blocks, or fails with [`ErrorKind::Full`] and takes none.
    pub(super) fn take(&self, blocks: u64) -> Result<()> {
        let grown = |taken: u64| taken.checked_add(blocks).filter(|taken| *taken <= self.most);
        match self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grown) {
            Ok(_) => Ok(()),
            Err(_) => {
                let limit = self.most.saturating_mul(BLOCK_BYTES as u64);
                let what = format!("the overlay has reached its limit of {limit} bytes");
                Err(Error::new(ErrorKind::Full, what))
            }
        }
    }

    /// Counts blocks that are taken already, whatever the limit.
    pub(super) fn count(&self, blocks: u64) {
        self.taken.fetch_add(blocks, Ordering::Relaxed);
    }

    /// Gives room back.
    pub(super) fn give_back(&self, blocks: u64) {
        self.taken.fetch_sub(blocks, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_over_the_limit_takes_nothing() {
        let space = SpaceLimit::new(Some(3 * BLOCK_BYTES as u64 + 1));
        space.take(2).unwrap();
        assert_eq!(space.take(2).unwrap_err().kind(), ErrorKind::Full);
        space.take(1).unwrap();
        space.give_back(3);
        space.take(3).unwrap();
    }
}
