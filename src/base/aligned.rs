//! Memory at whole pages, as the kernel wants it for reading and writing past its page cache.

use std::io;
use std::ops::{Deref, DerefMut};

use memmap2::{Advice, MmapMut};

/// What addresses, lengths and places in a file must be multiples of to go past the page cache:
/// enough for nearly every medium. One that wants more says so at the first write.
pub const DIRECT_BYTES: usize = 4096;

/// A buffer of fixed room that begins at a whole page, in huge pages where the system has them.
///
/// Takes no memory before it is written to, and gives all of it back when it is dropped.
#[derive(Debug)]
pub struct AlignedBuffer {
    room: MmapMut,
    len: usize,
}

impl AlignedBuffer {
    /// An empty buffer with room for `capacity` bytes; an error if the process may not have them.
    pub fn with_capacity(capacity: usize) -> io::Result<Self> {
        let room = MmapMut::map_anon(capacity)?;
        // Kernels may be built without huge pages.
        let _only_advice = room.advise(Advice::HugePage);
        Ok(Self { room, len: 0 })
    }

    /// Appends bytes.
    ///
    /// # Panics
    ///
    /// If there is no room for them.
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        self.room[self.len..][..bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    /// Forgets all bytes but the first `len`, where there are more.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Forgets all bytes.
    pub fn clear(&mut self) {
        self.len = 0;
    }
}

impl Deref for AlignedBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.room[..self.len]
    }
}

impl DerefMut for AlignedBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.room[..self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_begins_at_a_whole_page_and_holds_what_was_appended_last() {
        let mut buffer = AlignedBuffer::with_capacity(10_000).unwrap();
        assert!(buffer.is_empty() && buffer.as_ptr().addr().is_multiple_of(DIRECT_BYTES));
        buffer.extend_from_slice(&[1; 6000]);
        buffer.extend_from_slice(&[2; 4000]);
        buffer[0] = 3;
        assert_eq!((buffer[0], buffer[5999], buffer[6000], buffer.len()), (3, 1, 2, 10_000));
        buffer.truncate(1);
        buffer.extend_from_slice(&[4]);
        assert_eq!(*buffer, [3, 4]);
        buffer.clear();
        assert!(buffer.is_empty());
    }

    #[test]
    fn memory_that_nobody_has_is_an_error() {
        assert!(AlignedBuffer::with_capacity(isize::MAX as usize).is_err());
    }
}
