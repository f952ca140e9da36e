//! Many sorted segments as one sorted sequence.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;

use crate::error::Result;
use crate::format::segment::IndexEntry;
use crate::index::scan::Scan;
use crate::index::segment::Segment;
use crate::index::writer::order;

/// A segment to merge, and the new number of each of its packs; none for a pack whose entries are
/// left out.
pub(super) struct Source<'a> {
    scan: Scan<'a>,
    new_numbers: Vec<Option<u32>>,
}

impl<'a> Source<'a> {
    /// `new_numbers` has one element for every pack of the segment.
    pub(super) fn new(segment: &'a Segment, new_numbers: Vec<Option<u32>>) -> Self {
        Self { scan: segment.scan(), new_numbers }
    }

    /// The next entry that is not left out, with its new pack number.
    fn next(&mut self) -> Result<Option<IndexEntry>> {
        for entry in self.scan.by_ref() {
            let entry = entry?;
            // A scan gives no pack number that the segment has no pack for.
            if let Some(pack_number) = self.new_numbers[entry.pack_number as usize] {
                return Ok(Some(IndexEntry { pack_number, ..entry }));
            }
        }
        Ok(None)
    }
}

/// The entries of all sources in the order of their chunks.
///
/// The copies of one chunk come together, in no particular order.
pub(super) struct KWay<'a> {
    sources: Vec<Source<'a>>,
    heads: BinaryHeap<Reverse<Head>>,
}

impl<'a> KWay<'a> {
    pub(super) fn new(mut sources: Vec<Source<'a>>) -> Result<Self> {
        let mut heads = BinaryHeap::with_capacity(sources.len());
        for (source, from) in sources.iter_mut().enumerate() {
            if let Some(entry) = from.next()? {
                heads.push(Reverse(Head { entry, source }));
            }
        }
        Ok(Self { sources, heads })
    }

    /// The next entry. After an error the sequence must not be used.
    pub(super) fn next(&mut self) -> Result<Option<IndexEntry>> {
        let Some(mut head) = self.heads.peek_mut() else {
            return Ok(None);
        };
        let entry = head.0.entry;
        match self.sources[head.0.source].next()? {
            Some(following) => head.0.entry = following,
            None => {
                PeekMut::pop(head);
            }
        }
        Ok(Some(entry))
    }
}

/// The first entry of a source that was not given out yet.
struct Head {
    entry: IndexEntry,
    source: usize,
}

impl Ord for Head {
    fn cmp(&self, other: &Self) -> Ordering {
        order(&self.entry).cmp(&order(&other.entry)).then(self.source.cmp(&other.source))
    }
}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Head {}
