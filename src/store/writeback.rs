//! Gets long files to the medium while they are still being written, and out of the page cache.
//!
//! Left alone, the kernel begins to write when a tenth of the memory is dirty; a sync at the end
//! then waits for all of it, and other programs have lost that memory. Whoever wrote once does not
//! come back for it.

use std::fs::File;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::store::sys;

/// Bytes written after which the kernel is told to begin: enough for a medium to work on.
const BEGIN_BYTES: u64 = 8 << 20;
/// Bytes written after which pages that reached the medium are given up. That walks all pages of
/// the file that are left, so it is done more rarely.
const FORGET_BYTES: u64 = 64 << 20;

/// What is known of one file.
#[derive(Debug, Default)]
pub(crate) struct Writeback {
    written: AtomicU64,
}

impl Writeback {
    /// Notes that `bytes` more were written to `file`, by any thread and anywhere.
    ///
    /// Never fails: what could not be written to the medium is what the next sync fails with.
    pub(crate) fn wrote(&self, file: &File, bytes: usize) {
        let bytes = bytes as u64;
        let before = self.written.fetch_add(bytes, Ordering::Relaxed);
        let passes = |step: u64| (before + bytes) / step != before / step;
        if passes(BEGIN_BYTES) {
            sys::begin_writing_back(file);
        }
        if passes(FORGET_BYTES) {
            sys::forget_pages(file, 0, 0);
        }
    }

    /// Notes that all of `file` was synced, so that none of its pages is needed any more.
    pub(crate) fn synced(&self, file: &File) {
        sys::forget_pages(file, 0, 0);
    }
}
