//! Hands out the chunks of a disk, one at a time, with their bytes.

use std::sync::Mutex;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::base::cancel::Cancel;
use crate::base::limits::{CHUNK_BYTES, DISK_BYTES_MAX};
use crate::base::sync::lock;
use crate::base::units::{ChunkGrid, ChunkIndex};
use crate::error::{Error, ErrorKind, Result};
use crate::ingest::board::Board;
use crate::ingest::source::{ExtentKind, ImageSource, ImageStream};
use crate::monitor::Monitor;

/// A chunk that was handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    /// Which chunk.
    pub(super) index: ChunkIndex,
    /// Bytes that were read from the source for it; the rest of the chunk is known to be zero.
    pub(super) read_bytes: u64,
}

/// Hands out chunks to several workers.
pub(super) trait Feed: Sync {
    /// The next chunk, in order; its bytes are then in `buffer`. None at the end of the disk.
    fn next(&self, buffer: &mut Vec<u8>) -> Result<Option<Piece>>;
}

/// Chunks of an image of random access. Each worker reads its own.
pub(super) struct SourceFeed<'a> {
    source: &'a dyn ImageSource,
    board: &'a Board,
    monitor: &'a dyn Monitor,
    grid: ChunkGrid,
    cursor: Mutex<Cursor>,
}

#[derive(Debug, Default)]
struct Cursor {
    next: u64,
    /// Up to here the source is known to hold data.
    data_until: u64,
}

impl<'a> SourceFeed<'a> {
    pub(super) fn new(
        source: &'a dyn ImageSource,
        board: &'a Board,
        monitor: &'a dyn Monitor,
    ) -> Self {
        let grid = ChunkGrid::new(source.size_bytes());
        Self { source, board, monitor, grid, cursor: Mutex::default() }
    }

    /// Takes the next chunk that is not known to be all zero.
    fn claim(&self) -> Result<Option<ChunkIndex>> {
        let mut cursor = lock(&self.cursor);
        while cursor.next < self.grid.chunk_count() {
            let index = ChunkIndex(cursor.next);
            let start = self.grid.chunk_offset(index);
            let end = start + self.grid.chunk_len(index) as u64;
            if start >= cursor.data_until {
                let extent = self.source.extent_at(start)?;
                let extent_end = start.saturating_add(extent.len_bytes);
                if extent.kind == ExtentKind::Zero && extent_end >= end {
                    cursor.next = self.skip_zero(start, extent_end);
                    continue;
                }
                if extent.kind == ExtentKind::Data {
                    cursor.data_until = extent_end;
                }
            }
            cursor.next += 1;
            self.board.begin(index);
            return Ok(Some(index));
        }
        Ok(None)
    }

    /// Passes over the chunks that lie wholly in a zero extent; returns the one after them.
    fn skip_zero(&self, start: u64, extent_end: u64) -> u64 {
        let next = match extent_end >= self.grid.disk_bytes() {
            true => self.grid.chunk_count(),
            false => extent_end / CHUNK_BYTES as u64,
        };
        let zero_end = (next * CHUNK_BYTES as u64).min(self.grid.disk_bytes());
        self.board.skip_zero(zero_end - start);
        self.monitor.advance(zero_end - start);
        next
    }

    /// Reads the parts of a chunk that hold data, and zeroes the others.
    fn read(&self, index: ChunkIndex, out: &mut [u8]) -> Result<u64> {
        let start = self.grid.chunk_offset(index);
        let mut done = 0;
        let mut read_bytes = 0;
        while done < out.len() {
            let at = start + done as u64;
            let extent = self.source.extent_at(at)?;
            let len = extent.len_bytes.min((out.len() - done) as u64) as usize;
            if len == 0 {
                return Err(Error::new(ErrorKind::Source, "the image has an extent of no length"));
            }
            let part = &mut out[done..done + len];
            match extent.kind {
                ExtentKind::Zero => part.fill(0),
                ExtentKind::Data => {
                    self.source.read_at(at, part)?;
                    read_bytes += len as u64;
                }
            }
            done += len;
        }
        Ok(read_bytes)
    }
}

impl Feed for SourceFeed<'_> {
    fn next(&self, buffer: &mut Vec<u8>) -> Result<Option<Piece>> {
        let Some(index) = self.claim()? else {
            return Ok(None);
        };
        buffer.resize(self.grid.chunk_len(index), 0);
        let read_bytes = self.read(index, buffer)?;
        Ok(Some(Piece { index, read_bytes }))
    }
}

/// Chunks of a stream. One thread reads ahead into buffers that go round.
pub(super) struct StreamFeed {
    filled: Receiver<(ChunkIndex, Vec<u8>)>,
    empty: Sender<Vec<u8>>,
}

/// The reading end of a [`StreamFeed`].
pub(super) struct StreamReader {
    filled: Sender<(ChunkIndex, Vec<u8>)>,
    empty: Receiver<Vec<u8>>,
}

/// A feed and its reading end, with that many buffers of a chunk each.
pub(super) fn stream_feed(buffers: usize) -> (StreamFeed, StreamReader) {
    let (filled_in, filled) = bounded(buffers);
    let (empty, empty_out) = bounded(buffers);
    for _ in 0..buffers {
        // The channel has room for all of them and its other end is in hand.
        if empty.send(Vec::new()).is_err() {
            unreachable!("the receiver of empty buffers is alive");
        }
    }
    (StreamFeed { filled, empty }, StreamReader { filled: filled_in, empty: empty_out })
}

impl StreamReader {
    /// Reads the stream to its end; returns its length in bytes.
    pub(super) fn run(
        self,
        stream: &mut dyn ImageStream,
        board: &Board,
        cancel: &Cancel,
    ) -> Result<u64> {
        let mut index = ChunkIndex(0);
        let mut size_bytes = 0;
        // The workers end before the stream does when one of them fails.
        while let Ok(mut buffer) = self.empty.recv() {
            if board.has_failed() {
                break;
            }
            if cancel.is_requested() {
                // A quiet end would pass for the end of the disk if the workers are all waiting.
                return Err(Error::new(ErrorKind::Cancelled, "the backup was interrupted"));
            }
            buffer.resize(CHUNK_BYTES, 0);
            let len = stream.read(&mut buffer)?;
            buffer.truncate(len);
            size_bytes += len as u64;
            if size_bytes > DISK_BYTES_MAX {
                return Err(Error::new(ErrorKind::Invalid, "the image is larger than 64 TiB"));
            }
            if len == 0 {
                break;
            }
            board.begin(index);
            if self.filled.send((index, buffer)).is_err() || len < CHUNK_BYTES {
                break;
            }
            index = index.next();
        }
        Ok(size_bytes)
    }
}

impl Feed for StreamFeed {
    fn next(&self, buffer: &mut Vec<u8>) -> Result<Option<Piece>> {
        let Ok((index, filled)) = self.filled.recv() else {
            return Ok(None);
        };
        let used = std::mem::replace(buffer, filled);
        // At the end of the stream nobody takes empty buffers any more.
        let _reader_is_gone = self.empty.send(used).is_err();
        Ok(Some(Piece { index, read_bytes: buffer.len() as u64 }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Endless;

    impl ImageStream for Endless {
        fn read(&mut self, out: &mut [u8]) -> Result<usize> {
            Ok(out.len())
        }
    }

    #[test]
    fn an_interrupted_stream_fails_even_if_all_workers_wait_for_it() {
        let (_feed, reader) = stream_feed(1);
        let cancel = Cancel::default();
        cancel.request();
        let error = reader.run(&mut Endless, &Board::default(), &cancel).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Cancelled);
    }
}
