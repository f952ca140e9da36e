//! The pages of a mapped segment: checked on their first use, or opened on every one that is not
//! remembered.

use std::fmt;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::base::hash::StreamHasher;
use crate::base::sync::lock;
use crate::crypto::{PageSeal, Sealing};
use crate::error::{Error, Result};
use crate::format::layout::ObjectName;
use crate::format::segment::{PAGE_BODY_LEN, PAGE_CHECK_LEN, PAGE_LEN, SegmentFooter, page_check};
use crate::store::mapped::ObjectBytes;

/// Opened pages that a sealed segment remembers: 1 MiB of them.
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
    proof: Proof,
}

/// How it is known that a page is what was written.
enum Proof {
    /// Its check, the first time that it is used.
    Checks,
    /// Its tag. Pages that were opened lie where the last digits of their numbers say.
    Tags { seal: Box<PageSeal>, opened: Box<[Mutex<Option<OpenedPage>>]> },
}

type OpenedPage = (u64, Arc<PageBody>);

/// The body of a page, in the mapping or opened.
pub(super) enum BodyRef<'a> {
    Mapped(&'a PageBody),
    Opened(Arc<PageBody>),
}

impl Deref for BodyRef<'_> {
    type Target = PageBody;

    fn deref(&self) -> &PageBody {
        match self {
            Self::Mapped(body) => body,
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
        let mut pages = Self { bytes, name, tables: u64::MAX, proven, proof: Proof::Checks };
        let last = count as u64 - 1;
        let (body, tag) = pages.stored(last)?;
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
        if let Some(seal) = seal? {
            let seal = Box::new(seal);
            pages.proof = Proof::Tags { seal, opened: slots(count.min(PAGES_REMEMBERED)) };
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
            Some(body) => Ok(BodyRef::Mapped(body)),
            None => self.far(page),
        }
    }

    /// The body of a page that lies open in the mapping and was used before.
    #[inline]
    pub(super) fn near(&self, page: u64) -> Option<&PageBody> {
        if !matches!(self.proof, Proof::Checks) || !self.is_proven(page) {
            return None;
        }
        let (pages, _) = self.bytes.as_chunks::<PAGE_LEN>();
        pages.get(page as usize)?.first_chunk()
    }

    #[inline(never)]
    fn far(&self, page: u64) -> Result<BodyRef<'_>> {
        match &self.proof {
            Proof::Checks => self.checked(page).map(BodyRef::Mapped),
            Proof::Tags { seal, opened } => {
                let mut slot = lock(&opened[(page % opened.len() as u64) as usize]);
                if let Some((number, body)) = &*slot
                    && *number == page
                {
                    return Ok(BodyRef::Opened(Arc::clone(body)));
                }
                let (body, tag) = self.stored(page)?;
                let body = seal.open_page(page, body, tag);
                let body = body.ok_or_else(|| self.damaged(PAGE_DAMAGED, page))?;
                let body: Arc<PageBody> = Arc::from(body);
                *slot = Some((page, Arc::clone(&body)));
                self.set_proven(page);
                Ok(BodyRef::Opened(body))
            }
        }
    }

    fn checked(&self, page: u64) -> Result<&PageBody> {
        let (body, check) = self.stored(page)?;
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

    /// A page as it is stored: its body, and its check or tag.
    fn stored(&self, page: u64) -> Result<(&PageBody, &[u8; PAGE_CHECK_LEN])> {
        let (pages, _) = self.bytes.as_chunks::<PAGE_LEN>();
        let stored = usize::try_from(page).ok().and_then(|index| pages.get(index));
        let split = stored.and_then(|stored| {
            let (body, check) = stored.split_first_chunk()?;
            Some((body, check.try_into().ok()?))
        });
        let stored =
            split.ok_or_else(|| self.damaged("the index segment has no such page", page))?;
        if page >= self.tables && !self.is_proven(page) {
            self.fetch(page);
        }
        Ok(stored)
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
    pub(super) fn hash(&self) -> [u8; 32] {
        let mut hasher = StreamHasher::default();
        for (page, bytes) in (0..).zip(self.bytes.chunks(PAGE_LEN)) {
            self.walked_to(page);
            hasher.update(bytes);
        }
        hasher.finish()
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

const PAGE_DAMAGED: &str = "a page of the index segment is damaged";

fn slots<T: Default>(count: usize) -> Box<[T]> {
    std::iter::repeat_with(T::default).take(count).collect()
}

impl fmt::Debug for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} pages of {}", self.bytes.len() / PAGE_LEN, self.name)
    }
}
