//! Gathers the bytes of one read: of holes, of whole chunks, of slices.

use std::cell::RefCell;
use std::ops::Range;
use std::sync::Arc;

use crate::base::id::ChunkId;
use crate::base::limits::{CHUNK_BYTES, SLICE_BYTES};
use crate::base::units::{ChunkRange, SliceIndex, slice_range};
use crate::error::{Error, Result};
use crate::vfs::chunks::{Part, Plain};
use crate::vfs::open_disk::{OpenDisk, Shelf};
use crate::vfs::overlay::{BlockState, OverlayDisk};

/// A read of at least so many bytes of one chunk decodes the whole chunk.
const WHOLE_CHUNK_FROM: usize = CHUNK_BYTES / 2;

/// What holes read as.
static ZEROS: [u8; CHUNK_BYTES] = [0; CHUNK_BYTES];

/// One read of one disk.
pub(super) struct Gathering<'a> {
    disk: &'a OpenDisk,
    shelf: &'a Shelf,
    is_sequential: bool,
    pieces: Vec<Piece>,
}

/// Bytes of a file as a reader gets them that takes them piece by piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadPiece<'a> {
    /// That many zeros, of which nothing is stored; at most as many as a chunk has bytes.
    Zeros(usize),
    /// Bytes where they lie.
    Bytes(&'a [u8]),
}

impl ReadPiece<'_> {
    /// The bytes, also those of a hole.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Zeros(len) => &ZEROS[..*len],
            Self::Bytes(bytes) => bytes,
        }
    }
}

/// Bytes that lie together.
enum Piece {
    /// That many zeros, at most as many as a chunk has bytes.
    Zero(usize),
    /// A part of a chunk or slice.
    Plain(Arc<Plain>, Range<usize>),
    /// What was written over the restore point.
    Written(Vec<u8>),
}

impl Piece {
    fn as_read(&self) -> ReadPiece<'_> {
        match self {
            Self::Zero(len) => ReadPiece::Zeros(*len),
            stored => ReadPiece::Bytes(stored.bytes()),
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Zero(len) => &ZEROS[..*len],
            Self::Plain(plain, range) => &plain.bytes()[range.clone()],
            Self::Written(bytes) => bytes,
        }
    }
}

impl<'a> Gathering<'a> {
    /// Nothing is gathered yet. A reader in order gets whole chunks.
    pub(super) fn new(disk: &'a OpenDisk, shelf: &'a Shelf, is_sequential: bool) -> Self {
        Self { disk, shelf, is_sequential, pieces: Vec::new() }
    }

    /// Adds the bytes of a range, which goes on where the one before ended.
    pub(super) fn add(&mut self, range: ChunkRange) -> Result<()> {
        let Some((overlay, blocks)) = self.disk.written_over(range.index) else {
            return self.add_below(range);
        };
        for (state, bytes) in blocks.runs(range.start..range.start + range.len) {
            let run = ChunkRange { start: bytes.start, len: bytes.len(), ..range };
            match state {
                BlockState::Below => self.add_below(run)?,
                BlockState::Zero => self.add_zeros(run.len),
                BlockState::Written => self.add_written(run, overlay)?,
            }
        }
        Ok(())
    }

    /// Adds the bytes of a range as the restore point has them.
    pub(super) fn add_below(&mut self, range: ChunkRange) -> Result<()> {
        let leaf = self.disk.map.leaf(range.index);
        let Some(chunk) = leaf.map_err(|error| self.report(range, None, error))? else {
            self.add_zeros(range.len);
            return Ok(());
        };
        if let Some(plain) = self.shelf.chunks.kept_chunk(chunk) {
            return self.add_chunk(range, chunk, plain);
        }
        if self.is_sequential || range.len >= WHOLE_CHUNK_FROM {
            match self.shelf.chunks.get(Part::Chunk(chunk)) {
                Ok(plain) => return self.add_chunk(range, chunk, plain),
                // Slices are proven one by one: those that are whole can still be read.
                Err(failure) => {
                    self.report(range, Some(chunk), failure.into_error());
                }
            }
        }
        self.add_slices(range, chunk)
    }

    /// Calls `f` with all bytes: where they lie if they lie together, or else copied together.
    pub(super) fn hand_out<R>(&self, f: impl FnOnce(&[u8]) -> R) -> R {
        thread_local! {
            static STITCHED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
        }
        match self.pieces.as_slice() {
            [] => f(&[]),
            [piece] => f(piece.bytes()),
            pieces => STITCHED.with_borrow_mut(|stitched| {
                stitched.clear();
                pieces.iter().for_each(|piece| stitched.extend_from_slice(piece.bytes()));
                f(stitched)
            }),
        }
    }

    /// How many bytes there are.
    pub(super) fn len(&self) -> usize {
        self.pieces.iter().map(|piece| piece.bytes().len()).sum()
    }

    /// All bytes, where they lie.
    pub(super) fn pieces(&self) -> Vec<ReadPiece<'_>> {
        self.pieces.iter().map(Piece::as_read).collect()
    }

    fn add_written(&mut self, range: ChunkRange, overlay: &OverlayDisk) -> Result<()> {
        let mut bytes = vec![0; range.len];
        let offset = self.disk.map.grid().chunk_offset(range.index) + range.start as u64;
        let read = overlay.read(offset, &mut bytes);
        read.map_err(|error| self.report(range, None, error))?;
        self.pieces.push(Piece::Written(bytes));
        Ok(())
    }

    fn add_zeros(&mut self, len: usize) {
        match self.pieces.last_mut() {
            Some(Piece::Zero(before)) if *before + len <= ZEROS.len() => *before += len,
            _ => self.pieces.push(Piece::Zero(len)),
        }
    }

    fn add_chunk(&mut self, range: ChunkRange, chunk: ChunkId, plain: Arc<Plain>) -> Result<()> {
        if plain.bytes().len() != self.disk.map.grid().chunk_len(range.index) {
            return Err(self.report(range, Some(chunk), wrong_length()));
        }
        self.pieces.push(Piece::Plain(plain, range.start..range.start + range.len));
        Ok(())
    }

    fn add_slices(&mut self, range: ChunkRange, chunk: ChunkId) -> Result<()> {
        let chunk_len = self.disk.map.grid().chunk_len(range.index);
        let end = range.start + range.len;
        for number in range.start / SLICE_BYTES..end.div_ceil(SLICE_BYTES) {
            let slice = SliceIndex(number as u8);
            let place = slice_range(slice, chunk_len);
            let plain = self
                .whole_slice(chunk, slice, place.len())
                .map_err(|error| self.report(range, Some(chunk), error))?;
            let wanted =
                range.start.max(place.start) - place.start..end.min(place.end) - place.start;
            self.pieces.push(Piece::Plain(plain, wanted));
        }
        Ok(())
    }

    fn whole_slice(&self, chunk: ChunkId, slice: SliceIndex, len: usize) -> Result<Arc<Plain>> {
        match self.shelf.chunks.get(Part::Slice(chunk, slice)) {
            Ok(plain) if plain.bytes().len() == len => Ok(plain),
            Ok(_) => Err(wrong_length()),
            Err(failure) => Err(failure.into_error()),
        }
    }

    fn report(&self, range: ChunkRange, chunk: Option<ChunkId>, cause: Error) -> Error {
        self.disk.report(self.shelf, range.index, chunk, cause)
    }
}

fn wrong_length() -> Error {
    Error::corrupt("the chunk has another length than its place on the disk")
}
