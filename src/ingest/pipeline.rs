//! The data path: workers that each take a chunk from the source all the way into a pack.
//!
//! Running a chunk to completion on one thread keeps it in that core's cache and needs no queues
//! between stages; memory is one chunk and one entry per worker (`docs/performance.md`).

use rayon::ThreadPool;

use crate::base::cancel::Cancel;
use crate::base::id::ChunkId;
use crate::base::limits::CHUNK_BYTES;
use crate::base::units::ChunkGrid;
use crate::chunk::{ChunkEncoder, CompressionLevel, is_zero};
use crate::error::{Error, ErrorKind, Result};
use crate::ingest::board::{Board, DiskCounts, Outcome};
use crate::ingest::feed::{Content, Feed, ring};
use crate::ingest::parent::ParentDisk;
use crate::ingest::source::{ImageSource, ImageStream};
use crate::ingest::source_feed::SourceFeed;
use crate::repo::{BackupSession, Stored};

/// What the data path of a run shares.
pub(super) struct Pipeline<'a> {
    pub(super) session: &'a BackupSession,
    pub(super) pool: &'a ThreadPool,
    pub(super) level: CompressionLevel,
    pub(super) cancel: &'a Cancel,
}

/// A disk that is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct StoredDisk {
    pub(super) size_bytes: u64,
    pub(super) map_root: ChunkId,
    pub(super) counts: DiskCounts,
}

impl Pipeline<'_> {
    /// Stores an image of random access, which may inherit from `parent`.
    pub(super) fn store_image(
        &self,
        source: &dyn ImageSource,
        parent: Option<&ParentDisk>,
    ) -> Result<StoredDisk> {
        let board = Board::default();
        let feed = SourceFeed::new(source, parent, &board, self.session);
        match source.readers() {
            0 => drop(self.pool.broadcast(|_| self.work(&feed, &board))),
            readers => self.work_behind(readers, &feed, &board),
        }
        if !board.has_failed()
            && let Err(error) = source.finish()
        {
            board.fail(error);
        }
        let size_bytes = source.size_bytes();
        let (map_root, counts) = board.finish(ChunkGrid::new(size_bytes), self.session)?;
        Ok(StoredDisk { size_bytes, map_root, counts })
    }

    /// Works on what threads of their own read.
    fn work_behind(&self, readers: usize, feed: &SourceFeed<'_>, board: &Board) {
        let (ring, reader) = ring(2 * (readers + self.pool.current_num_threads()));
        std::thread::scope(|scope| {
            for _ in 0..readers {
                let reader = reader.clone();
                scope.spawn(|| {
                    if let Err(error) = reader.read_source(feed, board, self.cancel) {
                        self.fail(board, error);
                    }
                });
            }
            drop(reader);
            self.pool.broadcast(|_| self.work(&ring, board));
            // Lets the readers end when the workers ended before them.
            drop(ring);
        });
    }

    /// Stores an image that arrives as a stream.
    pub(super) fn store_stream(&self, stream: &mut dyn ImageStream) -> Result<StoredDisk> {
        let board = Board::default();
        let (feed, reader) = ring(4 * self.pool.current_num_threads() + 4);
        let size = std::thread::scope(|scope| {
            let reading = scope.spawn(|| reader.read_stream(stream, &board, self.cancel));
            self.pool.broadcast(|_| self.work(&feed, &board));
            // Lets the reader end when the workers ended before it.
            drop(feed);
            reading.join()
        });
        let size_bytes = match size {
            Ok(Ok(size_bytes)) => size_bytes,
            Ok(Err(error)) => {
                board.fail(error);
                0
            }
            Err(_) => {
                board.fail(Error::new(ErrorKind::Io, "the thread that reads the stream failed"));
                0
            }
        };
        let (map_root, counts) = board.finish(ChunkGrid::new(size_bytes), self.session)?;
        Ok(StoredDisk { size_bytes, map_root, counts })
    }

    fn work(&self, feed: &dyn Feed, board: &Board) {
        if let Err(error) = self.store_chunks(feed, board) {
            self.fail(board, error);
        }
    }

    fn fail(&self, board: &Board, error: Error) {
        board.fail(error);
        // Others may wait for a source which says nothing.
        self.cancel.request();
    }

    fn store_chunks(&self, feed: &dyn Feed, board: &Board) -> Result<()> {
        let mut encoder = ChunkEncoder::new(self.level, self.session.repo().sealing())?;
        let mut plain = Vec::with_capacity(CHUNK_BYTES);
        while !board.has_failed() {
            if self.cancel.is_requested() {
                return Err(Error::new(ErrorKind::Cancelled, "the backup was interrupted"));
            }
            let Some(piece) = feed.next(&mut plain)? else {
                break;
            };
            let outcome = match piece.content {
                Content::Bytes => self.store_chunk(&mut encoder, &plain)?,
                Content::Inherited(Some(chunk)) => Outcome::Duplicate(chunk),
                Content::Inherited(None) => Outcome::Zero,
            };
            let len = piece.len as u64;
            board.complete(piece.index, len, piece.read_bytes, outcome, self.session)?;
            self.session.monitor().advance(len);
        }
        Ok(())
    }

    fn store_chunk(&self, encoder: &mut ChunkEncoder, plain: &[u8]) -> Result<Outcome> {
        if is_zero(plain) {
            return Ok(Outcome::Zero);
        }
        let (chunk, stored) = self.session.put_chunk(encoder, plain)?;
        Ok(match stored {
            Stored::New => Outcome::New(chunk),
            Stored::Duplicate => Outcome::Duplicate(chunk),
        })
    }
}
