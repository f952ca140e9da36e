//! The bytes of a whole object: mapped into memory, held there, or read when they are needed.

use std::fs::File;
use std::io::ErrorKind::{InvalidInput, UnexpectedEof};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use memmap2::{Advice, Mmap};

use crate::base::hash::StreamHasher;
use crate::error::{Error, IoContext, Result};

/// Bytes that are hashed at once.
const HASH_BYTES: usize = 256 << 10;

/// The bytes of a whole object. Untrusted: whoever reads them checks every offset.
#[derive(Debug)]
pub struct ObjectBytes(Bytes);

#[derive(Debug)]
enum Bytes {
    Mapped(Mmap),
    Held(Vec<u8>),
    OnDemand { file: Arc<File>, path: PathBuf, len: usize },
}

impl ObjectBytes {
    /// Bytes that were read into memory.
    #[must_use]
    pub fn read(bytes: Vec<u8>) -> Self {
        Self(Bytes::Held(bytes))
    }

    /// The first `len` bytes of a file, of which none is read yet.
    ///
    /// For file systems that other machines or programs can change: a mapping of a file that
    /// shrinks, or whose server goes away, would end the program.
    pub(super) fn on_demand(file: Arc<File>, path: PathBuf, len: usize) -> Self {
        Self(Bytes::OnDemand { file, path, len })
    }

    /// Maps a published object.
    ///
    /// Advised for random access: without that, the kernel's read-ahead makes a lookup in a cold
    /// table many times slower.
    pub(super) fn mapped(file: &File, path: &Path) -> Result<Self> {
        // SAFETY: the bytes of the map must not change or vanish while it lives. Objects are
        // published whole and never written again, and a deleted one keeps its pages while it is
        // mapped. `DirStore` maps only on local file systems; elsewhere it reads on demand.
        let map = unsafe { Mmap::map(file) }.context("cannot map the object", path)?;
        map.advise(Advice::Random).context("cannot map the object", path)?;
        Ok(Self(Bytes::Mapped(map)))
    }
}

impl ObjectBytes {
    /// How many there are.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.0 {
            Bytes::Mapped(map) => map.len(),
            Bytes::Held(bytes) => bytes.len(),
            Bytes::OnDemand { len, .. } => *len,
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All bytes where they lie, unless they are read on demand.
    #[inline]
    #[must_use]
    pub fn in_memory(&self) -> Option<&[u8]> {
        match &self.0 {
            Bytes::Mapped(map) => Some(map),
            Bytes::Held(bytes) => Some(bytes),
            Bytes::OnDemand { .. } => None,
        }
    }

    /// Copies the bytes from `offset` on. Fails with [`crate::error::ErrorKind::Corrupt`] if the
    /// object ends before that.
    pub fn read_exact_at(&self, offset: usize, out: &mut [u8]) -> Result<()> {
        if let Bytes::OnDemand { file, path, .. } = &self.0 {
            return read_exact_at(file, || path.clone(), offset as u64, out);
        }
        let bytes = self.in_memory().and_then(|bytes| bytes.get(offset..)?.get(..out.len()));
        out.copy_from_slice(bytes.ok_or_else(|| ends_within(out.len()))?);
        Ok(())
    }

    /// BLAKE3-256 of all bytes, which come from the medium while others are hashed.
    pub fn hash(&self) -> Result<[u8; 32]> {
        let mut hasher = StreamHasher::default();
        let mut buffer = Vec::new();
        for start in (0..self.len()).step_by(HASH_BYTES) {
            let end = self.len().min(start + HASH_BYTES);
            self.will_need(start..end + HASH_BYTES);
            if let Some(bytes) = self.in_memory() {
                hasher.update(&bytes[start..end]);
            } else {
                buffer.resize(end - start, 0);
                self.read_exact_at(start, &mut buffer)?;
                hasher.update(&buffer);
            }
        }
        Ok(hasher.finish())
    }

    /// Has the processor fetch the byte at `at` and its neighbours to its caches, and goes on
    /// meanwhile. Nothing happens for bytes that are not in memory, or beyond the end.
    #[inline]
    pub fn prefetch(&self, at: usize) {
        let Some(byte) = self.in_memory().and_then(|bytes| bytes.get(at)) else { return };
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

/// Reads bytes of the object in a file, whose path is only asked for to name it.
pub(super) fn read_exact_at(
    file: &File,
    path: impl FnOnce() -> PathBuf,
    offset_bytes: u64,
    out: &mut [u8],
) -> Result<()> {
    let Err(error) = file.read_exact_at(out, offset_bytes) else { return Ok(()) };
    // The system calls an offset that no file can have invalid.
    let failed = match error.kind() {
        UnexpectedEof | InvalidInput => Err(ends_within(out.len()).at(path())),
        _ => Err(error).context("cannot read the object", &path()),
    };
    failed.map_err(|error| error.at_byte(offset_bytes))
}

fn ends_within(len: usize) -> Error {
    Error::corrupt(format!("the object ends within a read of {len} bytes"))
}
