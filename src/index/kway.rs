//! Many sorted segments as one sorted sequence.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;

use crate::error::Result;
use crate::format::segment::IndexEntry;
use crate::index::scan::Scan;
use crate::index::segment::Segment;
use crate::index::writer::order;

/// The new number of a pack whose entries are left out. No pack has it: there are fewer.
pub(super) const LEFT_OUT: u32 = u32::MAX;

/// A segment to merge, and the new number of each of its packs.
pub(super) struct Source<'a> {
    scan: Scan<'a>,
    new_numbers: &'a [u32],
}

impl<'a> Source<'a> {
    /// `new_numbers` has one element for every pack of the segment.
    pub(super) fn new(segment: &'a Segment, new_numbers: &'a [u32]) -> Self {
        Self { scan: segment.scan(), new_numbers }
    }

    /// The next entry that is not left out, with its number and its new pack number.
    fn next(&mut self) -> Result<Option<(u32, IndexEntry)>> {
        while let Some(entry) = self.scan.next() {
            let entry = entry?;
            // A scan gives no pack number that the segment has no pack for.
            let pack_number = self.new_numbers[entry.pack_number as usize];
            if pack_number != LEFT_OUT {
                let number = self.scan.next_number() - 1;
                return Ok(Some((number, IndexEntry { pack_number, ..entry })));
            }
        }
        Ok(None)
    }
}

/// An entry of a source.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    /// With its new pack number.
    pub(super) entry: IndexEntry,
    /// The place of its source among all.
    pub(super) source: usize,
    /// Its number there.
    pub(super) number: u32,
}

/// The entries of all sources in the order of their chunks.
///
/// The copies of one chunk come together, in no particular order.
pub(super) struct KWay<'a> {
    sources: Vec<Source<'a>>,
    heads: BinaryHeap<Reverse<Found>>,
}

impl<'a> KWay<'a> {
    pub(super) fn new(mut sources: Vec<Source<'a>>) -> Result<Self> {
        let mut heads = BinaryHeap::with_capacity(sources.len());
        for (source, from) in sources.iter_mut().enumerate() {
            if let Some((number, entry)) = from.next()? {
                heads.push(Reverse(Found { entry, source, number }));
            }
        }
        Ok(Self { sources, heads })
    }

    /// Calls `each` with the copies of every chunk, each once and in the order of their packs and
    /// offsets, and with one of the entries that they are. Ends at the first error.
    pub(super) fn each_chunk(
        mut self,
        mut each: impl FnMut(&[IndexEntry], Found) -> Result<()>,
    ) -> Result<()> {
        let mut copies: Vec<IndexEntry> = Vec::new();
        let Some(mut last) = self.next()? else { return Ok(()) };
        copies.push(last.entry);
        while let Some(found) = self.next()? {
            if found.entry.chunk != last.entry.chunk {
                sort_copies(&mut copies);
                each(&copies, last)?;
                copies.clear();
            }
            copies.push(found.entry);
            last = found;
        }
        sort_copies(&mut copies);
        each(&copies, last)
    }

    /// The next entry. After an error the sequence must not be used.
    fn next(&mut self) -> Result<Option<Found>> {
        let Some(mut head) = self.heads.peek_mut() else {
            return Ok(None);
        };
        let found = head.0;
        match self.sources[found.source].next()? {
            Some((number, entry)) => head.0 = Found { entry, number, ..found },
            None => {
                PeekMut::pop(head);
            }
        }
        Ok(Some(found))
    }
}

/// Sorts the copies of one chunk by pack and offset, and leaves each once.
fn sort_copies(copies: &mut Vec<IndexEntry>) {
    if copies.len() > 1 {
        copies.sort_unstable_by_key(|copy| (copy.pack_number, copy.offset));
        copies.dedup_by_key(|copy| (copy.pack_number, copy.offset));
    }
}

impl Ord for Found {
    fn cmp(&self, other: &Self) -> Ordering {
        order(&self.entry).cmp(&order(&other.entry)).then(self.source.cmp(&other.source))
    }
}

impl PartialOrd for Found {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Found {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Found {}
