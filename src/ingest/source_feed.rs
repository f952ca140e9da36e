//! Hands out the chunks of an image of random access: what is known of them is not read.

use std::sync::Mutex;

use crate::base::id::ChunkId;
use crate::base::limits::CHUNK_BYTES;
use crate::base::sync::lock;
use crate::base::units::{ChunkGrid, ChunkIndex};
use crate::error::{Error, ErrorKind, Result};
use crate::ingest::board::Board;
use crate::ingest::feed::{Content, Feed, Piece};
use crate::ingest::inheritance::Inheritance;
use crate::ingest::parent::ParentDisk;
use crate::ingest::source::{Extent, ExtentKind, ImageSource, RunReader};
use crate::repo::BackupSession;

/// Chunks of an image. Each thread that asks reads its own.
pub(super) struct SourceFeed<'a> {
    source: &'a dyn ImageSource,
    parent: Option<&'a ParentDisk>,
    inheritance: Option<Inheritance<'a>>,
    board: &'a Board,
    session: &'a BackupSession,
    grid: ChunkGrid,
    cursor: Mutex<Cursor>,
}

#[derive(Debug, Default)]
struct Cursor {
    next: u64,
    /// Up to here the source is known to hold data.
    data_until: u64,
}

/// Chunks that one thread claimed, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Claim {
    first: ChunkIndex,
    chunks: u64,
    kind: ClaimKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ClaimKind {
    /// All of it is data.
    Data,
    /// All of it is as the parent disk holds it.
    Unchanged,
    /// One chunk of several extents.
    Mixed,
}

/// Claimed chunks that are being read.
pub(super) struct OpenClaim<'a> {
    claim: Claim,
    reader: Option<Box<dyn RunReader + 'a>>,
}

impl OpenClaim<'_> {
    /// Whether all were read.
    pub(super) fn is_empty(&self) -> bool {
        self.claim.chunks == 0
    }
}

impl<'a> SourceFeed<'a> {
    pub(super) fn new(
        source: &'a dyn ImageSource,
        parent: Option<&'a ParentDisk>,
        board: &'a Board,
        session: &'a BackupSession,
    ) -> Self {
        let grid = ChunkGrid::new(source.size_bytes());
        let inheritance = parent.map(|parent| Inheritance::new(parent, session));
        Self { source, parent, inheritance, board, session, grid, cursor: Mutex::default() }
    }

    /// Takes the next chunks that are not known to be all zero, at most `most` of them.
    pub(super) fn claim(&self, most: u64) -> Result<Option<Claim>> {
        let mut cursor = lock(&self.cursor);
        while cursor.next < self.grid.chunk_count() {
            let first = ChunkIndex(cursor.next);
            let start = self.grid.chunk_offset(first);
            let end = start + self.grid.chunk_len(first) as u64;
            let (kind, until) = match start < cursor.data_until {
                true => (ExtentKind::Data, cursor.data_until),
                false => {
                    let extent = self.extent_at(start)?;
                    (extent.kind, start.saturating_add(extent.len_bytes))
                }
            };
            if kind == ExtentKind::Zero && until >= end {
                cursor.next = self.skip_zero(start, until);
                continue;
            }
            if kind == ExtentKind::Data {
                cursor.data_until = until;
            }
            let kind = match kind {
                _ if until < end => ClaimKind::Mixed,
                ExtentKind::Data => ClaimKind::Data,
                ExtentKind::Unchanged => ClaimKind::Unchanged,
                ExtentKind::Zero => ClaimKind::Mixed,
            };
            let whole = self.chunks_until(until).saturating_sub(first.0);
            let chunks = if kind == ClaimKind::Mixed { 1 } else { whole.clamp(1, most) };
            cursor.next += chunks;
            (first.0..first.0 + chunks).for_each(|index| self.board.begin(ChunkIndex(index)));
            return Ok(Some(Claim { first, chunks, kind }));
        }
        Ok(None)
    }

    /// Begins to read what was claimed.
    pub(super) fn open(&self, claim: Claim) -> OpenClaim<'_> {
        let start = self.grid.chunk_offset(claim.first);
        let end = self.grid.disk_bytes().min(start + claim.chunks * CHUNK_BYTES as u64);
        let is_run = claim.kind == ClaimKind::Data;
        let reader = is_run.then(|| self.source.open_run(start, end - start)).flatten();
        OpenClaim { claim, reader }
    }

    /// Reads the next chunk of a claim that is not empty.
    pub(super) fn read(&self, open: &mut OpenClaim<'_>, buffer: &mut Vec<u8>) -> Result<Piece> {
        let index = open.claim.first;
        open.claim.first = index.next();
        open.claim.chunks -= 1;
        let len = self.grid.chunk_len(index);
        let piece = |read_bytes, content| Piece { index, len, read_bytes, content };
        if open.claim.kind == ClaimKind::Unchanged
            && let Some(inherited) = self.inherit(index)
        {
            buffer.clear();
            return Ok(piece(0, Content::Inherited(inherited)));
        }
        buffer.resize(len, 0);
        let read_bytes = match &mut open.reader {
            Some(reader) => reader.read_exact(buffer).map(|()| len as u64)?,
            None => self.read_extents(index, buffer)?,
        };
        Ok(piece(read_bytes, Content::Bytes))
    }

    /// What the parent disk holds of a chunk, if it is as long there and, where it is no hole, has
    /// a copy that may be referred to.
    fn inherit(&self, index: ChunkIndex) -> Option<Option<ChunkId>> {
        let parent = self.parent?;
        if parent.chunk_len(index) != self.grid.chunk_len(index) {
            return None;
        }
        self.inheritance.as_ref()?.get(index)
    }

    /// The extent at `offset`. Unchanged is only what the parent disk reaches.
    fn extent_at(&self, offset: u64) -> Result<Extent> {
        let extent = self.source.extent_at(offset)?;
        if extent.len_bytes == 0 {
            return Err(Error::new(ErrorKind::Source, "the image has an extent of no length"));
        }
        if extent.kind != ExtentKind::Unchanged {
            return Ok(extent);
        }
        let inherited = self.parent.map_or(0, ParentDisk::size_bytes).saturating_sub(offset);
        Ok(match inherited {
            0 => Extent { kind: ExtentKind::Data, ..extent },
            reach => Extent { len_bytes: extent.len_bytes.min(reach), ..extent },
        })
    }

    /// Chunks that end at `offset` or before; the short last one of the disk counts as whole.
    fn chunks_until(&self, offset: u64) -> u64 {
        match offset >= self.grid.disk_bytes() {
            true => self.grid.chunk_count(),
            false => offset / CHUNK_BYTES as u64,
        }
    }

    /// Passes over the chunks that lie wholly in a zero extent; returns the one after them.
    fn skip_zero(&self, start: u64, extent_end: u64) -> u64 {
        let next = self.chunks_until(extent_end);
        let zero_end = (next * CHUNK_BYTES as u64).min(self.grid.disk_bytes());
        self.board.skip_zero(zero_end - start);
        self.session.monitor().advance(zero_end - start);
        next
    }

    /// Reads the parts of a chunk that hold data, zeroes others, and completes it from the parent
    /// disk. Says how many bytes were read from the source.
    fn read_extents(&self, index: ChunkIndex, out: &mut [u8]) -> Result<u64> {
        let start = self.grid.chunk_offset(index);
        let mut inherited = None;
        let mut done = 0;
        let mut read_bytes = 0;
        while done < out.len() {
            let at = start + done as u64;
            let extent = self.extent_at(at)?;
            let len = extent.len_bytes.min((out.len() - done) as u64) as usize;
            let part = &mut out[done..done + len];
            let is_known = match extent.kind {
                ExtentKind::Data => false,
                ExtentKind::Zero => {
                    part.fill(0);
                    true
                }
                ExtentKind::Unchanged => {
                    let inherited = inherited.get_or_insert_with(|| self.parent_bytes(index));
                    copy_at(inherited.as_deref(), done, part)
                }
            };
            if !is_known {
                self.source.read_at(at, part)?;
                read_bytes += len as u64;
            }
            done += len;
        }
        Ok(read_bytes)
    }

    /// The verified bytes of the chunk on the parent disk; nothing where they cannot be had.
    fn parent_bytes(&self, index: ChunkIndex) -> Option<Vec<u8>> {
        let parent = self.parent?;
        match parent.leaf(index).ok()? {
            None => Some(vec![0; parent.chunk_len(index)]),
            Some(chunk) => {
                let bytes = parent.chunk(chunk).ok()?.into_buffer();
                (bytes.len() == parent.chunk_len(index)).then_some(bytes)
            }
        }
    }
}

impl Feed for SourceFeed<'_> {
    fn next(&self, buffer: &mut Vec<u8>) -> Result<Option<Piece>> {
        match self.claim(1)? {
            Some(claim) => self.read(&mut self.open(claim), buffer).map(Some),
            None => Ok(None),
        }
    }
}

/// Copies what `bytes` has from `start` on over `out`; false if it has not that much.
fn copy_at(bytes: Option<&[u8]>, start: usize, out: &mut [u8]) -> bool {
    let Some(part) = bytes.and_then(|bytes| bytes.get(start..start + out.len())) else {
        return false;
    };
    out.copy_from_slice(part);
    true
}
