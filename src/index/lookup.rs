//! All segments together: where is a chunk?

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use crate::base::id::{ChunkId, SegmentId};
use crate::base::pack_set::PackSet;
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

    /// Has the processor fetch from all segments after the first `skip` what a lookup of `chunk`
    /// will look at, if it is in memory: one after the other, each would wait for it anew.
    #[inline]
    fn touch(&self, chunk: ChunkId, skip: usize) {
        let segments = self.segments.get(skip..).unwrap_or_default();
        if segments.len() > 1 {
            segments.iter().for_each(|segment| segment.search().touch_bucket(chunk));
            segments.iter().for_each(|segment| segment.search().touch_guess(chunk));
        }
    }

    /// The first segment is the largest and has most of what is looked up: until it has not, the
    /// others are left alone.
    #[inline]
    fn touch_after_first(&self, chunk: ChunkId, segment_number: usize) {
        if segment_number == 1 {
            self.touch(chunk, 1);
        }
    }

    /// Every stored copy of `chunk`, each once; nothing if the index has none.
    ///
    /// Fails only where no copy was found and a segment that might have one is damaged.
    pub fn locations(&self, chunk: ChunkId) -> Result<Vec<Location>> {
        self.touch(chunk, 0);
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
        let (mut refused, mut failure, mut taken) = (Vec::new(), None, None);
        for (number, segment) in self.segments.iter().enumerate() {
            self.touch_after_first(chunk, number);
            let asked = segment.each_copy(chunk, |copy| {
                if !refused.contains(copy) {
                    taken = take(copy);
                    if taken.is_some() {
                        return ControlFlow::Break(());
                    }
                    refused.push(*copy);
                }
                ControlFlow::Continue(())
            });
            if taken.is_some() {
                return Ok(taken);
            }
            if let Err(error) = asked {
                failure.get_or_insert(error);
            }
        }
        match failure {
            Some(error) if refused.is_empty() => Err(error.chunk(chunk)),
            _ => Ok(None),
        }
    }

    /// Whether the index has a copy of `chunk`. Fails as [`Index::locations`] does.
    pub fn contains(&self, chunk: ChunkId) -> Result<bool> {
        let mut failure: Option<Error> = None;
        for (number, segment) in self.segments.iter().enumerate() {
            self.touch_after_first(chunk, number);
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
    pub fn packs(&self) -> Result<PackSet> {
        self.segments.iter().flat_map(|segment| segment.packs()).collect()
    }
}
