//! Walks all entries of a segment in order.

use crate::base::id::ChunkId;
use crate::error::{Error, Result};
use crate::format::segment::{ENTRIES_PER_PAGE, IndexEntry};
use crate::index::segment::Segment;

/// All entries of a segment as they are stored.
///
/// Yields one error per damaged page and goes on with the next page.
pub(super) struct Scan<'a> {
    segment: &'a Segment,
    next: u32,
    last: Option<ChunkId>,
}

impl<'a> Scan<'a> {
    pub(super) fn new(segment: &'a Segment) -> Self {
        Self { segment, next: 0, last: None }
    }

    fn read(&mut self, number: u32) -> Result<IndexEntry> {
        if number.is_multiple_of(ENTRIES_PER_PAGE as u32) {
            self.segment.walked_to_entry(number);
        }
        let entry = self.segment.entry(number)?;
        if self.last.is_some_and(|last| last > entry.chunk) {
            let what = "the entries of the index segment do not ascend";
            return Err(self.segment.damaged_entry(what, number));
        }
        self.last = Some(entry.chunk);
        Ok(entry)
    }

    fn skip_page(&mut self, error: Error) -> Error {
        let per_page = ENTRIES_PER_PAGE as u32;
        let next_page = (self.next / per_page + 1).saturating_mul(per_page);
        self.next = next_page.min(self.segment.entry_count());
        error
    }
}

impl Iterator for Scan<'_> {
    type Item = Result<IndexEntry>;

    fn next(&mut self) -> Option<Result<IndexEntry>> {
        if self.next >= self.segment.entry_count() {
            return None;
        }
        match self.read(self.next) {
            Ok(entry) => {
                self.next += 1;
                Some(Ok(entry))
            }
            Err(error) => Some(Err(self.skip_page(error))),
        }
    }
}
