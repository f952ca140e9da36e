//! The bytes of a whole object: mapped into memory, or read.

use std::fs::File;
use std::ops::{Deref, Range};
use std::path::Path;

use memmap2::{Advice, Mmap};

use crate::error::{IoContext, Result};

/// The bytes of a whole object. Untrusted: whoever reads them checks every offset.
#[derive(Debug)]
pub struct ObjectBytes(Bytes);

#[derive(Debug)]
enum Bytes {
    Mapped(Mmap),
    Read(Vec<u8>),
}

impl ObjectBytes {
    /// Bytes that were read into memory.
    #[must_use]
    pub fn read(bytes: Vec<u8>) -> Self {
        Self(Bytes::Read(bytes))
    }

    /// Maps a published object.
    ///
    /// Advised for random access: without that, the kernel's read-ahead makes a lookup in a cold
    /// table many times slower.
    pub(super) fn mapped(file: &File, path: &Path) -> Result<Self> {
        // SAFETY: the bytes of the map must not change or vanish while it lives. Objects are
        // published whole and never written again, and a deleted one keeps its pages while it is
        // mapped. `DirStore` maps only on local file systems; elsewhere it reads.
        let map = unsafe { Mmap::map(file) }.context("cannot map the object", path)?;
        map.advise(Advice::Random).context("cannot map the object", path)?;
        Ok(Self(Bytes::Mapped(map)))
    }
}

impl ObjectBytes {
    /// Has the processor fetch the byte at `at` and its neighbours to its caches, and goes on
    /// meanwhile. Nothing happens for bytes that are not in memory, or beyond the end.
    #[inline]
    pub fn prefetch(&self, at: usize) {
        let Some(byte) = self.get(at) else { return };
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a prefetch reads nothing that the program can see, and the byte is there.
        unsafe {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(byte).cast());
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _no_such_instruction = byte;
    }

    /// Says that these bytes will be read soon, so that the medium reads them beside each other and
    /// nobody waits for one after the other. Only advice: no result. Bytes beyond the end are none.
    pub fn will_need(&self, range: Range<usize>) {
        let Bytes::Mapped(map) = &self.0 else { return };
        let end = range.end.min(map.len());
        if range.start < end {
            let _only_advice = map.advise_range(Advice::WillNeed, range.start, end - range.start);
        }
    }
}

impl Deref for ObjectBytes {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.0 {
            Bytes::Mapped(map) => map,
            Bytes::Read(bytes) => bytes,
        }
    }
}
