//! Hands out the chunks of a disk, one at a time, with their bytes.

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::base::cancel::Cancel;
use crate::base::id::ChunkId;
use crate::base::limits::{CHUNK_BYTES, DISK_BYTES_MAX};
use crate::base::units::ChunkIndex;
use crate::error::{Error, ErrorKind, Result};
use crate::ingest::board::Board;
use crate::ingest::source::ImageStream;
use crate::ingest::source_feed::SourceFeed;

/// Chunks that a thread which only reads takes at once: long enough that the requests between
/// them do not matter, and short enough that all threads end at about the same time.
const RUN_CHUNKS: u64 = 16;

/// A chunk that was handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    /// Which chunk.
    pub(super) index: ChunkIndex,
    /// Its length, in bytes.
    pub(super) len: usize,
    /// Bytes that were read from the source for it; the rest of the chunk is known.
    pub(super) read_bytes: u64,
    /// What it holds.
    pub(super) content: Content,
}

/// What a chunk that was handed out holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// The bytes in the buffer.
    Bytes,
    /// What the parent disk holds there, of which the repository has a copy to refer to: a chunk,
    /// or a hole.
    Inherited(Option<ChunkId>),
}

/// Hands out chunks to several workers.
pub(super) trait Feed: Sync {
    /// The next chunk; its bytes are then in `buffer`. None at the end of the disk.
    fn next(&self, buffer: &mut Vec<u8>) -> Result<Option<Piece>>;
}

/// Chunks that threads of their own read ahead, into buffers that go round.
pub(super) struct Ring {
    filled: Receiver<(Piece, Vec<u8>)>,
    empty: Sender<Vec<u8>>,
}

/// A reading end of a [`Ring`].
#[derive(Clone)]
pub(super) struct RingReader {
    filled: Sender<(Piece, Vec<u8>)>,
    empty: Receiver<Vec<u8>>,
}

/// A ring and its reading end, with that many buffers of a chunk each.
pub(super) fn ring(buffers: usize) -> (Ring, RingReader) {
    let (filled_in, filled) = bounded(buffers);
    let (empty, empty_out) = bounded(buffers);
    for _ in 0..buffers {
        // The channel has room for all of them and its other end is in hand.
        if empty.send(Vec::new()).is_err() {
            unreachable!("the receiver of empty buffers is alive");
        }
    }
    (Ring { filled, empty }, RingReader { filled: filled_in, empty: empty_out })
}

impl RingReader {
    /// Reads chunks of an image to its end, beside other threads that do the same.
    pub(super) fn read_source(
        self,
        feed: &SourceFeed<'_>,
        board: &Board,
        cancel: &Cancel,
    ) -> Result<()> {
        while let Some(run) = feed.claim(RUN_CHUNKS)? {
            let mut run = feed.open(run);
            while !run.is_empty() {
                // The workers end before the image does when one of them fails.
                let Ok(mut buffer) = self.empty.recv() else { return Ok(()) };
                if board.has_failed() {
                    return Ok(());
                }
                if cancel.is_requested() {
                    return Err(Error::new(ErrorKind::Cancelled, "the backup was interrupted"));
                }
                let piece = feed.read(&mut run, &mut buffer)?;
                if self.filled.send((piece, buffer)).is_err() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Reads a stream to its end; returns its length in bytes.
    pub(super) fn read_stream(
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
            let piece = Piece { index, len, read_bytes: len as u64, content: Content::Bytes };
            if self.filled.send((piece, buffer)).is_err() || len < CHUNK_BYTES {
                break;
            }
            index = index.next();
        }
        Ok(size_bytes)
    }
}

impl Feed for Ring {
    fn next(&self, buffer: &mut Vec<u8>) -> Result<Option<Piece>> {
        let Ok((piece, filled)) = self.filled.recv() else {
            return Ok(None);
        };
        let used = std::mem::replace(buffer, filled);
        // At the end of the image nobody takes empty buffers any more.
        let _reader_is_gone = self.empty.send(used).is_err();
        Ok(Some(piece))
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
        let (_feed, reader) = ring(1);
        let cancel = Cancel::default();
        cancel.request();
        let error = reader.read_stream(&mut Endless, &Board::default(), &cancel).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Cancelled);
    }
}
