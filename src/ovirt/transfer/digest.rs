//! The checksum of an image, as hosts compute it, from its pieces in any order.

use std::collections::BTreeMap;
use std::sync::Mutex;

use ring::digest::{Context, Digest, SHA256, digest};

use crate::base::limits::CHUNK_BYTES;
use crate::base::sync::lock;
use crate::error::{Error, ErrorKind, Result};

/// Bytes of a block: those of a chunk, and the fewest that hosts take.
const BLOCK: u64 = CHUNK_BYTES as u64;
static ZEROS: [u8; CHUNK_BYTES] = [0; CHUNK_BYTES];

/// SHA-256 of the SHA-256 of each block of an image.
///
/// Pieces begin with a block and are whole blocks, but for the last of the image. Memory: one hash
/// for each piece that came before its turn.
pub struct ImageDigest {
    size_bytes: u64,
    zero_block: Digest,
    state: Mutex<State>,
}

struct State {
    outer: Context,
    /// Where the next piece in order begins.
    next: u64,
    /// Pieces that came too early, by where they begin.
    early: BTreeMap<u64, Piece>,
}

struct Piece {
    end: u64,
    /// The hash of the one block that it is; none where all of it is zero.
    block: Option<Digest>,
}

impl ImageDigest {
    /// The hash by which hosts are asked for it.
    pub const ALGORITHM: &'static str = "sha256";
    /// The length of a block by which hosts are asked for it, in bytes.
    pub const BLOCK_BYTES: u64 = BLOCK;

    /// Of an image of `size_bytes` bytes.
    #[must_use]
    pub fn new(size_bytes: u64) -> Self {
        let state = State { outer: Context::new(&SHA256), next: 0, early: BTreeMap::new() };
        let zero_block = digest(&SHA256, &ZEROS);
        Self { size_bytes, zero_block, state: Mutex::new(state) }
    }

    /// A block of data at `offset_bytes`. What lacks in it to a whole one, or to the end of the
    /// image, is zero.
    pub fn data(&self, offset_bytes: u64, bytes: &[u8]) -> Result<()> {
        let end = (offset_bytes + BLOCK).min(self.size_bytes);
        let len = end.saturating_sub(offset_bytes);
        if !offset_bytes.is_multiple_of(BLOCK) || bytes.is_empty() || bytes.len() as u64 > len {
            return Err(Error::new(ErrorKind::Invalid, "no block").at_byte(offset_bytes));
        }
        let mut block = Context::new(&SHA256);
        block.update(bytes);
        block.update(&ZEROS[..len as usize - bytes.len()]);
        self.add(offset_bytes, Piece { end, block: Some(block.finish()) });
        Ok(())
    }

    /// Zeros from `offset_bytes` to the end of the block that `end_bytes` is in, or of the image.
    pub fn zero(&self, offset_bytes: u64, end_bytes: u64) -> Result<()> {
        if !offset_bytes.is_multiple_of(BLOCK) || offset_bytes >= end_bytes {
            return Err(Error::new(ErrorKind::Invalid, "no blocks").at_byte(offset_bytes));
        }
        let end = end_bytes.next_multiple_of(BLOCK).min(self.size_bytes);
        self.add(offset_bytes, Piece { end, block: None });
        Ok(())
    }

    /// The checksum in hexadecimal digits. What was not given is zero.
    pub fn finish(&self) -> String {
        let mut state = lock(&self.state);
        let gaps = std::mem::take(&mut state.early);
        for (begin, piece) in gaps {
            self.hash_zeros(&mut state, begin);
            self.hash(&mut state, piece);
        }
        self.hash_zeros(&mut state, self.size_bytes);
        let hex = |byte: &u8| format!("{byte:02x}");
        state.outer.clone().finish().as_ref().iter().map(hex).collect()
    }

    fn add(&self, begin: u64, piece: Piece) {
        let mut state = lock(&self.state);
        state.early.insert(begin, piece);
        let mut next = state.next;
        while let Some(piece) = state.early.remove(&next) {
            self.hash(&mut state, piece);
            next = state.next;
        }
    }

    fn hash(&self, state: &mut State, piece: Piece) {
        match piece.block {
            Some(block) => state.outer.update(block.as_ref()),
            None => self.hash_zeros(state, piece.end),
        }
        state.next = piece.end;
    }

    fn hash_zeros(&self, state: &mut State, end: u64) {
        while state.next + BLOCK <= end {
            state.outer.update(self.zero_block.as_ref());
            state.next += BLOCK;
        }
        if state.next < end {
            state.outer.update(digest(&SHA256, &ZEROS[..(end - state.next) as usize]).as_ref());
            state.next = end;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn plain(bytes: &[u8]) -> String {
        let blocks = bytes.chunks(CHUNK_BYTES).map(|block| digest(&SHA256, block));
        let blocks: Vec<u8> = blocks.flat_map(|block| block.as_ref().to_vec()).collect();
        digest(&SHA256, &blocks).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn the_order_of_the_pieces_does_not_matter_and_what_is_missing_is_zero(
            size in 1u64..7 << 20,
            more in 0u64..3 << 20,
            kinds in prop::collection::vec(0u8..3, 8),
            order in Just((0usize..8).collect::<Vec<_>>()).prop_shuffle(),
        ) {
            let mut image = vec![0; (size + more) as usize];
            let digest = ImageDigest::new(size + more);
            for number in order {
                let begin = number as u64 * BLOCK;
                let end = (begin + BLOCK).min(size);
                if begin >= end {
                    continue;
                }
                match kinds[number] {
                    0 => {}
                    1 => digest.zero(begin, end).unwrap(),
                    _ => {
                        let block = &mut image[begin as usize..end as usize];
                        block.fill(number as u8 + 1);
                        digest.data(begin, block).unwrap();
                    }
                }
            }
            prop_assert_eq!(digest.finish(), plain(&image));
        }
    }

    #[test]
    fn a_piece_that_is_no_block_is_refused() {
        let digest = ImageDigest::new(2 * BLOCK + 5);
        assert!(digest.data(1, b"x").is_err());
        assert!(digest.data(0, b"").is_err());
        assert!(digest.data(2 * BLOCK, b"123456").is_err());
        assert!(digest.data(4 * BLOCK, b"1").is_err());
        assert!(digest.zero(3, BLOCK).is_err());
        assert!(digest.data(2 * BLOCK, b"12345").is_ok());
    }
}
