//! The overlay of one disk: what was written over a restore point.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

use crate::base::sync::lock;
use crate::base::units::{ChunkGrid, ChunkIndex, ChunkRange};
use crate::error::{Error, ErrorKind, Result};
use crate::vfs::overlay::blocks::{BLOCK_BYTES, BlockState, ChunkBlocks, whole_blocks};
use crate::vfs::overlay::files::{Below, Files};
use crate::vfs::overlay::space::SpaceLimit;

/// Writers of chunks of the same number, modulo this, take turns.
const STRIPES: usize = 64;

/// Reads the bytes of a range as they lie below the overlay.
pub(in crate::vfs) type ReadBelow<'a> = &'a dyn Fn(ChunkRange) -> Result<Vec<u8>>;

/// What was written over one disk. Shared by all who have it open.
///
/// Bytes are in the file before a state says so, so a reader that looks the state up first never
/// reads bytes that are not there. Writers of one chunk take turns; readers wait for nobody.
pub(in crate::vfs) struct OverlayDisk {
    below: Below,
    grid: ChunkGrid,
    dir: PathBuf,
    is_kept: bool,
    space: Arc<SpaceLimit>,
    files: OnceLock<Files>,
    opening: Mutex<()>,
    chunks: RwLock<BTreeMap<u64, ChunkBlocks>>,
    stripes: [Mutex<()>; STRIPES],
    unsaved: Mutex<BTreeSet<u64>>,
    saving: Mutex<Saving>,
}

#[derive(Default)]
struct Saving {
    /// After a failed sync the kernel may have dropped what was written and say that all is well.
    has_failed: bool,
}

impl OverlayDisk {
    /// The overlay of a disk in `dir`, with what is kept there.
    pub(super) fn open(
        below: Below,
        dir: PathBuf,
        is_kept: bool,
        space: Arc<SpaceLimit>,
    ) -> Result<Self> {
        let mut chunks = BTreeMap::new();
        let files = OnceLock::new();
        if is_kept && Files::exist(&dir, &below)? {
            let kept = Files::kept(&dir, &below)?;
            kept.load(|chunk, blocks| {
                chunks.insert(chunk, blocks);
            })?;
            files.get_or_init(|| kept);
        }
        let disk = Self {
            grid: ChunkGrid::new(below.size_bytes),
            below,
            dir,
            is_kept,
            space,
            files,
            opening: Mutex::default(),
            chunks: RwLock::new(chunks),
            stripes: std::array::from_fn(|_| Mutex::default()),
            unsaved: Mutex::default(),
            saving: Mutex::default(),
        };
        disk.space.count(disk.written_blocks());
        Ok(disk)
    }

    /// What the overlay says about a chunk; none if nothing.
    pub(in crate::vfs) fn blocks(&self, index: ChunkIndex) -> Option<ChunkBlocks> {
        self.chunks.read().unwrap_or_else(PoisonError::into_inner).get(&index.0).copied()
    }

    /// The chunks from `from` on about which the overlay says something.
    pub(in crate::vfs) fn next(&self, from: ChunkIndex) -> Option<(ChunkIndex, ChunkBlocks)> {
        let chunks = self.chunks.read().unwrap_or_else(PoisonError::into_inner);
        chunks.range(from.0..).next().map(|(index, blocks)| (ChunkIndex(*index), *blocks))
    }

    /// Bytes that were written.
    pub(in crate::vfs) fn read(&self, offset_bytes: u64, out: &mut [u8]) -> Result<()> {
        match self.files.get() {
            Some(files) => files.read(offset_bytes, out),
            None => Err(Error::new(ErrorKind::Io, "the overlay has no file yet")),
        }
    }

    /// Writes a range of one chunk. Blocks that it covers in part are completed from what they
    /// read as now.
    pub(in crate::vfs) fn write(
        &self,
        range: ChunkRange,
        bytes: &[u8],
        below: ReadBelow<'_>,
    ) -> Result<()> {
        let _turn = lock(&self.stripes[range.index.0 as usize % STRIPES]);
        let files = self.files()?;
        let blocks = self.blocks(range.index).unwrap_or_default();
        let touched = range.start / BLOCK_BYTES..(range.start + range.len).div_ceil(BLOCK_BYTES);
        let fresh = touched.len() as u64 - blocks.count(touched.clone(), BlockState::Written);
        self.space.take(fresh)?;
        let written = self
            .write_blocks(files, range, bytes, &blocks, below)
            .inspect_err(|_| self.space.give_back(fresh));
        written.map(|()| self.mark(range.index, touched, BlockState::Written))
    }

    /// Makes a range of one chunk read as zero, and gives the space of whole blocks back.
    pub(in crate::vfs) fn zero(&self, range: ChunkRange, below: ReadBelow<'_>) -> Result<()> {
        let chunk_len = self.grid.chunk_len(range.index);
        let bytes = range.start..range.start + range.len;
        let whole = whole_blocks(bytes.clone(), chunk_len);
        let start = whole.start * BLOCK_BYTES;
        let end = (whole.end * BLOCK_BYTES).min(chunk_len);
        if whole.is_empty() {
            return self.write(range, &vec![0; range.len], below);
        }
        for part in [bytes.start..start, end..bytes.end] {
            if !part.is_empty() {
                let part = ChunkRange { start: part.start, len: part.len(), ..range };
                self.write(part, &vec![0; part.len], below)?;
            }
        }
        let _turn = lock(&self.stripes[range.index.0 as usize % STRIPES]);
        let files = self.files()?;
        let blocks = self.blocks(range.index).unwrap_or_default();
        let freed = blocks.count(whole.clone(), BlockState::Written);
        self.mark(range.index, whole, BlockState::Zero);
        if freed > 0 {
            let offset = self.grid.chunk_offset(range.index) + start as u64;
            files.discard(offset, (end - start) as u64);
            self.space.give_back(freed);
        }
        Ok(())
    }

    /// Makes all that was written before durable, where the view is kept.
    pub(in crate::vfs) fn flush(&self) -> Result<()> {
        let Some(files) = self.files.get().filter(|files| files.is_kept()) else { return Ok(()) };
        let mut saving = lock(&self.saving);
        if saving.has_failed {
            let what = "the overlay could not be made durable before";
            return Err(Error::new(ErrorKind::Io, what).at(&self.dir));
        }
        let unsaved = std::mem::take(&mut *lock(&self.unsaved));
        let of = |index| (index, self.blocks(ChunkIndex(index)).unwrap_or_default());
        let chunks: Vec<_> = unsaved.into_iter().map(of).collect();
        if chunks.is_empty() {
            return Ok(());
        }
        files.save(&chunks).inspect_err(|_| saving.has_failed = true)
    }

    fn written_blocks(&self) -> u64 {
        let chunks = self.chunks.read().unwrap_or_else(PoisonError::into_inner);
        let of = |(index, blocks): (&u64, &ChunkBlocks)| {
            let count = self.grid.chunk_len(ChunkIndex(*index)).div_ceil(BLOCK_BYTES);
            blocks.count(0..count, BlockState::Written)
        };
        chunks.iter().map(of).sum()
    }

    fn files(&self) -> Result<&Files> {
        if let Some(files) = self.files.get() {
            return Ok(files);
        }
        let _opening = lock(&self.opening);
        if let Some(files) = self.files.get() {
            return Ok(files);
        }
        let files = match self.is_kept {
            true => Files::kept(&self.dir, &self.below)?,
            false => Files::nameless(&self.dir)?,
        };
        Ok(self.files.get_or_init(|| files))
    }

    fn write_blocks(
        &self,
        files: &Files,
        range: ChunkRange,
        bytes: &[u8],
        blocks: &ChunkBlocks,
        below: ReadBelow<'_>,
    ) -> Result<()> {
        let base = self.grid.chunk_offset(range.index);
        let end = range.start + range.len;
        let chunk_len = self.grid.chunk_len(range.index);
        // At most the first and the last block are covered in part; they may be the same.
        for block in [range.start / BLOCK_BYTES, (end - 1) / BLOCK_BYTES] {
            let place = block * BLOCK_BYTES..((block + 1) * BLOCK_BYTES).min(chunk_len);
            let is_whole = range.start <= place.start && place.end <= end;
            match blocks.get(block) {
                _ if is_whole => {}
                BlockState::Written => {}
                BlockState::Zero => {
                    files.write(base + place.start as u64, &vec![0; place.len()])?;
                }
                BlockState::Below => {
                    let place = ChunkRange { start: place.start, len: place.len(), ..range };
                    files.write(base + place.start as u64, &below(place)?)?;
                }
            }
        }
        files.write(base + range.start as u64, bytes)
    }

    fn mark(&self, index: ChunkIndex, blocks: Range<usize>, state: BlockState) {
        let mut chunks = self.chunks.write().unwrap_or_else(PoisonError::into_inner);
        chunks.entry(index.0).or_default().set(blocks, state);
        drop(chunks);
        lock(&self.unsaved).insert(index.0);
    }
}
