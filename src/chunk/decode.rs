//! Out of a pack entry: bytes leave only as verified values.

use zstd::bulk::Decompressor;

use crate::base::id::ChunkId;
use crate::base::units::{SliceIndex, slice_range};
use crate::base::verified::{VerifiedChunk, VerifiedSlice};
use crate::crypto::{Sealing, SliceOpener};
use crate::error::{Error, ErrorKind, Result};
use crate::format::codec::DecodeError;
use crate::format::entry::{EntryHead, SliceCodec, SliceRow};

/// Decodes entries. Keeps its decompression context; make one per thread.
pub struct ChunkDecoder {
    sealing: Sealing,
    zstd: Decompressor<'static>,
    /// A slice after it was opened.
    opened: Vec<u8>,
    /// A slice that is only checked, after it was decoded.
    checked: Vec<u8>,
}

impl ChunkDecoder {
    /// A decoder of the entries of a repository.
    pub fn new(sealing: &Sealing) -> Result<Self> {
        let zstd = Decompressor::new().map_err(|error| {
            Error::new(ErrorKind::Io, "cannot set up decompression").because(error)
        })?;
        Ok(Self { sealing: sealing.clone(), zstd, opened: Vec::new(), checked: Vec::new() })
    }

    /// Decodes a whole entry under the id that it was looked up by. `buffer` is used for the
    /// plain bytes, whatever it holds.
    pub fn decode(
        &mut self,
        chunk: ChunkId,
        entry: &[u8],
        mut buffer: Vec<u8>,
    ) -> Result<VerifiedChunk> {
        let head = self.open_head(chunk, entry)?;
        let opener = self.slice_opener(chunk, &head)?;
        // What was in it is written over, slice by slice.
        buffer.resize(head.plain_len(), 0);
        for (index, row) in head.rows().iter().enumerate() {
            let slice = SliceIndex(index as u8);
            let out = &mut buffer[slice_range(slice, head.plain_len())];
            self.decode_slice_into(&opener, slice, row, &entry[head.stored_range(slice)], out)
                .map_err(|error| error.chunk(chunk))?;
        }
        VerifiedChunk::check(self.sealing.ids(), chunk, buffer).map_err(|_| other_bytes(chunk))
    }

    /// Does what reading the entry as a whole and slice by slice needs to go well, and keeps no
    /// bytes: each slice is hashed while a processor has it in its cache.
    pub fn check(&mut self, chunk: ChunkId, entry: &[u8]) -> Result<()> {
        let head = self.open_head(chunk, entry)?;
        let opener = self.slice_opener(chunk, &head)?;
        let mut out = std::mem::take(&mut self.checked);
        for (index, row) in head.rows().iter().enumerate() {
            let slice = SliceIndex(index as u8);
            let stored = &entry[head.stored_range(slice)];
            out.resize(slice_range(slice, head.plain_len()).len(), 0);
            let plain = match row.codec {
                // As it stands there, if it is not sealed.
                SliceCodec::Raw => opener
                    .open(slice, row, stored, &mut self.opened)
                    .map_err(|error| damaged_slice(error).chunk(chunk))?,
                SliceCodec::Zero | SliceCodec::Zstd => {
                    self.decode_slice_into(&opener, slice, row, stored, &mut out)
                        .map_err(|error| error.chunk(chunk))?;
                    &out
                }
            };
            let is_whole = plain.len() == out.len();
            let value = self.sealing.ids().slice_value(plain, index, head.plain_len());
            if !is_whole || value != row.value {
                return Err(other_bytes(chunk));
            }
        }
        self.checked = out;
        match self.sealing.ids().merge(&head.values()) == chunk {
            true => Ok(()),
            false => Err(other_bytes(chunk)),
        }
    }

    /// Decodes one slice of the chunk `chunk`, given the head of its entry and the slice's stored
    /// bytes. `buffer` is used for the plain bytes, whatever it holds.
    pub fn decode_slice(
        &mut self,
        chunk: ChunkId,
        head: &EntryHead,
        slice: SliceIndex,
        stored: &[u8],
        mut buffer: Vec<u8>,
    ) -> Result<VerifiedSlice> {
        let Some(row) = head.rows().get(usize::from(slice.0)) else {
            return Err(Error::corrupt("the entry is too short for the slice").chunk(chunk));
        };
        let opener = self.slice_opener(chunk, head)?;
        buffer.resize(slice_range(slice, head.plain_len()).len(), 0);
        self.decode_slice_into(&opener, slice, row, stored, &mut buffer)
            .map_err(|error| error.chunk(chunk))?;
        let (ids, len) = (self.sealing.ids(), head.plain_len());
        VerifiedSlice::check(ids, chunk, len, slice, &head.values(), buffer)
            .ok_or_else(|| other_bytes(chunk))
    }

    /// The head of a whole entry.
    fn open_head(&self, chunk: ChunkId, entry: &[u8]) -> Result<EntryHead> {
        let head = self
            .sealing
            .open_head(entry)
            .map_err(|error| Error::corrupt("the entry is damaged").because(error).chunk(chunk))?;
        match entry.len() == head.entry_len() {
            true => Ok(head),
            false => Err(Error::corrupt("the entry has the wrong length").chunk(chunk)),
        }
    }

    fn slice_opener(&self, chunk: ChunkId, head: &EntryHead) -> Result<SliceOpener> {
        let opener = self.sealing.slice_opener(head);
        opener.map_err(|error| Error::corrupt("the entry is damaged").because(error).chunk(chunk))
    }

    fn decode_slice_into(
        &mut self,
        opener: &SliceOpener,
        slice: SliceIndex,
        row: &SliceRow,
        stored: &[u8],
        out: &mut [u8],
    ) -> Result<()> {
        let stored = opener.open(slice, row, stored, &mut self.opened).map_err(damaged_slice)?;
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

fn damaged_slice(error: DecodeError) -> Error {
    Error::corrupt("a slice is damaged").because(error)
}

fn other_bytes(chunk: ChunkId) -> Error {
    Error::corrupt("the stored bytes are not those of the chunk").chunk(chunk)
}
