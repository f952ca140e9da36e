//! Bytes that carry the proof that they are what their name says.
//!
//! The constructors are the checks: there is no other way to make one of these values.

use crate::base::hash::{ChainingValue, IdHasher};
use crate::base::id::ChunkId;
use crate::base::units::{SliceIndex, slice_count, slice_range};

/// The plain bytes of a whole chunk or map node, checked against their id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedChunk {
    id: ChunkId,
    plain: Vec<u8>,
}

impl VerifiedChunk {
    /// Lets the bytes through only if they hash to `id`; gives the buffer back otherwise.
    pub fn check(ids: &IdHasher, id: ChunkId, plain: Vec<u8>) -> Result<Self, Vec<u8>> {
        if ids.hash(&plain).id() == id { Ok(Self { id, plain }) } else { Err(plain) }
    }

    /// The id that the bytes were checked against.
    #[must_use]
    pub fn id(&self) -> ChunkId {
        self.id
    }

    /// The plain bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.plain
    }

    /// Gives up the proof and hands out the buffer, to use it again.
    #[must_use]
    pub fn into_buffer(self) -> Vec<u8> {
        self.plain
    }
}

/// The plain bytes of one slice, checked against the id of its chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedSlice {
    chunk: ChunkId,
    index: SliceIndex,
    plain: Vec<u8>,
}

impl VerifiedSlice {
    /// Lets the bytes through only if, with the chaining values of the chunk's other slices, they
    /// merge to the id of the chunk. The values themselves need not be trusted.
    ///
    /// `chunk_len` is the length of the whole chunk, in bytes.
    #[must_use]
    pub fn check(
        ids: &IdHasher,
        chunk: ChunkId,
        chunk_len: usize,
        index: SliceIndex,
        values: &[ChainingValue],
        plain: Vec<u8>,
    ) -> Option<Self> {
        let at = usize::from(index.0);
        let fits = values.len() == slice_count(chunk_len)
            && at < values.len()
            && plain.len() == slice_range(index, chunk_len).len();
        let proven = fits
            && ids.slice_value(&plain, at, chunk_len) == values[at]
            && ids.merge(values) == chunk;
        proven.then_some(Self { chunk, index, plain })
    }

    /// The chunk that the slice is part of.
    #[must_use]
    pub fn chunk(&self) -> ChunkId {
        self.chunk
    }

    /// The position of the slice in its chunk.
    #[must_use]
    pub fn index(&self) -> SliceIndex {
        self.index
    }

    /// The plain bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.plain
    }

    /// Gives up the proof and hands out the buffer, to use it again.
    #[must_use]
    pub fn into_buffer(self) -> Vec<u8> {
        self.plain
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::limits::SLICE_BYTES;

    #[test]
    fn a_slice_is_let_through_only_with_its_own_bytes_place_and_neighbours() {
        let plain: Vec<u8> = (0..SLICE_BYTES * 2 + 100).map(|i| (i / 7) as u8).collect();
        let ids = IdHasher::default();
        let hash = ids.hash(&plain);
        let check = |index: u8, bytes: &[u8], values: &[ChainingValue]| {
            let index = SliceIndex(index);
            VerifiedSlice::check(&ids, hash.id(), plain.len(), index, values, bytes.to_vec())
                .is_some()
        };
        let slice = |index: u8| &plain[slice_range(SliceIndex(index), plain.len())];
        assert!((0..3).all(|i| check(i, slice(i), hash.values())));
        assert!(!check(0, slice(1), hash.values()));
        assert!(!check(2, &slice(2)[1..], hash.values()));
        assert!(!check(3, &[], hash.values()));
        assert!(!check(0, slice(0), &hash.values()[..2]));
        let mut swapped = hash.values().to_vec();
        swapped.swap(1, 2);
        assert!(!check(0, slice(0), &swapped));
    }
}
