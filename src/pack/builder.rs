//! A pack that grows in memory until it is sealed.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::base::aligned::{AlignedArena, AlignedBuffer};
use crate::base::hash::{ChainingValue, PIECE_BYTES, blake3_256_of_pieces, piece_value};
use crate::base::id::{ChunkId, PackId};
use crate::base::limits::PACK_TARGET_BYTES;
use crate::base::sync::lock;
use crate::crypto::Sealing;
use crate::format::entry::EntryKind;
use crate::format::pack::{PACK_FOOTER_LEN, PACK_HEADER_LEN, TABLE_ROW_LEN, TableRow};

/// A pack that is being built, by several threads at once. Uses one buffer, which it gives back.
#[derive(Debug)]
pub(super) struct PackBuilder {
    kind: EntryKind,
    bytes: AlignedArena,
    entries: Mutex<Entries>,
}

/// What is known of the entries of a pack that is being built.
#[derive(Debug)]
struct Entries {
    /// Of all that have a place, in the order of their places.
    rows: Vec<TableRow>,
    /// How many of them are in their places.
    filled: usize,
    /// Where the next place begins.
    end: usize,
    pieces: Pieces,
}

/// Hashes of pieces of a pack: its name comes from them. Whoever fills a place hashes the pieces
/// that lie within it. The others are hashed when the pack is sealed.
///
/// The hashes are of the entries as they were verified, so a pack that changes in memory afterwards
/// does not bear its own name, and a scrub of hashes finds it.
type Pieces = HashMap<usize, ChainingValue>;

impl PackBuilder {
    /// An empty pack that grows in `buffer`, which has room for a pack of the target length.
    pub(super) fn new(kind: EntryKind, mut buffer: AlignedBuffer) -> Self {
        buffer.clear();
        buffer.extend_from_slice(&[0; PACK_HEADER_LEN]);
        let entries =
            Entries { rows: Vec::new(), filled: 0, end: PACK_HEADER_LEN, pieces: Pieces::new() };
        Self { kind, bytes: buffer.into_arena(), entries: Mutex::new(entries) }
    }

    /// Whether an entry of that length can be added without passing the target length.
    pub(super) fn has_room_for(&self, entry_len: usize, sealing: &Sealing) -> bool {
        let entries = lock(&self.entries);
        let table_len = (entries.rows.len() + 1) * TABLE_ROW_LEN + sealing.table_extra_len();
        entries.end + entry_len + table_len + PACK_FOOTER_LEN <= PACK_TARGET_BYTES
    }

    /// Makes a place for an entry. A pack of which a place was not filled cannot be sealed.
    pub(super) fn reserve(&self, chunk: ChunkId, plain_len: usize, entry_len: usize) -> Place<'_> {
        let mut entries = lock(&self.entries);
        let (offset, bytes) = self.bytes.take(entry_len);
        entries.end = offset + entry_len;
        entries.rows.push(TableRow {
            chunk,
            offset: offset as u32,
            entry_len: entry_len as u32,
            plain_len: plain_len as u32,
            kind: self.kind,
        });
        Place { pack: self, offset, bytes }
    }

    /// Ends the building. Gives only the buffer back if an entry is not in its place.
    pub(super) fn close(self) -> Result<FullPack, AlignedBuffer> {
        let entries = self.entries.into_inner().unwrap_or_else(PoisonError::into_inner);
        let (kind, bytes) = (self.kind, self.bytes.into_buffer());
        match entries.filled == entries.rows.len() {
            true => Ok(FullPack { kind, bytes, rows: entries.rows, pieces: entries.pieces }),
            false => Err(bytes),
        }
    }
}

/// Where an entry belongs in a pack.
#[must_use]
pub(super) struct Place<'a> {
    pack: &'a PackBuilder,
    offset: usize,
    bytes: &'a mut [u8],
}

impl Place<'_> {
    /// Copies the entry to its place, and hashes the pieces of the pack that lie within it, each
    /// while a processor has it in its cache.
    ///
    /// # Panics
    ///
    /// If the entry is not of the length that the place was made for.
    pub(super) fn fill(self, entry: &[u8]) {
        let Self { pack, offset, bytes } = self;
        let first = offset.div_ceil(PIECE_BYTES);
        let before = (first * PIECE_BYTES - offset).min(entry.len());
        let (border, entry) = entry.split_at(before);
        let (border_bytes, bytes) = bytes.split_at_mut(before);
        border_bytes.copy_from_slice(border);
        let mut values = Vec::with_capacity(entry.len() / PIECE_BYTES);
        assert_eq!(entry.len(), bytes.len(), "an entry has the length of its place");
        let pieces = entry.chunks(PIECE_BYTES).zip(bytes.chunks_mut(PIECE_BYTES));
        for (index, (piece, copy)) in (first..).zip(pieces) {
            copy.copy_from_slice(piece);
            if piece.len() == PIECE_BYTES {
                values.push((index, piece_value(piece, index)));
            }
        }
        let mut entries = lock(&pack.entries);
        entries.pieces.extend(values);
        entries.filled += 1;
    }
}

/// A pack whose entries are all in their places.
#[derive(Debug)]
pub(super) struct FullPack {
    kind: EntryKind,
    bytes: AlignedBuffer,
    rows: Vec<TableRow>,
    pieces: Pieces,
}

impl FullPack {
    /// Completes the pack with this salt. Can be done again with another salt: that gives a second
    /// copy of the same entries under another name.
    pub(super) fn seal(&mut self, sealing: &Sealing, salt: [u8; 32]) -> PackId {
        let header = sealing.pack_header(self.kind, salt);
        let entries_end =
            self.rows.last().map_or(PACK_HEADER_LEN as u32, |row| row.offset + row.entry_len);
        self.bytes.truncate(entries_end as usize);
        self.bytes[..PACK_HEADER_LEN].copy_from_slice(&header.encode());
        self.bytes.extend_from_slice(&sealing.encode_trailer(&header, entries_end, &self.rows));
        let hash = blake3_256_of_pieces(&self.bytes, |index| self.pieces.get(&index).copied());
        PackId::from_bytes(hash)
    }

    /// The bytes of the pack, complete after [`FullPack::seal`].
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

    const CHUNK: ChunkId = ChunkId::from_bytes([4; 32]);

    fn new_pack() -> PackBuilder {
        let buffer = AlignedBuffer::with_capacity(PACK_TARGET_BYTES).unwrap();
        PackBuilder::new(EntryKind::Data, buffer)
    }

    #[test]
    fn a_pack_is_named_by_its_hash_in_whatever_order_its_places_are_filled() {
        let sealing = Sealing::plain(RepoId::from_bytes([1; 16]));
        let pack = new_pack();
        let lens = [5, 3 * PIECE_BYTES, PIECE_BYTES, 100, 1000, 7 * PIECE_BYTES + 1, 2];
        let entries: Vec<Vec<u8>> = (0..)
            .zip(lens)
            .map(|(number, len)| (0..len).map(|at| (at % 251 + number) as u8).collect())
            .collect();
        let reserve = |entry: &Vec<u8>| pack.reserve(CHUNK, entry.len(), entry.len());
        let places: Vec<_> = entries.iter().map(reserve).collect();
        for (place, entry) in places.into_iter().zip(&entries).rev() {
            place.fill(entry);
        }
        let mut pack = pack.close().unwrap();
        assert!(pack.pieces.len() >= 8, "most pieces are hashed");
        for salt in [[2; 32], [3; 32]] {
            let id = pack.seal(&sealing, salt);
            assert_eq!(id.as_bytes(), &blake3_256(pack.bytes()));
            for (row, entry) in pack.rows().iter().zip(&entries) {
                assert_eq!(pack.bytes()[row.offset as usize..][..row.entry_len as usize], *entry);
            }
        }
    }

    #[test]
    fn a_pack_with_a_place_that_was_not_filled_cannot_be_sealed() {
        let pack = new_pack();
        drop(pack.reserve(CHUNK, 5, 5));
        pack.reserve(CHUNK, 5, 5).fill(b"entry");
        assert!(pack.close().is_err());
    }
}
