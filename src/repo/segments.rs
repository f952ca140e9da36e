//! The index side of a session: what its packs hold becomes segments, in bounded memory.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use crate::base::id::{ChunkId, PackId};
use crate::base::limits::PENDING_ENTRIES_MAX;
use crate::base::pack_set::PackSet;
use crate::base::sync::lock;
use crate::error::{Error, Result};
use crate::format::lists::DamagedCopy;
use crate::format::location::Location;
use crate::format::pack::TableRow;
use crate::index::builder::publish_segment;
use crate::index::lookup::Index;
use crate::index::merge::{merge, merge_due};
use crate::pack::PackSink;
use crate::repo::Repository;
use crate::repo::claims::Claims;
use crate::repo::room::check_room;

/// Copies that nobody may newly refer to.
#[derive(Debug, Default)]
pub(super) struct Unusable {
    /// Packs that a prune condemned, and packs that are missing.
    pub(super) packs: PackSet,
    /// Copies that a scrub found damaged.
    pub(super) copies: HashSet<DamagedCopy>,
}

impl Unusable {
    /// Whether every copy may be referred to: then it does not matter in which pack one lies.
    fn is_empty(&self) -> bool {
        self.packs.is_empty() && self.copies.is_empty()
    }
}

/// The index as a session sees it, with what the session adds.
pub(super) struct SessionIndex {
    repo: Repository,
    unusable: Unusable,
    index: RwLock<Arc<Index>>,
    claims: Claims,
    pending: Mutex<Vec<(ChunkId, Location)>>,
    /// Held while a segment is published: of two reloads at once the older could win.
    flushing: Mutex<()>,
    has_reported: AtomicBool,
    packs: Mutex<Vec<PackId>>,
}

impl SessionIndex {
    /// Loads the index. `unusable` must have been read before.
    pub(super) fn load(repo: &Repository, unusable: Unusable) -> Result<Self> {
        let index = Index::load(&**repo.store(), repo.sealing(), repo.monitor())?;
        Ok(Self {
            repo: repo.clone(),
            unusable,
            index: RwLock::new(Arc::new(index)),
            claims: Claims::default(),
            pending: Mutex::default(),
            flushing: Mutex::default(),
            has_reported: AtomicBool::new(false),
            packs: Mutex::default(),
        })
    }

    /// Whether the caller must store the chunk: nobody else has or does.
    pub(super) fn must_store(&self, chunk: ChunkId) -> Result<bool> {
        // The claim comes first: between a look at the index and a claim, a segment may be
        // published and its claims released, and the chunk would be stored twice.
        if !self.claims.claim(chunk) {
            return Ok(false);
        }
        let is_stored = self.has_usable_copy(chunk);
        if is_stored {
            self.claims.release(chunk);
        }
        Ok(!is_stored)
    }

    /// Whether the index shows a copy that may be referred to. A damaged page may hide one; to
    /// store the chunk again is always right.
    fn has_usable_copy(&self, chunk: ChunkId) -> bool {
        let usable = |location: &Location| self.is_usable(location, chunk).then_some(());
        let found = match self.unusable.is_empty() {
            true => self.index().contains(chunk),
            false => self.index().find_copy(chunk, usable).map(|found| found.is_some()),
        };
        found.inspect_err(|problem| self.report_once(problem)).unwrap_or(false)
    }

    /// The same of many chunks, best sorted, at once: whether each has such a copy.
    pub(super) fn have_usable_copies(&self, chunks: &[ChunkId]) -> Vec<bool> {
        let mut are_there = vec![false; chunks.len()];
        let index = self.index();
        let asked = match self.unusable.is_empty() {
            true => index.contains_each(chunks, |position| are_there[position] = true),
            false => index.find_copies(chunks, |position, location| {
                are_there[position] = self.is_usable(location, chunks[position]);
                are_there[position]
            }),
        };
        if let Err(problem) = asked {
            self.report_once(&problem);
        }
        are_there
    }

    /// One damaged page is met by many chunks.
    fn report_once(&self, problem: &Error) {
        if !self.has_reported.swap(true, Ordering::Relaxed) {
            self.repo.monitor().problem(problem);
        }
    }

    fn is_usable(&self, location: &Location, chunk: ChunkId) -> bool {
        !self.unusable.packs.contains(&location.pack)
            && !self.unusable.copies.contains(&DamagedCopy { pack: location.pack, chunk })
    }

    /// Publishes what is pending as a segment.
    pub(super) fn flush(&self) -> Result<()> {
        let _one_at_a_time = lock(&self.flushing);
        let entries = std::mem::take(&mut *lock(&self.pending));
        let chunks: Vec<_> = entries.iter().map(|(chunk, _)| *chunk).collect();
        if publish_segment(&**self.repo.store(), self.repo.sealing(), entries)?.is_some() {
            let index = self.index().reload(&**self.repo.store(), self.repo.monitor())?;
            *self.index.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(index);
            chunks.into_iter().for_each(|chunk| self.claims.release(chunk));
        }
        Ok(())
    }

    /// The packs that this session published.
    pub(super) fn own_packs(&self) -> Vec<PackId> {
        lock(&self.packs).clone()
    }

    /// Merges segments where there are many, leaving those alone that refer to condemned packs.
    /// Must be called before the session is decided: decision 5 in `docs/decisions` says why. A
    /// merge that fails leaves everything as it was, and stops no backup.
    pub(super) fn merge_if_many(&self) {
        let repo = &self.repo;
        if let Some(inputs) = merge_due(&self.index(), &self.unusable.packs)
            && let Err(problem) =
                merge(&**repo.store(), repo.sealing(), &inputs, &PackSet::default())
        {
            repo.monitor().problem(&problem);
        }
    }

    fn index(&self) -> Arc<Index> {
        Arc::clone(&self.index.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl PackSink for SessionIndex {
    fn check_room(&self, pack_bytes: u64) -> Result<()> {
        check_room(&**self.repo.store(), pack_bytes)
    }

    fn published(&self, pack: PackId, rows: &[TableRow]) -> Result<()> {
        lock(&self.packs).push(pack);
        let is_full = {
            let mut pending = lock(&self.pending);
            pending.extend(rows.iter().map(|row| {
                let TableRow { chunk, offset, entry_len, plain_len, kind } = *row;
                (chunk, Location { pack, offset, entry_len, plain_len, kind })
            }));
            pending.len() >= PENDING_ENTRIES_MAX
        };
        if is_full { self.flush() } else { Ok(()) }
    }
}
