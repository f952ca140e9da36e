//! Memory at whole pages, as the kernel wants it for reading and writing past its page cache.

use std::io;
use std::ops::{Deref, DerefMut};
use std::slice;
use std::sync::atomic::{AtomicUsize, Ordering};

use memmap2::{Advice, MmapMut, MmapRaw};

/// What addresses, lengths and places in a file must be multiples of to go past the page cache:
/// enough for nearly every medium. One that wants more says so at the first write.
pub const DIRECT_BYTES: usize = 4096;

/// A buffer of fixed room that begins at a whole page, in huge pages where the system has them.
///
/// Takes no memory before it is written to, and gives all of it back when it is dropped.
#[derive(Debug)]
pub struct AlignedBuffer {
    /// Anonymous memory of this buffer alone, to read and to write.
    room: MmapRaw,
    /// Never more than there is room for.
    len: usize,
}

impl AlignedBuffer {
    /// An empty buffer with room for `capacity` bytes; an error if the process may not have them.
    pub fn with_capacity(capacity: usize) -> io::Result<Self> {
        let room = MmapRaw::from(MmapMut::map_anon(capacity)?);
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
        let before = self.len;
        assert!(bytes.len() <= self.room.len() - before, "{NO_ROOM}");
        self.len += bytes.len();
        self[before..].copy_from_slice(bytes);
    }

    /// Forgets all bytes but the first `len`, where there are more.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Forgets all bytes.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// Lets several threads write what is appended from now on.
    #[must_use]
    pub fn into_arena(self) -> AlignedArena {
        AlignedArena { room: self.room, len: AtomicUsize::new(self.len) }
    }
}

const NO_ROOM: &str = "a buffer of fixed room is full";

impl Deref for AlignedBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the first `len` bytes are mapped as long as `room` lives, and memory that the
        // kernel gives is initialised. The buffer owns them, so its borrow is theirs.
        unsafe { slice::from_raw_parts(self.room.as_ptr(), self.len) }
    }
}

impl DerefMut for AlignedBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above; the borrow is exclusive.
        unsafe { slice::from_raw_parts_mut(self.room.as_mut_ptr(), self.len) }
    }
}

/// A buffer that grows while several threads write to it, each to the places that it took.
///
/// It cannot be read: for that it becomes an [`AlignedBuffer`] again, which takes the arena whole,
/// and so waits for the borrow of every place to end.
#[derive(Debug)]
pub struct AlignedArena {
    room: MmapRaw,
    /// What was taken: never more than there is room for, and never less than before.
    len: AtomicUsize,
}

impl AlignedArena {
    /// Takes the next `len` bytes, and says where they begin. Until they are written, they hold
    /// anything.
    ///
    /// # Panics
    ///
    /// If there is no room for them.
    #[expect(clippy::mut_from_ref, reason = "no two calls give the same byte")]
    pub fn take(&self, len: usize) -> (usize, &mut [u8]) {
        // Only that no two calls get the same numbers is asked of it; no bytes are handed over.
        let taken = self.len.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |before| {
            before.checked_add(len).filter(|end| *end <= self.room.len())
        });
        let Ok(start) = taken else { panic!("{NO_ROOM}") };
        // SAFETY: the range lies within `room`, which is mapped and initialised as long as the
        // arena lives. `len` only grows, so nobody else got a byte of it, and nobody reads it:
        // what reads takes the arena by value, which the borrow that is returned forbids.
        let place = unsafe { slice::from_raw_parts_mut(self.room.as_mut_ptr().add(start), len) };
        (start, place)
    }

    /// The buffer with everything that was taken.
    #[must_use]
    pub fn into_buffer(self) -> AlignedBuffer {
        AlignedBuffer { room: self.room, len: self.len.into_inner() }
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
    fn places_that_many_threads_take_are_disjoint_and_keep_what_was_written() {
        let mut buffer = AlignedBuffer::with_capacity(1 << 20).unwrap();
        buffer.extend_from_slice(b"before");
        let arena = buffer.into_arena();
        let taken: Vec<(usize, usize, u8)> = std::thread::scope(|scope| {
            let take = |thread: u8| {
                let arena = &arena;
                let lens = (0..200).map(move |turn| (turn * 37 + usize::from(thread) * 11) % 600);
                lens.map(move |len| {
                    let (start, place) = arena.take(len);
                    place.fill(thread);
                    (start, len, thread)
                })
            };
            let threads = [1, 2, 3, 4].map(|thread| scope.spawn(move || take(thread).collect()));
            threads.into_iter().flat_map(|thread| -> Vec<_> { thread.join().unwrap() }).collect()
        });
        let buffer = arena.into_buffer();
        assert_eq!(buffer[..6], *b"before");
        assert_eq!(buffer.len(), 6 + taken.iter().map(|(_, len, _)| len).sum::<usize>());
        for (start, len, thread) in taken {
            assert!(buffer[start..][..len].iter().all(|byte| *byte == thread));
        }
    }

    #[test]
    #[should_panic(expected = "full")]
    fn nobody_takes_more_than_there_is_room_for() {
        let arena = AlignedBuffer::with_capacity(100).unwrap().into_arena();
        assert_eq!(arena.take(60).1.len(), 60);
        let _too_much = arena.take(41);
    }

    #[test]
    fn memory_that_nobody_has_is_an_error() {
        assert!(AlignedBuffer::with_capacity(isize::MAX as usize).is_err());
    }
}
