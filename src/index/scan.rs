//! Walks all entries of a segment in order.

use crate::base::id::ChunkId;
use crate::error::{Error, Result};
use crate::format::segment::{ENTRIES_PER_PAGE, INDEX_ENTRY_LEN, IndexEntry};
use crate::index::page::BodyRef;
use crate::index::segment::Segment;

/// All entries of a segment as they are stored.
///
/// Yields one error per damaged page and goes on with the next page.
pub(super) struct Scan<'a> {
    segment: &'a Segment,
    next: u32,
    last: Option<ChunkId>,
    /// The page of the entry before.
    page: Option<BodyRef<'a>>,
}

impl<'a> Scan<'a> {
    pub(super) fn new(segment: &'a Segment) -> Self {
        Self { segment, next: 0, last: None, page: None }
    }

    /// The number of the entry that comes next.
    pub(super) fn next_number(&self) -> u32 {
        self.next
    }

    fn read(&mut self, number: u32) -> Result<IndexEntry> {
        let slot = number % ENTRIES_PER_PAGE as u32;
        let page = match &mut self.page {
            Some(page) if slot > 0 => page,
            page => page.insert(self.segment.walk_to_page_of(number)?),
        };
        let (entries, _) = page.as_chunks::<INDEX_ENTRY_LEN>();
        let entry = self.segment.decoded(number, &entries[slot as usize])?;
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
