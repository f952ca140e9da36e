//! Opens the segments that a store lists, while others may publish, merge and delete some.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::base::id::SegmentId;
use crate::crypto::Sealing;
use crate::error::{Error, ErrorKind, Result};
use crate::format::layout::{Area, ObjectName};
use crate::index::segment::Segment;
use crate::store::Store;

/// How often the store is listed until it shows the same segments twice.
///
/// Two merges would have to end within every one of these rounds, which take milliseconds.
const ROUNDS_MAX: usize = 8;

/// What was found.
pub(super) struct Loaded {
    /// The segments in use, the largest first: it most likely has what is looked up.
    pub(super) segments: Vec<Arc<Segment>>,
    /// Segments that are listed and cannot be used, each with what is wrong. Those that another
    /// segment replaces are no loss and not among them.
    pub(super) damaged: BTreeMap<SegmentId, Error>,
}

/// Opens every listed segment, but takes those from `known` that are open already.
///
/// Only a segment of a newer release or a store that cannot be listed is an error.
pub(super) fn load(store: &dyn Store, sealing: &Sealing, known: &[Arc<Segment>]) -> Result<Loaded> {
    let mut loader = Loader::new(store, sealing, known);
    let mut listed = list(store)?;
    for _ in 0..ROUNDS_MAX {
        loader.open_all(&listed)?;
        // A listing that ran beside a merge may show neither the new segment (it came too late)
        // nor all old ones (they went too early). The next listing shows the new one.
        let again = list(store)?;
        if again == listed && listed.iter().all(|id| loader.open.contains_key(id)) {
            break;
        }
        listed = again;
    }
    Ok(loader.finish(&listed))
}

fn list(store: &dyn Store) -> Result<BTreeSet<SegmentId>> {
    let names = store.list(Area::Index)?;
    Ok(names.iter().filter_map(ObjectName::segment_id).collect())
}

struct Opened {
    segment: Arc<Segment>,
    superseded: Vec<SegmentId>,
}

struct Loader<'a> {
    store: &'a dyn Store,
    sealing: &'a Sealing,
    known: BTreeMap<SegmentId, &'a Arc<Segment>>,
    open: BTreeMap<SegmentId, std::result::Result<Opened, Error>>,
}

impl<'a> Loader<'a> {
    fn new(store: &'a dyn Store, sealing: &'a Sealing, known: &'a [Arc<Segment>]) -> Self {
        let known = known.iter().map(|segment| (segment.id(), segment)).collect();
        Self { store, sealing, known, open: BTreeMap::new() }
    }

    /// Opens those that were not tried yet. One that has vanished is left to the next round.
    fn open_all(&mut self, ids: &BTreeSet<SegmentId>) -> Result<()> {
        for id in ids {
            if self.open.contains_key(id) {
                continue;
            }
            match self.open(*id) {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) if error.kind() == ErrorKind::Unsupported => return Err(error),
                outcome => {
                    self.open.insert(*id, outcome);
                }
            }
        }
        Ok(())
    }

    fn open(&self, id: SegmentId) -> Result<Opened> {
        let segment = match self.known.get(&id) {
            Some(known) => Arc::clone(known),
            None => Arc::new(Segment::open(self.store, id, self.sealing)?),
        };
        let superseded = segment.superseded()?;
        Ok(Opened { segment, superseded })
    }

    fn finish(mut self, listed: &BTreeSet<SegmentId>) -> Loaded {
        let mut loaded = Loaded { segments: Vec::new(), damaged: BTreeMap::new() };
        for id in listed.difference(&self.superseded(listed)) {
            match self.open.remove(id).unwrap_or_else(|| Err(unopenable(*id))) {
                Ok(opened) => loaded.segments.push(opened.segment),
                Err(error) => {
                    loaded.damaged.insert(*id, error);
                }
            }
        }
        loaded.segments.sort_by_key(|segment| std::cmp::Reverse(segment.entry_count()));
        loaded
    }

    /// What the listed segments that could be opened replace.
    fn superseded(&self, listed: &BTreeSet<SegmentId>) -> BTreeSet<SegmentId> {
        let valid = listed.iter().filter_map(|id| self.open.get(id)?.as_ref().ok());
        valid.flat_map(|opened| opened.superseded.iter().copied()).collect()
    }
}

fn unopenable(id: SegmentId) -> Error {
    let what = "the index segment is listed and cannot be opened";
    Error::new(ErrorKind::NotFound, what).at(ObjectName::segment(id).to_string())
}
