//! Records to checked pages to a staged object.

use crate::base::hash::StreamHasher;
use crate::crypto::PageSeal;
use crate::error::Result;
use crate::format::segment::{PAGE_BODY_LEN, PAGE_CHECK_LEN, PAGE_LEN, SegmentSeal, page_check};
use crate::store::Staged;

/// Bytes that are gathered before they go to the store.
const BUFFER_LEN: usize = 64 * PAGE_LEN;

/// Fills pages with records, in order, and hashes what it writes.
pub(super) struct PageWriter {
    staged: Box<dyn Staged>,
    seal: Option<PageSeal>,
    hasher: StreamHasher,
    /// Whole pages, then the body of the page that is being filled.
    buffer: Vec<u8>,
    /// Where in the buffer that page begins.
    page_start: usize,
    page_number: u64,
}

impl PageWriter {
    pub(super) fn new(staged: Box<dyn Staged>, seal: Option<PageSeal>) -> Self {
        let (hasher, buffer) = (StreamHasher::default(), Vec::with_capacity(BUFFER_LEN));
        Self { staged, seal, hasher, buffer, page_start: 0, page_number: 0 }
    }

    /// How the pages are sealed, if they are.
    pub(super) fn seal(&self) -> Option<SegmentSeal> {
        self.seal.as_ref().map(PageSeal::seal)
    }

    /// Appends a record. It goes to the next page if this one has no room for it.
    pub(super) fn record(&mut self, bytes: &[u8]) -> Result<()> {
        debug_assert!(bytes.len() <= PAGE_BODY_LEN);
        if self.buffer.len() - self.page_start + bytes.len() > PAGE_BODY_LEN {
            self.end_section()?;
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    /// Ends the page that is being filled, if there is one: the next record begins another.
    pub(super) fn end_section(&mut self) -> Result<()> {
        if self.buffer.len() == self.page_start {
            return Ok(());
        }
        self.buffer.resize(self.page_start + PAGE_BODY_LEN, 0);
        let body = &mut self.buffer[self.page_start..];
        let check = match &self.seal {
            None => page_check(self.page_number, body),
            Some(seal) => seal.seal_page(self.page_number, body),
        };
        self.end_page(check)
    }

    fn end_page(&mut self, check: [u8; PAGE_CHECK_LEN]) -> Result<()> {
        self.buffer.extend_from_slice(&check);
        self.page_start = self.buffer.len();
        self.page_number += 1;
        if self.buffer.len() >= BUFFER_LEN { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        self.hasher.update(&self.buffer);
        self.staged.append(&self.buffer)?;
        self.buffer.clear();
        self.page_start = 0;
        Ok(())
    }

    /// Ends the last page with the footer. The object, still without a name, and BLAKE3-256 of its
    /// bytes.
    pub(super) fn finish(
        mut self,
        footer: &[u8; PAGE_BODY_LEN],
    ) -> Result<(Box<dyn Staged>, [u8; 32])> {
        self.end_section()?;
        self.buffer.extend_from_slice(footer);
        self.end_page(match &self.seal {
            None => page_check(self.page_number, footer),
            Some(seal) => seal.sign_footer(self.page_number, footer),
        })?;
        self.flush()?;
        Ok((self.staged, self.hasher.finish()))
    }
}
