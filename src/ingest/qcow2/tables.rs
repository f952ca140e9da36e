//! From an offset on the disk to a place in the image file: L1 and L2 tables, read in pieces.
//!
//! A table is as large as its image says, up to 32 MiB; a piece is 4 KiB at most. So what is kept
//! in memory does not depend on the image.

use std::sync::{Arc, Mutex};

use crate::base::sync::lock;
use crate::error::Result;
use crate::ingest::file::ImageFile;
use crate::ingest::qcow2::entry::{EntryForm, Place, Run};
use crate::ingest::qcow2::header::Header;

/// Length of a piece, in bytes, where a cluster is not smaller. With clusters of 64 KiB it
/// describes 32 MiB of the disk.
const PIECE_BYTES_MAX: u64 = 4 << 10;
/// Pieces that are kept: 256 KiB for each file of a chain.
const SLOTS: usize = 64;

/// The tables of one image.
#[derive(Debug)]
pub(super) struct Tables {
    form: EntryForm,
    l1_offset: u64,
    pieces: Pieces,
}

impl Tables {
    /// Checks that the L1 table lies in the file; L2 tables are checked when they are used.
    pub(super) fn new(file: &ImageFile, header: &Header) -> Result<Self> {
        let end = header.l1_offset.saturating_add(header.l1_entries * 8);
        if end > file.len_bytes() {
            return Err(file.damaged("the L1 table lies beyond the end", header.l1_offset));
        }
        let pieces = Pieces::new(header.form.cluster_bytes().min(PIECE_BYTES_MAX));
        Ok(Self { form: header.form, l1_offset: header.l1_offset, pieces })
    }

    /// The run that begins at `offset` and is at most `limit` bytes long. It ends with a piece of
    /// an L2 table at the latest, so the next one may continue it. The offset lies on the disk, and
    /// the limit is not zero.
    pub(super) fn run(&self, file: &ImageFile, offset: u64, limit: u64) -> Result<Run> {
        let covers = self.form.l2_covers_bytes();
        let within = offset % covers;
        let mut run = match self.l2_table(file, offset / covers)? {
            None => Run { len_bytes: covers - within, place: Place::Unallocated },
            Some(table) => self.run_in_table(file, table, within, limit)?,
        };
        run.len_bytes = run.len_bytes.min(limit);
        Ok(run)
    }

    fn l2_table(&self, file: &ImageFile, index: u64) -> Result<Option<u64>> {
        let at = self.l1_offset + index * 8;
        let entry = self.pieces.word(file, at)?;
        let table = self.form.l2_table(entry).map_err(|what| file.damaged(what, at))?;
        match table {
            Some(table) if table + self.form.cluster_bytes() > file.len_bytes() => {
                Err(file.damaged("an entry of the L1 table points beyond the end", at))
            }
            table => Ok(table),
        }
    }

    /// `within` counts from the start of what the table describes.
    fn run_in_table(&self, file: &ImageFile, table: u64, within: u64, limit: u64) -> Result<Run> {
        let entry_bytes = 8 * self.form.words();
        let cluster_bytes = self.form.cluster_bytes();
        let mut at = table + within / cluster_bytes * entry_bytes;
        let piece = self.pieces.get(file, at)?;
        let end = at - at % self.pieces.piece_bytes + self.pieces.piece_bytes;
        let within = within % cluster_bytes;
        let mut run = self.entry_run(file, &piece, at, within)?;
        // A run of subclusters may end within its cluster; the next entry does not continue it.
        while run.len_bytes < limit && (within + run.len_bytes).is_multiple_of(cluster_bytes) {
            at += entry_bytes;
            if at >= end || !run.join(self.entry_run(file, &piece, at, 0)?) {
                break;
            }
        }
        Ok(run)
    }

    fn entry_run(&self, file: &ImageFile, piece: &[u64], at: u64, within: u64) -> Result<Run> {
        let first = self.pieces.index(at);
        let word = |n: usize| {
            piece.get(first + n).copied().ok_or_else(|| file.damaged("a table ends early", at))
        };
        let bitmap = if self.form.words() == 2 { word(1)? } else { 0 };
        self.form.run(word(0)?, bitmap, within).map_err(|what| file.damaged(what, at))
    }
}

/// A cache of table pieces, each in the slot that its offset chooses. Threads that read the same
/// part of a disk share pieces; a slot is locked only to copy a pointer.
#[derive(Debug)]
struct Pieces {
    piece_bytes: u64,
    slots: Vec<Mutex<Option<Piece>>>,
}

#[derive(Debug, Clone)]
struct Piece {
    offset: u64,
    words: Arc<[u64]>,
}

impl Pieces {
    fn new(piece_bytes: u64) -> Self {
        Self { piece_bytes, slots: (0..SLOTS).map(|_| Mutex::new(None)).collect() }
    }

    /// Where in its piece the word at an offset of the file stands.
    fn index(&self, at: u64) -> usize {
        (at % self.piece_bytes / 8) as usize
    }

    /// The word at an offset of the file.
    fn word(&self, file: &ImageFile, at: u64) -> Result<u64> {
        let piece = self.get(file, at)?;
        let word = piece.get(self.index(at)).copied();
        word.ok_or_else(|| file.damaged("a table ends early", at))
    }

    /// The piece that the offset lies in; only that at the end of the file may be short.
    fn get(&self, file: &ImageFile, at: u64) -> Result<Arc<[u64]>> {
        let offset = at - at % self.piece_bytes;
        let slot = &self.slots[(offset / self.piece_bytes % SLOTS as u64) as usize];
        let kept = lock(slot).clone();
        if let Some(piece) = kept.filter(|piece| piece.offset == offset) {
            return Ok(piece.words);
        }
        // Read without the lock: another thread may do the same, which costs less than waiting.
        let words = self.read(file, offset)?;
        let piece = Piece { offset, words: words.clone() };
        *lock(slot) = Some(piece);
        Ok(words)
    }

    fn read(&self, file: &ImageFile, offset: u64) -> Result<Arc<[u64]>> {
        let mut bytes = [0; PIECE_BYTES_MAX as usize];
        let len = file.len_bytes().saturating_sub(offset).min(self.piece_bytes);
        let bytes = &mut bytes[..len as usize];
        file.read_exact_at(offset, bytes)?;
        let (words, _rest) = bytes.as_chunks();
        Ok(words.iter().copied().map(u64::from_be_bytes).collect())
    }
}
