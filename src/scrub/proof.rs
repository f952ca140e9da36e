//! Proves single entries of a pack.

use crate::base::id::ChunkId;
use crate::base::limits::CHUNK_BYTES;
use crate::base::verified::VerifiedChunk;
use crate::chunk::ChunkDecoder;
use crate::crypto::Sealing;
use crate::error::Result;
use crate::format::pack::TableRow;

/// Proves entries, one after the other. Keeps its buffers; make one per thread.
pub struct EntryProof {
    sealing: Sealing,
    decoder: ChunkDecoder,
    plain: Vec<u8>,
}

impl EntryProof {
    /// One for the entries of a repository, with empty buffers.
    pub fn new(sealing: &Sealing) -> Result<Self> {
        let (decoder, plain) = (ChunkDecoder::new(sealing)?, Vec::with_capacity(CHUNK_BYTES));
        Ok(Self { sealing: sealing.clone(), decoder, plain })
    }

    /// Whether an entry decodes to the chunk that the row names, and says the same of itself. The
    /// chaining values of its slices are checked too: single slices are proven by them.
    pub fn is_good(&mut self, row: &TableRow, bytes: &[u8]) -> bool {
        let start = row.offset as usize;
        let Some(entry) = bytes.get(start..start + row.entry_len as usize) else {
            return false;
        };
        let Ok(head) = self.sealing.open_head(entry) else {
            return false;
        };
        let agrees = head.chunk() == row.chunk
            && head.kind() == row.kind
            && head.plain_len() == row.plain_len as usize
            && self.sealing.ids().merge(&head.values()) == row.chunk;
        let plain = std::mem::take(&mut self.plain);
        match self.decoder.decode(row.chunk, entry, plain).map(VerifiedChunk::into_buffer) {
            Ok(plain) => {
                self.plain = plain;
                agrees
            }
            Err(_) => false,
        }
    }

    /// The plain bytes of an entry, if they are those of `chunk`. The rest of it may be damaged.
    pub fn plain_of(&mut self, chunk: ChunkId, entry: &[u8]) -> Option<&[u8]> {
        let plain = std::mem::take(&mut self.plain);
        self.plain = self.decoder.decode(chunk, entry, plain).ok()?.into_buffer();
        Some(&self.plain)
    }
}
