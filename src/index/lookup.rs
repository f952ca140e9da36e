//! All segments together: where is a chunk?

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use crate::base::id::{ChunkId, PackId, SegmentId};
use crate::crypto::Sealing;
use crate::error::{Error, Result};
use crate::format::location::Location;
use crate::index::load::load;
use crate::index::segment::Segment;
use crate::monitor::Monitor;
use crate::store::Store;

/// The segments of a repository as they were at one moment. Never changes; [`Index::reload`] gives
/// a newer one. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Index {
    sealing: Sealing,
    segments: Vec<Arc<Segment>>,
    damaged: BTreeSet<SegmentId>,
}

impl Index {
    /// Opens all segments, in time that does not depend on the number of entries.
    ///
    /// Whoever will refer to what it finds reads what is condemned before this.
    ///
    /// A segment that cannot be used is told to `monitor` and left out. Fails only where the store
    /// cannot be listed, or with [`crate::error::ErrorKind::Unsupported`] for a segment that a
    /// newer release wrote.
    pub fn load(store: &dyn Store, sealing: &Sealing, monitor: &dyn Monitor) -> Result<Self> {
        let sealing = sealing.clone();
        let nothing = Self { sealing, segments: Vec::new(), damaged: BTreeSet::new() };
        nothing.reload(store, monitor)
    }

    /// Opens the segments of now, and keeps those that it has open already. Tells `monitor` only
    /// of damage that it did not tell of before.
    pub fn reload(&self, store: &dyn Store, monitor: &dyn Monitor) -> Result<Self> {
        let loaded = load(store, &self.sealing, &self.segments)?;
        for (id, error) in &loaded.damaged {
            if !self.damaged.contains(id) {
                monitor.problem(error);
            }
        }
        let damaged = loaded.damaged.into_keys().collect();
        Ok(Self { sealing: self.sealing.clone(), segments: loaded.segments, damaged })
    }

    /// Has the processor fetch from all segments at once what a lookup of `chunk` will look at, if
    /// it is in memory: one after the other, each segment would wait for it anew.
    fn touch(&self, chunk: ChunkId) {
        if self.segments.len() > 1 {
            self.segments.iter().for_each(|segment| segment.search().touch_bucket(chunk));
            self.segments.iter().for_each(|segment| segment.search().touch_guess(chunk));
        }
    }

    /// Every stored copy of `chunk`, each once; nothing if the index has none.
    ///
    /// Fails only where no copy was found and a segment that might have one is damaged.
    pub fn locations(&self, chunk: ChunkId) -> Result<Vec<Location>> {
        self.touch(chunk);
        let mut found = Vec::new();
        let mut failure = None;
        for segment in &self.segments {
            if let Err(error) = segment.find(chunk, &mut found) {
                failure.get_or_insert(error);
            }
        }
        if found.len() > 1 {
            found.sort_unstable_by_key(|copy| (copy.pack, copy.offset));
            found.dedup_by_key(|copy| (copy.pack, copy.offset));
        }
        match failure {
            Some(error) if found.is_empty() => Err(error.chunk(chunk)),
            _ => Ok(found),
        }
    }

    /// Says that `chunks` will be looked up soon: some hundred of them at a time, best sorted. What
    /// is not in memory then comes from the medium at once and not one after the other, and what is
    /// comes to the processor. Answers are the same without it.
    pub fn will_need(&self, chunks: &[ChunkId]) {
        self.segments.iter().for_each(|segment| segment.will_need(chunks));
    }

    /// Hands the copies of `chunk` to `take`, each once, until it returns something. Looks no
    /// further than that, the largest segment first; fails as [`Index::locations`] does.
    pub fn find_copy<T>(
        &self,
        chunk: ChunkId,
        mut take: impl FnMut(&Location) -> Option<T>,
    ) -> Result<Option<T>> {
        self.touch(chunk);
        let (mut found, mut failure) = (Vec::new(), None);
        for segment in &self.segments {
            let known = found.len();
            if let Err(error) = segment.find(chunk, &mut found) {
                failure.get_or_insert(error);
            }
            let (known, new) = found.split_at(known);
            let mut new = new.iter().filter(|copy| !known.contains(copy));
            if let Some(taken) = new.find_map(&mut take) {
                return Ok(Some(taken));
            }
        }
        match failure {
            Some(error) if found.is_empty() => Err(error.chunk(chunk)),
            _ => Ok(None),
        }
    }

    /// Whether the index has a copy of `chunk`. Fails as [`Index::locations`] does.
    pub fn contains(&self, chunk: ChunkId) -> Result<bool> {
        self.touch(chunk);
        let mut failure: Option<Error> = None;
        for segment in &self.segments {
            match segment.contains(chunk) {
                Ok(true) => return Ok(true),
                Ok(false) => {}
                Err(error) => {
                    failure.get_or_insert(error);
                }
            }
        }
        failure.map_or(Ok(false), |error| Err(error.chunk(chunk)))
    }

    /// Number of entries of all segments. A copy that several segments name counts several times.
    #[must_use]
    pub fn entry_count(&self) -> u64 {
        self.segments.iter().map(|segment| u64::from(segment.entry_count())).sum()
    }

    /// Number of segments in use.
    #[must_use]
    pub fn segment_count(&self) -> usize {
        self.segments.len()
    }

    /// The segments in use, the largest first.
    #[must_use]
    pub fn segments(&self) -> &[Arc<Segment>] {
        &self.segments
    }

    /// Segments that are there and cannot be used. While there are any, a chunk that is not found
    /// may still be stored; rebuilding the index tells.
    #[must_use]
    pub fn damaged_segments(&self) -> &BTreeSet<SegmentId> {
        &self.damaged
    }

    /// All packs that the entries lie in.
    pub fn packs(&self) -> Result<HashSet<PackId>> {
        self.segments.iter().flat_map(|segment| segment.packs()).collect()
    }
}
