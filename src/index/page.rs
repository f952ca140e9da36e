//! The pages of a segment: checked on their first use where they lie in memory; where they are
//! sealed, or on a file system that cannot be mapped, read and opened on every use that is not
//! remembered.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::base::sync::lock;
use crate::crypto::{PageSeal, Sealing};
use crate::error::{Error, Result};
use crate::format::layout::ObjectName;
use crate::format::segment::{PAGE_BODY_LEN, PAGE_CHECK_LEN, PAGE_LEN, SegmentFooter, page_check};
use crate::store::mapped::ObjectBytes;

/// Pages that are remembered of a segment which is not used where it lies: 1 MiB of them.
const PAGES_REMEMBERED: usize = 256;

/// Pages that a walk in order has the medium read at a time: 256 KiB of them. Kernels cut what one
/// asks for at once to the device's largest request.
const PAGES_AHEAD: u64 = 64;

/// Pages of a table that come with the first of them that is used: 512 KiB.
const PAGES_AROUND: u64 = 128;

/// The part of a page that holds records.
pub(super) type PageBody = [u8; PAGE_BODY_LEN];

/// All pages of one segment.
///
/// [`Pages::body`] is the only way to the bytes of a page. What a page needs before it can be used
/// happens there: its check once, its opening in an encrypted repository.
pub(super) struct Pages {
    bytes: ObjectBytes,
    name: ObjectName,
    /// The first page that is no longer one of entries.
    tables: u64,
    /// One bit per page: whether it was found to be what was written.
    proven: Box<[AtomicU64]>,
    /// What its pages are sealed with, in an encrypted repository.
    seal: Option<Box<PageSeal>>,
    /// Pages that were read and opened lie where the last digits of their numbers say. None where
    /// pages are used where they lie in memory.
    opened: Box<[Mutex<Option<OpenedPage>>]>,
}

type OpenedPage = (u64, Arc<PageBody>);

/// A page as it is stored.
type Page = [u8; PAGE_LEN];

/// The body of a page, where it lies in memory or opened.
pub(super) enum BodyRef<'a> {
    InPlace(&'a PageBody),
    Opened(Arc<PageBody>),
}

impl Deref for BodyRef<'_> {
    type Target = PageBody;

    fn deref(&self) -> &PageBody {
        match self {
            Self::InPlace(body) => body,
            Self::Opened(body) => body,
        }
    }
}

impl Pages {
    /// Takes the bytes of a whole segment and reads its footer.
    pub(super) fn open(
        bytes: ObjectBytes,
        name: ObjectName,
        sealing: &Sealing,
    ) -> Result<(Self, SegmentFooter)> {
        if bytes.is_empty() || !bytes.len().is_multiple_of(PAGE_LEN) {
            let what = "the index segment is not made of whole pages";
            return Err(Error::corrupt(what).at(name.to_string()));
        }
        let count = bytes.len() / PAGE_LEN;
        let proven = slots(count.div_ceil(64));
        let tables = u64::MAX;
        let mut pages = Self { bytes, name, tables, proven, seal: None, opened: Box::default() };
        let last = count as u64 - 1;
        let stored = pages.stored(last)?;
        let (body, tag) = split(&stored);
        let seal = sealing.segment_seal(body).map_err(|error| error.in_object(&pages.name));
        let is_right = match &seal {
            Ok(Some(seal)) => seal.is_signed(last, body, tag),
            _ => page_check(last, body) == *tag,
        };
        if !is_right {
            return Err(pages.damaged(PAGE_DAMAGED, last));
        }
        let footer = SegmentFooter::decode(body, pages.len_bytes())
            .map_err(|error| error.in_object(&pages.name))?;
        [pages.tables, ..] = footer.section_pages();
        pages.seal = seal?.map(Box::new);
        if pages.seal.is_some() || pages.bytes.in_memory().is_none() {
            pages.opened = slots(count.min(PAGES_REMEMBERED));
        }
        Ok((pages, footer))
    }

    /// The object that the pages are of.
    pub(super) fn name(&self) -> &ObjectName {
        &self.name
    }

    /// Length of the object, in bytes.
    pub(super) fn len_bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// The body of a page that is what was written.
    #[inline]
    pub(super) fn body(&self, page: u64) -> Result<BodyRef<'_>> {
        match self.near(page) {
            Some(body) => Ok(BodyRef::InPlace(body)),
            None => self.far(page),
        }
    }

    /// The body of a page that lies open in memory and was used before.
    #[inline]
    pub(super) fn near(&self, page: u64) -> Option<&PageBody> {
        if !self.opened.is_empty() || !self.is_proven(page) {
            return None;
        }
        self.in_place(page)?.first_chunk()
    }

    #[inline(never)]
    fn far(&self, page: u64) -> Result<BodyRef<'_>> {
        if self.opened.is_empty() {
            return self.checked(page).map(BodyRef::InPlace);
        }
        let mut slot = lock(&self.opened[(page % self.opened.len() as u64) as usize]);
        if let Some((number, body)) = &*slot
            && *number == page
        {
            return Ok(BodyRef::Opened(Arc::clone(body)));
        }
        let stored = self.stored(page)?;
        let (body, tag) = split(&stored);
        let body: Arc<PageBody> = match &self.seal {
            Some(seal) => {
                let body = seal.open_page(page, body, tag);
                Arc::from(body.ok_or_else(|| self.damaged(PAGE_DAMAGED, page))?)
            }
            None if page_check(page, body) == *tag => Arc::new(*body),
            None => return Err(self.damaged(PAGE_DAMAGED, page)),
        };
        *slot = Some((page, Arc::clone(&body)));
        self.set_proven(page);
        Ok(BodyRef::Opened(body))
    }

    fn checked(&self, page: u64) -> Result<&PageBody> {
        self.fetch_table(page);
        let (body, check) = split(self.in_place(page).ok_or_else(|| self.missing(page))?);
        if page_check(page, body) != *check {
            return Err(self.damaged(PAGE_DAMAGED, page));
        }
        self.set_proven(page);
        Ok(body)
    }

    /// Whether the page was used before; no page beyond the end was.
    // Nothing but the bit itself is handed from thread to thread, so no ordering is needed; two
    // threads that check one page at the same time both find the same.
    #[inline]
    fn is_proven(&self, page: u64) -> bool {
        let word = self.proven.get((page / 64) as usize);
        word.is_some_and(|word| word.load(Ordering::Relaxed) & 1 << (page % 64) != 0)
    }

    fn set_proven(&self, page: u64) {
        self.proven[(page / 64) as usize].fetch_or(1 << (page % 64), Ordering::Relaxed);
    }

    /// Has record `number` of a section, as in [`Pages::record`], come from memory to the
    /// processor, if its page was used before. Whether it was.
    #[inline]
    pub(super) fn touch<const N: usize>(&self, first_page: u64, number: u64) -> bool {
        let (page, slot) = place::<N>(first_page, number);
        let is_near = self.is_proven(page);
        if is_near {
            let at = page as usize * PAGE_LEN + slot * N;
            self.bytes.prefetch(at);
            self.bytes.prefetch(at + N - 1);
        }
        is_near
    }

    /// Says that record `number` of a section will be read soon: its page comes from the medium
    /// beside others, or the record to the processor.
    #[inline]
    pub(super) fn will_need<const N: usize>(&self, first_page: u64, number: u64) {
        if !self.touch::<N>(first_page, number) {
            self.fetch(place::<N>(first_page, number).0);
        }
    }

    /// To be told of every page of a walk in order: has the medium read what comes next while the
    /// walk is at this one.
    pub(super) fn walked_to(&self, page: u64) {
        if page.is_multiple_of(PAGES_AHEAD) {
            let bytes = |pages: u64| (pages as usize).saturating_mul(PAGE_LEN);
            self.bytes.will_need(bytes(page)..bytes(page + 2 * PAGES_AHEAD));
        }
    }

    /// A page as it is stored, where it lies in memory.
    #[inline]
    pub(super) fn in_place(&self, page: u64) -> Option<&Page> {
        let (pages, _) = self.bytes.in_memory()?.as_chunks::<PAGE_LEN>();
        pages.get(usize::try_from(page).ok()?)
    }

    /// A page as it is stored.
    fn stored(&self, page: u64) -> Result<Cow<'_, Page>> {
        self.fetch_table(page);
        if let Some(stored) = self.in_place(page) {
            return Ok(Cow::Borrowed(stored));
        }
        if page >= (self.bytes.len() / PAGE_LEN) as u64 {
            return Err(self.missing(page));
        }
        let mut stored = [0; PAGE_LEN];
        self.bytes.read_exact_at(page as usize * PAGE_LEN, &mut stored)?;
        Ok(Cow::Owned(stored))
    }

    fn missing(&self, page: u64) -> Error {
        self.damaged("the index segment has no such page", page)
    }

    fn fetch_table(&self, page: u64) {
        if page >= self.tables && !self.is_proven(page) {
            self.fetch(page);
        }
    }

    /// Has a page come from the medium. Tables are small beside the entries and are asked at every
    /// lookup: their pages bring their neighbours, so that soon only entries are waited for.
    fn fetch(&self, page: u64) {
        let (first, count) = match page < self.tables {
            true => (page, 1),
            false => (page - page % PAGES_AROUND, PAGES_AROUND),
        };
        let bytes = |pages: u64| (pages as usize).saturating_mul(PAGE_LEN);
        self.bytes.will_need(bytes(first)..bytes(first + count));
    }

    /// Record `number` of the section of records of `N` bytes that begins at `first_page`.
    #[inline]
    pub(super) fn record<const N: usize>(&self, first_page: u64, number: u64) -> Result<[u8; N]> {
        let (page, slot) = place::<N>(first_page, number);
        let body = self.body(page)?;
        let (records, _) = body.as_chunks::<N>();
        Ok(records[slot])
    }

    /// An error about a page, with its place in the object.
    pub(super) fn damaged(&self, what: &'static str, page: u64) -> Error {
        let offset_bytes = page.saturating_mul(PAGE_LEN as u64);
        Error::corrupt(what).at(self.name.to_string()).at_byte(offset_bytes)
    }

    /// BLAKE3-256 of the whole object.
    pub(super) fn hash(&self) -> Result<[u8; 32]> {
        self.bytes.hash()
    }

    /// Number of pages that were read so far, but for the footer.
    #[cfg(test)]
    pub(super) fn checked_count(&self) -> u32 {
        self.proven.iter().map(|word| word.load(Ordering::Relaxed).count_ones()).sum()
    }
}

/// The page of record `number` of a section, and its number there.
#[inline]
fn place<const N: usize>(first_page: u64, number: u64) -> (u64, usize) {
    let per_page = (PAGE_BODY_LEN / N) as u64;
    (first_page + number / per_page, (number % per_page) as usize)
}

/// The body of a page, and its check or tag.
fn split(page: &Page) -> (&PageBody, &[u8; PAGE_CHECK_LEN]) {
    match (page.first_chunk(), page.last_chunk()) {
        (Some(body), Some(check)) => (body, check),
        _ => unreachable!("a page is as long as its two parts"),
    }
}

const PAGE_DAMAGED: &str = "a page of the index segment is damaged";

fn slots<T: Default>(count: usize) -> Box<[T]> {
    std::iter::repeat_with(T::default).take(count).collect()
}

impl fmt::Debug for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} pages of {}", self.bytes.len() / PAGE_LEN, self.name)
    }
}
