//! Out of a pack entry: bytes leave only as verified values.

use zstd::bulk::Decompressor;

use crate::base::id::ChunkId;
use crate::base::units::{SliceIndex, slice_range};
use crate::base::verified::{VerifiedChunk, VerifiedSlice};
use crate::error::{Error, ErrorKind, Result};
use crate::format::entry::{EntryHead, SliceCodec, SliceRow};

/// Decodes entries. Keeps its decompression context; make one per thread.
pub struct ChunkDecoder {
    zstd: Decompressor<'static>,
}

impl ChunkDecoder {
    /// A decoder.
    pub fn new() -> Result<Self> {
        let zstd = Decompressor::new().map_err(|error| {
            Error::new(ErrorKind::Io, "cannot set up decompression").because(error)
        })?;
        Ok(Self { zstd })
    }

    /// Decodes a whole entry under the id that it was looked up by. `buffer` is used for the
    /// plain bytes, whatever it holds.
    pub fn decode(
        &mut self,
        chunk: ChunkId,
        entry: &[u8],
        mut buffer: Vec<u8>,
    ) -> Result<VerifiedChunk> {
        let head = EntryHead::decode(entry)
            .map_err(|error| Error::corrupt("the entry is damaged").because(error).chunk(chunk))?;
        if entry.len() != head.entry_len() {
            return Err(Error::corrupt("the entry has the wrong length").chunk(chunk));
        }
        buffer.clear();
        buffer.resize(head.plain_len(), 0);
        for (index, row) in head.rows().iter().enumerate() {
            let slice = SliceIndex(index as u8);
            let out = &mut buffer[slice_range(slice, head.plain_len())];
            self.decode_slice_into(row, &entry[head.stored_range(slice)], out)
                .map_err(|error| error.chunk(chunk))?;
        }
        VerifiedChunk::check(chunk, buffer)
            .map_err(|_| Error::corrupt("the stored bytes are not those of the chunk").chunk(chunk))
    }

    /// Decodes one slice of the chunk `chunk`, given the head of its entry and the slice's stored
    /// bytes.
    pub fn decode_slice(
        &mut self,
        chunk: ChunkId,
        head: &EntryHead,
        slice: SliceIndex,
        stored: &[u8],
    ) -> Result<VerifiedSlice> {
        let Some(row) = head.rows().get(usize::from(slice.0)) else {
            return Err(Error::corrupt("the entry is too short for the slice").chunk(chunk));
        };
        let mut plain = vec![0; slice_range(slice, head.plain_len()).len()];
        self.decode_slice_into(row, stored, &mut plain).map_err(|error| error.chunk(chunk))?;
        VerifiedSlice::check(chunk, head.plain_len(), slice, &head.values(), plain).ok_or_else(
            || Error::corrupt("the stored bytes are not those of the chunk").chunk(chunk),
        )
    }

    fn decode_slice_into(&mut self, row: &SliceRow, stored: &[u8], out: &mut [u8]) -> Result<()> {
        match row.codec {
            SliceCodec::Zero => out.fill(0),
            SliceCodec::Raw if stored.len() == out.len() => out.copy_from_slice(stored),
            SliceCodec::Raw => return Err(Error::corrupt("a slice is cut short")),
            SliceCodec::Zstd => {
                let len = self.zstd.decompress_to_buffer(stored, out).map_err(|error| {
                    Error::corrupt("a slice cannot be decompressed").because(error)
                })?;
                if len != out.len() {
                    return Err(Error::corrupt("a slice decompresses to the wrong length"));
                }
            }
        }
        Ok(())
    }
}
