//! BLAKE3, whole and by slices.
//!
//! BLAKE3 is a tree. The chaining values of a chunk's slices are nodes of that tree, so they merge
//! to exactly the id of the chunk: one slice, the stored chaining values of its neighbours and the
//! id are enough to prove the slice.

use blake3::hazmat::{HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};

use crate::base::id::ChunkId;
use crate::base::limits::{SLICE_BYTES, SLICES_PER_CHUNK};
use crate::base::secret::SecretKey;

/// A node of the hash tree of a chunk: what a slice contributes to the chunk id.
///
/// A chunk of one slice has no inner nodes; its only chaining value is the chunk id itself.
pub type ChainingValue = [u8; 32];

/// BLAKE3-256 of `bytes`.
#[must_use]
pub fn blake3_256(bytes: &[u8]) -> [u8; 32] {
    *blake3::hash(bytes).as_bytes()
}

/// A key that is good for one purpose, made of another one. `context` names the purpose and is
/// never used for anything else.
#[must_use]
pub fn derive_key(context: &str, key: &SecretKey) -> SecretKey {
    SecretKey::new(blake3::derive_key(context, key.expose()))
}

/// BLAKE3-256 under a key of the parts, one after the other.
#[must_use]
pub fn keyed_hash(key: &SecretKey, parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_keyed(key.expose());
    for part in parts {
        hasher.update(part);
    }
    *hasher.finalize().as_bytes()
}

/// Whether two hashes are equal, in a time that does not depend on where they differ.
#[must_use]
pub fn is_same_hash(a: &[u8; 32], b: &[u8; 32]) -> bool {
    blake3::Hash::from_bytes(*a) == blake3::Hash::from_bytes(*b)
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

/// Length of every piece but the last that [`piece_value`] takes, in bytes: long enough for BLAKE3
/// to run at full speed. A power of two, as pieces must be nodes of its tree.
pub const PIECE_BYTES: usize = 64 << 10;

/// What the piece at `index` contributes to the hash of bytes that have more pieces than one.
#[must_use]
pub fn piece_value(piece: &[u8], index: usize) -> ChainingValue {
    let mut hasher = blake3::Hasher::new();
    hasher.set_input_offset((index * PIECE_BYTES) as u64);
    hasher.update(piece);
    hasher.finalize_non_root()
}

/// BLAKE3-256 of `bytes`, of which some pieces were hashed before: `value_of` knows their values.
#[must_use]
pub fn blake3_256_of_pieces(
    bytes: &[u8],
    value_of: impl Fn(usize) -> Option<ChainingValue>,
) -> [u8; 32] {
    if bytes.len() <= PIECE_BYTES {
        return blake3_256(bytes);
    }
    let values: Vec<_> = bytes
        .chunks(PIECE_BYTES)
        .enumerate()
        .map(|(index, piece)| value_of(index).unwrap_or_else(|| piece_value(piece, index)))
        .collect();
    *IdHasher::default().merge(&values).as_bytes()
}

/// The id of a chunk together with the chaining values that prove its slices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkHash {
    id: ChunkId,
    values: [ChainingValue; SLICES_PER_CHUNK],
    count: usize,
}

impl ChunkHash {
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

/// Gives chunks their ids: by BLAKE3, or by BLAKE3 under the key of an encrypted repository.
#[derive(Default)]
pub struct IdHasher {
    key: Option<SecretKey>,
}

impl IdHasher {
    /// Ids that nobody can make without the key.
    #[must_use]
    pub fn keyed(key: SecretKey) -> Self {
        Self { key: Some(key) }
    }

    /// Hashes the plain bytes of a chunk.
    ///
    /// # Panics
    ///
    /// If `plain` is longer than a chunk.
    #[must_use]
    pub fn hash(&self, plain: &[u8]) -> ChunkHash {
        let mut values = [[0; 32]; SLICES_PER_CHUNK];
        let mut count = 0;
        for (index, slice) in plain.chunks(SLICE_BYTES).enumerate() {
            values[index] = self.slice_value(slice, index, plain.len());
            count = index + 1;
        }
        let id = match count {
            0 => ChunkId::from_bytes(self.whole(&[])),
            _ => self.merge(&values[..count]),
        };
        ChunkHash { id, values, count }
    }

    /// The chaining value of the slice at `index` of a chunk of `chunk_len` bytes.
    #[must_use]
    pub fn slice_value(&self, slice: &[u8], index: usize, chunk_len: usize) -> ChainingValue {
        if chunk_len <= SLICE_BYTES {
            return self.whole(slice);
        }
        let mut hasher = self.hasher();
        hasher.set_input_offset((index * SLICE_BYTES) as u64);
        hasher.update(slice);
        hasher.finalize_non_root()
    }

    /// Merges the chaining values of all slices of a chunk to its id, or those of all pieces of
    /// something else to its hash.
    ///
    /// # Panics
    ///
    /// If there are no values.
    #[must_use]
    pub fn merge(&self, values: &[ChainingValue]) -> ChunkId {
        if let [only] = values {
            return ChunkId::from_bytes(*only);
        }
        let (left, right) = values.split_at(left_len(values.len()));
        let root = merge_subtrees_root(&self.inner(left), &self.inner(right), self.mode());
        ChunkId::from_bytes(*root.as_bytes())
    }

    fn inner(&self, values: &[ChainingValue]) -> ChainingValue {
        if let [only] = values {
            return *only;
        }
        let (left, right) = values.split_at(left_len(values.len()));
        merge_subtrees_non_root(&self.inner(left), &self.inner(right), self.mode())
    }

    fn whole(&self, bytes: &[u8]) -> [u8; 32] {
        *self.hasher().update(bytes).finalize().as_bytes()
    }

    fn hasher(&self) -> blake3::Hasher {
        match &self.key {
            None => blake3::Hasher::new(),
            Some(key) => blake3::Hasher::new_keyed(key.expose()),
        }
    }

    fn mode(&self) -> Mode<'_> {
        match &self.key {
            None => Mode::Hash,
            Some(key) => Mode::KeyedHash(key.expose()),
        }
    }
}

/// Slices, or other pieces, in the left subtree of `count` of them: the largest power of two below
/// that.
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
        let key = || SecretKey::new([7; 32]);
        let (ids, keyed) = (IdHasher::default(), IdHasher::keyed(key()));
        let lens = (0..=SLICES_PER_CHUNK).flat_map(|n| {
            let edge = n * SLICE_BYTES;
            [edge.saturating_sub(1024), edge.saturating_sub(1), edge, edge + 1, edge + 512]
        });
        for len in lens.filter(|len| *len <= CHUNK_BYTES) {
            let bytes = &plain[..len];
            assert_eq!(ids.hash(bytes).id().as_bytes(), &blake3_256(bytes), "length {len}");
            let whole = keyed_hash(&key(), &[bytes]);
            assert_eq!(keyed.hash(bytes).id().as_bytes(), &whole, "length {len}, with a key");
        }
    }

    #[test]
    fn pieces_that_were_hashed_before_give_the_hash_of_the_whole_at_every_kind_of_length() {
        let bytes: Vec<u8> = (0..13 * PIECE_BYTES).map(|i| (i * 31 + i / 251) as u8).collect();
        let lens = (0..=13).flat_map(|n| {
            let edge = n * PIECE_BYTES;
            [edge.saturating_sub(1), edge, edge + 1, edge + 3000]
        });
        for len in lens.filter(|len| *len <= bytes.len()) {
            let bytes = &bytes[..len];
            let values: Vec<_> = bytes.chunks(PIECE_BYTES).enumerate().collect();
            let known =
                |index: usize| (index % 3 == 1).then(|| piece_value(values[index].1, index));
            assert_eq!(blake3_256_of_pieces(bytes, known), blake3_256(bytes), "length {len}");
        }
        let wrong = |index| (index == 5).then_some([0; 32]);
        assert_ne!(blake3_256_of_pieces(&bytes, wrong), blake3_256(&bytes), "values are used");
    }
}
