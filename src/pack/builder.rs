//! A pack that grows in memory until it is sealed.

use crate::base::hash::blake3_256;
use crate::base::id::{ChunkId, PackId};
use crate::base::limits::PACK_TARGET_BYTES;
use crate::crypto::Sealing;
use crate::format::entry::EntryKind;
use crate::format::pack::{PACK_FOOTER_LEN, PACK_HEADER_LEN, TABLE_ROW_LEN, TableRow};

/// A pack that is being built. Uses one buffer, which it gives back.
#[derive(Debug)]
pub(super) struct PackBuilder {
    kind: EntryKind,
    bytes: Vec<u8>,
    rows: Vec<TableRow>,
}

impl PackBuilder {
    /// An empty pack that grows in `buffer`.
    pub(super) fn new(kind: EntryKind, mut buffer: Vec<u8>) -> Self {
        buffer.clear();
        buffer.resize(PACK_HEADER_LEN, 0);
        Self { kind, bytes: buffer, rows: Vec::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Whether an entry of that length can be appended without passing the target length.
    pub(super) fn has_room_for(&self, entry_len: usize, sealing: &Sealing) -> bool {
        let table_len = (self.rows.len() + 1) * TABLE_ROW_LEN + sealing.table_extra_len();
        self.bytes.len() + entry_len + table_len + PACK_FOOTER_LEN <= PACK_TARGET_BYTES
    }

    pub(super) fn append(&mut self, chunk: ChunkId, plain_len: usize, entry: &[u8]) {
        self.rows.push(TableRow {
            chunk,
            offset: self.bytes.len() as u32,
            entry_len: entry.len() as u32,
            plain_len: plain_len as u32,
            kind: self.kind,
        });
        self.bytes.extend_from_slice(entry);
    }

    /// Completes the pack with this salt. Can be done again with another salt: that gives a second
    /// copy of the same entries under another name.
    pub(super) fn seal(&mut self, sealing: &Sealing, salt: [u8; 32]) -> PackId {
        let header = sealing.pack_header(self.kind, salt);
        let entries_end =
            self.rows.last().map_or(PACK_HEADER_LEN as u32, |row| row.offset + row.entry_len);
        self.bytes.truncate(entries_end as usize);
        self.bytes[..PACK_HEADER_LEN].copy_from_slice(&header.encode());
        self.bytes.extend(sealing.encode_trailer(&header, entries_end, &self.rows));
        PackId::from_bytes(blake3_256(&self.bytes))
    }

    /// The bytes of the pack, complete after [`PackBuilder::seal`].
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn rows(&self) -> &[TableRow] {
        &self.rows
    }

    /// Gives the buffer back.
    pub(super) fn into_buffer(self) -> Vec<u8> {
        self.bytes
    }
}
