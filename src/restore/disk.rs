//! Restores one disk: reads, decodes and verifies its chunks in parallel, and writes them.

use std::time::Instant;

use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::base::cancel::Cancel;
use crate::base::id::ChunkId;
use crate::base::limits::CHUNK_BYTES;
use crate::base::units::ChunkIndex;
use crate::base::verified::VerifiedChunk;
use crate::error::{Error, ErrorKind, Result};
use crate::format::commit::DiskRecord;
use crate::monitor::Monitor;
use crate::repo::{ChunkReader, Repository};
use crate::restore::ledger::{Ledger, OnPanic};
use crate::restore::sink::ImageSink;
use crate::restore::target::Target;
use crate::restore::work::{Piece, Work};

/// How to restore.
#[derive(Debug, Clone)]
pub struct RestoreOptions {
    /// Threads that read, verify and write. At least 1; memory is two chunks for each.
    pub threads: usize,
    /// Overwrite a file that exists, or a block device.
    pub force: bool,
    /// Ends the run early.
    pub cancel: Cancel,
}

/// What a restore did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestoreReport {
    /// Bytes in chunks that were read, verified and written.
    pub data_bytes: u64,
    /// Bytes in chunks that are all zero: left as holes, zeroed or written, as the target has it.
    pub zero_bytes: u64,
    /// Duration, in milliseconds.
    pub duration_ms: u64,
    /// The root of the disk map, recomputed from what was verified and written. It is that of the
    /// restore point; otherwise the restore fails.
    pub map_root: ChunkId,
}

impl RestoreReport {
    /// Length of the disk, in bytes.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.data_bytes + self.zero_bytes
    }
}

/// Restores a disk of a restore point to `target`, which holds all of it and durably so when this
/// returns.
///
/// # Errors
///
/// [`ErrorKind::Corrupt`] on the first chunk that cannot be verified, with its place on the disk.
/// The target is not opened before the root of the disk map was read.
pub fn restore_disk(
    repo: &Repository,
    disk: &DiskRecord,
    target: Target,
    options: &RestoreOptions,
) -> Result<RestoreReport> {
    let began = Instant::now();
    let pool = start_threads(options.threads)?;
    let _read_once = repo.store().read_once();
    let reader = repo.reader()?;
    let map = repo.disk_map(&reader, disk);
    map.leaf(ChunkIndex(0)).map_err(|error| unreadable_map(disk, error))?;
    let sink = target.open(disk.size_bytes, options.force)?;
    repo.monitor().phase(&disk.name, Some(disk.size_bytes));
    let leaves = map.leaves(ChunkIndex(0));
    let leaves = leaves.map(|leaf| leaf.map_err(|error| unreadable_map(disk, error)));
    let work = Work::new(map.grid(), leaves);
    let ledger = Ledger::new(map.grid(), work, sink.needs_order(), repo.sealing());
    let run = Run { disk, reader: &reader, sink: &*sink, monitor: repo.monitor(), options };
    pool.broadcast(|_| run.work(&ledger));
    let (map_root, counts) = ledger.finish()?;
    if map_root != disk.map_root {
        let what = format!("what was written is not disk {:?} of the restore point", disk.name);
        return Err(Error::corrupt(what));
    }
    repo.monitor().phase("finishing", None);
    sink.finish()?;
    Ok(RestoreReport {
        data_bytes: counts.data_bytes,
        zero_bytes: counts.zero_bytes,
        duration_ms: began.elapsed().as_millis() as u64,
        map_root,
    })
}

/// Bytes of a disk in chunks that are not all zero.
pub fn data_bytes(repo: &Repository, disk: &DiskRecord) -> Result<u64> {
    let reader = repo.reader()?;
    let map = repo.disk_map(&reader, disk);
    let mut leaves = map.leaves(ChunkIndex(0));
    leaves.try_fold(0, |bytes, leaf| {
        let (index, _) = leaf.map_err(|error| unreadable_map(disk, error))?;
        Ok(bytes + map.grid().chunk_len(index) as u64)
    })
}

fn start_threads(threads: usize) -> Result<ThreadPool> {
    ThreadPoolBuilder::new()
        .num_threads(threads.max(1))
        .thread_name(|n| format!("restore-{n}"))
        .build()
        .map_err(|error| Error::new(ErrorKind::Io, "cannot start threads").because(error))
}

fn unreadable_map(disk: &DiskRecord, error: Error) -> Error {
    let what = format!("the map of disk {:?} cannot be read", disk.name);
    Error::new(error.kind(), what).because(error)
}

/// What the workers on one disk share.
struct Run<'a> {
    disk: &'a DiskRecord,
    reader: &'a ChunkReader,
    sink: &'a dyn ImageSink,
    monitor: &'a dyn Monitor,
    options: &'a RestoreOptions,
}

impl Run<'_> {
    fn work<W: Iterator<Item = Result<Piece>>>(&self, ledger: &Ledger<W>) {
        let _on_panic = OnPanic(ledger);
        if let Err(error) = self.restore_pieces(ledger) {
            ledger.fail(error);
        }
    }

    fn restore_pieces<W: Iterator<Item = Result<Piece>>>(&self, ledger: &Ledger<W>) -> Result<()> {
        let mut buffer = Vec::with_capacity(CHUNK_BYTES);
        while let Some(piece) = ledger.claim()? {
            if self.options.cancel.is_requested() {
                return Err(Error::new(ErrorKind::Cancelled, "the restore was interrupted"));
            }
            let chunk = match piece.chunk {
                Some(chunk) => Some(self.read(&piece, chunk, std::mem::take(&mut buffer))?),
                None => None,
            };
            if !ledger.await_turn(&piece) {
                break;
            }
            match &chunk {
                Some(chunk) => self.sink.write_at(piece.offset_bytes, chunk.bytes())?,
                None => self.sink.zero(piece.offset_bytes, piece.len_bytes)?,
            }
            ledger.complete(&piece)?;
            self.monitor.advance(piece.len_bytes);
            buffer = chunk.map_or(buffer, VerifiedChunk::into_buffer);
        }
        Ok(())
    }

    fn read(&self, piece: &Piece, chunk: ChunkId, buffer: Vec<u8>) -> Result<VerifiedChunk> {
        let name = &self.disk.name;
        let place = piece.offset_bytes;
        let verified = self.reader.chunk(chunk, buffer).map_err(|error| {
            let what = format!("the chunk at byte {place} of disk {name:?} cannot be read");
            Error::new(error.kind(), what).chunk(chunk).because(error)
        })?;
        if verified.bytes().len() as u64 != piece.len_bytes {
            let what = format!("the chunk at byte {place} of disk {name:?} has the wrong length");
            return Err(Error::corrupt(what).chunk(chunk));
        }
        Ok(verified)
    }
}
