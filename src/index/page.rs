//! The pages of a mapped segment, each checked on its first use.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::base::hash::StreamHasher;
use crate::error::{Error, Result};
use crate::format::layout::ObjectName;
use crate::format::segment::{PAGE_BODY_LEN, PAGE_LEN, page_check};
use crate::store::mapped::ObjectBytes;

/// The part of a page that holds records.
pub(super) type PageBody = [u8; PAGE_BODY_LEN];

/// All pages of one segment.
///
/// [`Pages::body`] is the only way to the bytes of a page. What a page needs before it can be
/// used happens there and once: its check now, its decryption in an encrypted repository.
pub(super) struct Pages {
    bytes: ObjectBytes,
    name: ObjectName,
    /// One bit per page: whether its check was found right.
    checked: Box<[AtomicU64]>,
}

impl Pages {
    /// Takes the bytes of a whole segment without reading any of them.
    pub(super) fn new(bytes: ObjectBytes, name: ObjectName) -> Result<Self> {
        if bytes.is_empty() || !bytes.len().is_multiple_of(PAGE_LEN) {
            let what = "the index segment is not made of whole pages";
            return Err(Error::corrupt(what).at(name.to_string()));
        }
        let words = (bytes.len() / PAGE_LEN).div_ceil(64);
        let checked = std::iter::repeat_with(AtomicU64::default).take(words).collect();
        Ok(Self { bytes, name, checked })
    }

    /// The object that the pages are of.
    pub(super) fn name(&self) -> &ObjectName {
        &self.name
    }

    /// Length of the object, in bytes.
    pub(super) fn len_bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Number of pages; never zero.
    pub(super) fn count(&self) -> u64 {
        self.len_bytes() / PAGE_LEN as u64
    }

    /// The body of a page whose check is right.
    pub(super) fn body(&self, page: u64) -> Result<&PageBody> {
        let (pages, _) = self.bytes.as_chunks::<PAGE_LEN>();
        let stored = usize::try_from(page).ok().and_then(|index| pages.get(index));
        let split = stored.and_then(|stored| stored.split_first_chunk());
        let Some((body, check)) = split else {
            return Err(self.damaged("the index segment has no such page", page));
        };
        // Nothing but the bit itself is handed from thread to thread, so no ordering is needed;
        // two threads that check one page at the same time both find the same.
        let word = &self.checked[(page / 64) as usize];
        let bit = 1 << (page % 64);
        if word.load(Ordering::Relaxed) & bit == 0 {
            if page_check(page, body) != check {
                return Err(self.damaged("a page of the index segment is damaged", page));
            }
            word.fetch_or(bit, Ordering::Relaxed);
        }
        Ok(body)
    }

    /// Record `number` of the section of records of `N` bytes that begins at `first_page`.
    pub(super) fn record<const N: usize>(&self, first_page: u64, number: u64) -> Result<&[u8; N]> {
        let per_page = (PAGE_BODY_LEN / N) as u64;
        let body = self.body(first_page + number / per_page)?;
        let (records, _) = body.as_chunks::<N>();
        // There are `per_page` of them.
        Ok(&records[(number % per_page) as usize])
    }

    /// An error about a page, with its place in the object.
    pub(super) fn damaged(&self, what: &'static str, page: u64) -> Error {
        let offset_bytes = page.saturating_mul(PAGE_LEN as u64);
        Error::corrupt(what).at(self.name.to_string()).at_byte(offset_bytes)
    }

    /// BLAKE3-256 of the whole object.
    pub(super) fn hash(&self) -> [u8; 32] {
        let mut hasher = StreamHasher::default();
        hasher.update(&self.bytes);
        hasher.finish()
    }

    /// Number of pages that were read so far.
    #[cfg(test)]
    pub(super) fn checked_count(&self) -> u32 {
        self.checked.iter().map(|word| word.load(Ordering::Relaxed).count_ones()).sum()
    }
}

impl fmt::Debug for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} pages of {}", self.count(), self.name)
    }
}
