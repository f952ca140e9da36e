//! BLAKE3, whole and by slices.
//!
//! BLAKE3 is a tree. The chaining values of a chunk's slices are nodes of that tree, so they merge
//! to exactly the id of the chunk: one slice, the stored chaining values of its neighbours and the
//! id are enough to prove the slice.

use blake3::hazmat::{HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};

use crate::base::id::ChunkId;
use crate::base::limits::{SLICE_BYTES, SLICES_PER_CHUNK};

/// A node of the hash tree of a chunk: what a slice contributes to the chunk id.
///
/// A chunk of one slice has no inner nodes; its only chaining value is the chunk id itself.
pub type ChainingValue = [u8; 32];

/// BLAKE3-256 of `bytes`.
#[must_use]
pub fn blake3_256(bytes: &[u8]) -> [u8; 32] {
    *blake3::hash(bytes).as_bytes()
}

/// BLAKE3-256 of bytes that arrive in pieces.
#[derive(Debug, Clone, Default)]
pub struct StreamHasher(blake3::Hasher);

impl StreamHasher {
    /// Takes the next piece.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The hash of all pieces so far.
    #[must_use]
    pub fn finish(&self) -> [u8; 32] {
        *self.0.finalize().as_bytes()
    }
}

/// The id of a chunk together with the chaining values that prove its slices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkHash {
    id: ChunkId,
    values: [ChainingValue; SLICES_PER_CHUNK],
    count: usize,
}

impl ChunkHash {
    /// Hashes the plain bytes of a chunk.
    ///
    /// # Panics
    ///
    /// If `plain` is longer than a chunk.
    #[must_use]
    pub fn of(plain: &[u8]) -> Self {
        let mut values = [[0; 32]; SLICES_PER_CHUNK];
        let mut count = 0;
        for (index, slice) in plain.chunks(SLICE_BYTES).enumerate() {
            values[index] = slice_value(slice, index, plain.len());
            count = index + 1;
        }
        let id = match count {
            0 => ChunkId::from_bytes(blake3_256(&[])),
            _ => merge(&values[..count]),
        };
        Self { id, values, count }
    }

    /// The chunk id: BLAKE3-256 of the whole chunk.
    #[must_use]
    pub fn id(&self) -> ChunkId {
        self.id
    }

    /// One chaining value per slice.
    #[must_use]
    pub fn values(&self) -> &[ChainingValue] {
        &self.values[..self.count]
    }
}

/// The chaining value of the slice at `index` of a chunk of `chunk_len` bytes.
#[must_use]
pub fn slice_value(slice: &[u8], index: usize, chunk_len: usize) -> ChainingValue {
    if chunk_len <= SLICE_BYTES {
        return blake3_256(slice);
    }
    let mut hasher = blake3::Hasher::new();
    hasher.set_input_offset((index * SLICE_BYTES) as u64);
    hasher.update(slice);
    hasher.finalize_non_root()
}

/// Merges the chaining values of all slices of a chunk to its id.
///
/// # Panics
///
/// If there are no values.
#[must_use]
pub fn merge(values: &[ChainingValue]) -> ChunkId {
    if let [only] = values {
        return ChunkId::from_bytes(*only);
    }
    let (left, right) = values.split_at(left_len(values.len()));
    let root = merge_subtrees_root(&inner(left), &inner(right), Mode::Hash);
    ChunkId::from_bytes(*root.as_bytes())
}

fn inner(values: &[ChainingValue]) -> ChainingValue {
    if let [only] = values {
        return *only;
    }
    let (left, right) = values.split_at(left_len(values.len()));
    merge_subtrees_non_root(&inner(left), &inner(right), Mode::Hash)
}

/// Slices in the left subtree of `count` slices: the largest power of two below `count`.
fn left_len(count: usize) -> usize {
    count.next_power_of_two() / 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::limits::CHUNK_BYTES;

    #[test]
    fn slices_merge_to_the_hash_of_the_whole_at_every_kind_of_length() {
        let plain: Vec<u8> = (0..CHUNK_BYTES).map(|i| (i * 31 + i / 251) as u8).collect();
        let lens = (0..=SLICES_PER_CHUNK).flat_map(|n| {
            let edge = n * SLICE_BYTES;
            [edge.saturating_sub(1024), edge.saturating_sub(1), edge, edge + 1, edge + 512]
        });
        for len in lens.filter(|len| *len <= CHUNK_BYTES) {
            let hash = ChunkHash::of(&plain[..len]);
            assert_eq!(hash.id().as_bytes(), &blake3_256(&plain[..len]), "length {len}");
        }
    }
}
