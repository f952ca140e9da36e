//! Into a pack entry: compressed slice by slice, and decoded again before anyone may store it.

use zstd::bulk::Compressor;

use crate::base::hash::ChunkHash;
use crate::base::limits::{CHUNK_BYTES, SLICE_BYTES};
use crate::chunk::ChunkDecoder;
use crate::chunk::zero::is_zero;
use crate::crypto::Sealing;
use crate::error::{Error, ErrorKind, Result};
use crate::format::entry::{ENTRY_LEN_MAX, EntryHead, EntryKind, SliceCodec, SliceRow};

/// How hard to compress: a zstd level from -7 (fast) to 19 (small).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompressionLevel(i32);

impl CompressionLevel {
    /// The level of that number; none outside of -7 to 19.
    #[must_use]
    pub fn new(level: i32) -> Option<Self> {
        (-7..=19).contains(&level).then_some(Self(level))
    }
}

impl Default for CompressionLevel {
    /// Level 1: level 3 gives 10 % smaller packs for 1.6 times the work (`docs/performance.md`).
    fn default() -> Self {
        Self(1)
    }
}

/// Encodes chunks and map nodes. Keeps its contexts and buffers; make one per thread.
pub struct ChunkEncoder {
    sealing: Sealing,
    zstd: Compressor<'static>,
    decoder: ChunkDecoder,
    entry: Vec<u8>,
    /// Room for a frame that is worth storing.
    frame: Vec<u8>,
}

impl ChunkEncoder {
    /// An encoder of that level for the entries of a repository.
    pub fn new(level: CompressionLevel, sealing: &Sealing) -> Result<Self> {
        let zstd = Compressor::new(level.0).map_err(|error| {
            Error::new(ErrorKind::Io, "cannot set up compression").because(error)
        })?;
        Ok(Self {
            sealing: sealing.clone(),
            zstd,
            decoder: ChunkDecoder::new(sealing)?,
            entry: Vec::with_capacity(ENTRY_LEN_MAX),
            frame: Vec::with_capacity(SLICE_BYTES),
        })
    }

    /// The bytes of the entry that holds `plain`, whose hash is `hash`.
    ///
    /// They were decoded and hashed again: a bad memory cell must not become a bad backup.
    ///
    /// # Panics
    ///
    /// If `plain` is empty or longer than a chunk.
    pub fn encode(&mut self, kind: EntryKind, hash: &ChunkHash, plain: &[u8]) -> Result<&[u8]> {
        assert!((1..=CHUNK_BYTES).contains(&plain.len()), "a chunk has 1 byte to 1 MiB");
        let sealer = self.sealing.entry_sealer(kind, hash.id(), plain.len());
        self.entry.clear();
        self.entry.resize(sealer.head_len(hash.values().len()), 0);
        let mut rows = Vec::with_capacity(hash.values().len());
        for (index, (slice, value)) in plain.chunks(SLICE_BYTES).zip(hash.values()).enumerate() {
            let before = self.entry.len();
            let codec = self.append_slice(slice);
            let stored_len = (self.entry.len() - before) as u32;
            let row = SliceRow { codec, stored_len, value: *value };
            sealer.seal_slice(index, &row, &mut self.entry, before);
            rows.push(row);
        }
        let head = EntryHead::new(kind, hash.id(), plain.len(), rows);
        sealer.write_head(head, &mut self.entry);
        self.verify(hash)?;
        Ok(&self.entry)
    }

    fn append_slice(&mut self, slice: &[u8]) -> SliceCodec {
        if is_zero(slice) {
            return SliceCodec::Zero;
        }
        // A frame that saves less than 3 % costs more to decode than it is worth.
        self.frame.resize(slice.len() / 100 * 97, 0);
        match self.zstd.compress_to_buffer(slice, &mut self.frame[..]) {
            Ok(len) => {
                self.entry.extend_from_slice(&self.frame[..len]);
                SliceCodec::Zstd
            }
            // The only cause is a frame that does not fit.
            Err(_) => {
                self.entry.extend_from_slice(slice);
                SliceCodec::Raw
            }
        }
    }

    fn verify(&mut self, hash: &ChunkHash) -> Result<()> {
        self.decoder.check(hash.id(), &self.entry).map_err(|error| {
            let what = "a chunk changed while it was compressed: this machine's memory or \
                        processor is faulty";
            Error::new(ErrorKind::Io, what).chunk(hash.id()).because(error)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::base::chance::SystemChance;
    use crate::base::id::{ChunkId, RepoId};
    use crate::base::units::{SliceIndex, slice_count, slice_range};
    use crate::crypto::Keyring;
    use proptest::prelude::*;

    fn noise(len: usize, seed: u64) -> Vec<u8> {
        let mut state = seed | 1;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040);
            (state >> 33) as u8
        };
        (0..len).map(|_| next()).collect()
    }

    /// A buffer that holds something else.
    fn used() -> Vec<u8> {
        vec![0xa5; SLICE_BYTES + 1]
    }

    fn sealings() -> [Sealing; 2] {
        let repo = RepoId::from_bytes([1; 16]);
        let keyring = Keyring::generate(&SystemChance);
        [Sealing::plain(repo), Sealing::keyed(repo, &keyring, Arc::new(SystemChance))]
    }

    fn encode(sealing: &Sealing, plain: &[u8]) -> (ChunkId, Vec<u8>) {
        let mut encoder = ChunkEncoder::new(CompressionLevel::default(), sealing).unwrap();
        let hash = sealing.ids().hash(plain);
        (hash.id(), encoder.encode(EntryKind::Data, &hash, plain).unwrap().to_vec())
    }

    #[test]
    fn each_slice_is_stored_in_the_way_that_fits_it() {
        let mut plain = vec![0; SLICE_BYTES];
        plain.extend(noise(SLICE_BYTES, 1));
        plain.extend(b"text ".repeat(SLICE_BYTES / 5));
        for sealing in sealings() {
            let (_, entry) = encode(&sealing, &plain);
            let head = sealing.open_head(&entry).unwrap();
            let codecs: Vec<_> = head.rows().iter().map(|row| row.codec).collect();
            assert_eq!(codecs, [SliceCodec::Zero, SliceCodec::Raw, SliceCodec::Zstd]);
            assert!(entry.len() < SLICE_BYTES * 5 / 4);
        }
    }

    #[test]
    fn two_sealed_entries_of_one_chunk_share_no_bytes_and_both_open() {
        let [_, sealing] = sealings();
        let plain = noise(SLICE_BYTES * 2, 5);
        let [(id, first), (_, second)] = [encode(&sealing, &plain), encode(&sealing, &plain)];
        let equal = first.iter().zip(&second).filter(|(a, b)| a == b).count();
        assert!(equal < first.len() / 100, "{equal} of {} bytes are equal", first.len());
        let mut decoder = ChunkDecoder::new(&sealing).unwrap();
        for entry in [first, second] {
            assert_eq!(decoder.decode(id, &entry, Vec::new()).unwrap().bytes(), plain);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn whole_chunks_and_single_slices_come_back(
            len in 1usize..=CHUNK_BYTES, seed: u64, shift in 0u32..8, zero: prop::sample::Index,
        ) {
            let mut plain: Vec<u8> = noise(len, seed).iter().map(|byte| byte >> shift).collect();
            let zero = slice_range(SliceIndex(zero.index(slice_count(len)) as u8), len);
            plain[zero].fill(0);
            for sealing in sealings() {
                let (id, entry) = encode(&sealing, &plain);
                let mut decoder = ChunkDecoder::new(&sealing).unwrap();
                let decoded = decoder.decode(id, &entry, used()).unwrap();
                prop_assert_eq!(decoded.bytes(), &plain[..]);
                decoder.check(id, &entry).unwrap();
                prop_assert!(decoder.check(ChunkId::from_bytes([9; 32]), &entry).is_err());
                let head = sealing.open_head(&entry).unwrap();
                for (index, expected) in plain.chunks(SLICE_BYTES).enumerate() {
                    let slice = SliceIndex(index as u8);
                    let stored = &entry[head.stored_range(slice)];
                    let decoded = decoder.decode_slice(id, &head, slice, stored, used()).unwrap();
                    prop_assert_eq!(decoded.bytes(), expected);
                }
            }
        }

        #[test]
        fn a_flipped_bit_never_gives_other_bytes(
            len in 1usize..SLICE_BYTES * 3, seed: u64, at: prop::sample::Index, bit in 0u8..8,
        ) {
            let plain: Vec<u8> = noise(len, seed).iter().map(|byte| byte >> 4).collect();
            for sealing in sealings() {
                let (id, mut entry) = encode(&sealing, &plain);
                let at = at.index(entry.len());
                entry[at] ^= 1 << bit;
                let mut decoder = ChunkDecoder::new(&sealing).unwrap();
                let decoded = decoder.decode(id, &entry, used());
                prop_assert!(decoded.is_ok() || decoder.check(id, &entry).is_err());
                if let Ok(decoded) = decoded {
                    prop_assert!(!sealing.is_encrypted(), "every bit of an entry is sealed");
                    prop_assert_eq!(decoded.bytes(), &plain[..]);
                }
                let Ok(head) = sealing.open_head(&entry) else { continue };
                for (index, expected) in plain.chunks(SLICE_BYTES).enumerate() {
                    let slice = SliceIndex(index as u8);
                    let stored = entry.get(head.stored_range(slice)).unwrap_or_default();
                    if let Ok(decoded) = decoder.decode_slice(id, &head, slice, stored, used()) {
                        prop_assert_eq!(decoded.bytes(), expected);
                    }
                }
            }
        }
    }
}
