//! A pack that grows in memory until it is sealed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use crate::base::aligned::AlignedBuffer;
use crate::base::hash::{ChainingValue, PIECE_BYTES, blake3_256_of_pieces, piece_value};
use crate::base::id::{ChunkId, PackId};
use crate::base::limits::PACK_TARGET_BYTES;
use crate::base::sync::lock;
use crate::crypto::Sealing;
use crate::format::entry::EntryKind;
use crate::format::pack::{PACK_FOOTER_LEN, PACK_HEADER_LEN, TABLE_ROW_LEN, TableRow};

/// A pack that is being built. Uses one buffer, which it gives back.
#[derive(Debug)]
pub(super) struct PackBuilder {
    kind: EntryKind,
    bytes: AlignedBuffer,
    rows: Vec<TableRow>,
    pieces: Arc<Pieces>,
}

/// Hashes of pieces of a pack: its name comes from them. Whoever appends an entry can hash the
/// pieces that lie within it, while their bytes are still in a cache and no lock is held. Nobody
/// waits for that: pieces that are missing when the pack is sealed are hashed then.
///
/// The hashes are of the entries as they were verified, so a pack that changes in memory afterwards
/// does not bear its own name, and a scrub of hashes finds it.
#[derive(Debug, Default)]
pub(super) struct Pieces(Mutex<HashMap<usize, ChainingValue>>);

impl Pieces {
    /// Hashes the pieces of the pack that lie within `entry`, which begins at `offset` of it.
    pub(super) fn hash_within(&self, entry: &[u8], offset: usize) {
        let first = offset.div_ceil(PIECE_BYTES);
        let before = first * PIECE_BYTES - offset;
        let pieces = entry.get(before..).unwrap_or_default().chunks_exact(PIECE_BYTES);
        let values: Vec<_> = (first..)
            .zip(pieces)
            .map(|(index, piece)| (index, piece_value(piece, index)))
            .collect();
        lock(&self.0).extend(values);
    }
}

impl PackBuilder {
    /// An empty pack that grows in `buffer`, which has room for a pack of the target length.
    pub(super) fn new(kind: EntryKind, mut buffer: AlignedBuffer) -> Self {
        buffer.clear();
        buffer.extend_from_slice(&[0; PACK_HEADER_LEN]);
        Self { kind, bytes: buffer, rows: Vec::new(), pieces: Arc::default() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Whether an entry of that length can be appended without passing the target length.
    pub(super) fn has_room_for(&self, entry_len: usize, sealing: &Sealing) -> bool {
        let table_len = (self.rows.len() + 1) * TABLE_ROW_LEN + sealing.table_extra_len();
        self.bytes.len() + entry_len + table_len + PACK_FOOTER_LEN <= PACK_TARGET_BYTES
    }

    /// Appends an entry, and says where it begins.
    pub(super) fn append(&mut self, chunk: ChunkId, plain_len: usize, entry: &[u8]) -> usize {
        let offset = self.bytes.len();
        self.rows.push(TableRow {
            chunk,
            offset: offset as u32,
            entry_len: entry.len() as u32,
            plain_len: plain_len as u32,
            kind: self.kind,
        });
        self.bytes.extend_from_slice(entry);
        offset
    }

    /// Where hashes of pieces may be left.
    pub(super) fn pieces(&self) -> Arc<Pieces> {
        Arc::clone(&self.pieces)
    }

    /// Completes the pack with this salt. Can be done again with another salt: that gives a second
    /// copy of the same entries under another name.
    pub(super) fn seal(&mut self, sealing: &Sealing, salt: [u8; 32]) -> PackId {
        let header = sealing.pack_header(self.kind, salt);
        let entries_end =
            self.rows.last().map_or(PACK_HEADER_LEN as u32, |row| row.offset + row.entry_len);
        self.bytes.truncate(entries_end as usize);
        self.bytes[..PACK_HEADER_LEN].copy_from_slice(&header.encode());
        self.bytes.extend_from_slice(&sealing.encode_trailer(&header, entries_end, &self.rows));
        let known = lock(&self.pieces.0).clone();
        let hash = blake3_256_of_pieces(&self.bytes, |index| known.get(&index).copied());
        PackId::from_bytes(hash)
    }

    /// The bytes of the pack, complete after [`PackBuilder::seal`].
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn rows(&self) -> &[TableRow] {
        &self.rows
    }

    /// Gives the buffer back.
    pub(super) fn into_buffer(self) -> AlignedBuffer {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::hash::blake3_256;
    use crate::base::id::RepoId;

    #[test]
    fn a_pack_is_named_by_its_hash_whoever_hashed_which_of_its_pieces() {
        let sealing = Sealing::plain(RepoId::from_bytes([1; 16]));
        let mut pack = PackBuilder::new(
            EntryKind::Data,
            AlignedBuffer::with_capacity(PACK_TARGET_BYTES).unwrap(),
        );
        let lens = [5, 3 * PIECE_BYTES, PIECE_BYTES, 100, 1000, 7 * PIECE_BYTES + 1, 2];
        for (number, len) in lens.into_iter().enumerate() {
            let entry: Vec<u8> = (0..len).map(|at| (at % 251 + number) as u8).collect();
            let offset = pack.append(ChunkId::from_bytes([number as u8; 32]), len, &entry);
            assert_eq!(pack.bytes()[offset..], entry);
            if number != 2 {
                pack.pieces().hash_within(&entry, offset);
            }
        }
        assert!(lock(&pack.pieces.0).len() >= 8, "most pieces are hashed");
        for salt in [[2; 32], [3; 32]] {
            let id = pack.seal(&sealing, salt);
            assert_eq!(id.as_bytes(), &blake3_256(pack.bytes()));
        }
    }
}
