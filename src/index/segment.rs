//! One segment: a sorted table of where chunks lie, mapped, and trusted only page by page.

use std::ops::{ControlFlow, Range};

use crate::base::id::{ChunkId, PackId, SegmentId};
use crate::base::pack_set::PackSet;
use crate::crypto::Sealing;
use crate::error::{Error, Result};
use crate::format::layout::ObjectName;
use crate::format::location::Location;
use crate::format::segment::{
    ENTRIES_PER_PAGE, IDS_PER_PAGE, INDEX_ENTRY_LEN, IndexEntry, PAGE_LEN, SegmentFooter,
};
use crate::index::page::{BodyRef, Pages};
use crate::index::scan::Scan;
use crate::index::search::{BATCH, Search};
use crate::store::Store;

/// An open segment. Any number of threads may look up in it at once.
///
/// Nothing read from it is trusted: a page that is not what was written is
/// [`crate::error::ErrorKind::Corrupt`] at its first use and at every later one.
#[derive(Debug)]
pub struct Segment {
    id: SegmentId,
    footer: SegmentFooter,
    sections: Sections,
    pages: Pages,
}

/// The first page of each section but the entries, which begin at page 0.
#[derive(Debug, Clone, Copy)]
struct Sections {
    packs: u64,
    fanout: u64,
    superseded: u64,
}

impl Sections {
    fn of(footer: &SegmentFooter) -> Self {
        let [entries, packs, fanout, _] = footer.section_pages();
        Self { packs: entries, fanout: entries + packs, superseded: entries + packs + fanout }
    }
}

impl Segment {
    /// Opens a segment of `repo`. Reads its last page only.
    ///
    /// Fails with [`crate::error::ErrorKind::NotFound`] if there is none, with
    /// [`crate::error::ErrorKind::Unsupported`] if a newer release wrote it, and with
    /// [`crate::error::ErrorKind::Corrupt`] if it is damaged or of another repository.
    pub fn open(store: &dyn Store, id: SegmentId, sealing: &Sealing) -> Result<Self> {
        let name = ObjectName::segment(id);
        let (pages, footer) = Pages::open(store.map(&name)?, name, sealing)?;
        if footer.repo != sealing.repo() {
            let what = "the index segment belongs to another repository";
            return Err(Error::corrupt(what).at(pages.name().to_string()));
        }
        Ok(Self { id, footer, sections: Sections::of(&footer), pages })
    }

    /// The name of the segment.
    #[must_use]
    pub fn id(&self) -> SegmentId {
        self.id
    }

    /// Number of entries.
    #[must_use]
    pub fn entry_count(&self) -> u32 {
        self.footer.entry_count
    }

    /// Length of the object, in bytes. It is known even when a merge has deleted it meanwhile.
    #[must_use]
    pub fn len_bytes(&self) -> u64 {
        self.pages.len_bytes()
    }

    /// Appends every copy of `chunk` to `found`.
    ///
    /// What was appended before an error is right.
    pub fn find(&self, chunk: ChunkId, found: &mut Vec<Location>) -> Result<()> {
        self.each_copy(chunk, |copy| {
            found.push(*copy);
            ControlFlow::Continue(())
        })
    }

    /// Hands every copy of `chunk` to `each` until it breaks off.
    #[inline]
    pub(super) fn each_copy(
        &self,
        chunk: ChunkId,
        mut each: impl FnMut(&Location) -> ControlFlow<()>,
    ) -> Result<()> {
        self.search().each(chunk, |number, encoded| {
            let entry = self.decoded(number, encoded)?;
            Ok(each(&self.location(&entry)?))
        })
    }

    /// Whether there is an entry of `chunk`.
    pub fn contains(&self, chunk: ChunkId) -> Result<bool> {
        let mut is_there = false;
        self.search().each(chunk, |_, _| {
            is_there = true;
            Ok(ControlFlow::Break(()))
        })?;
        Ok(is_there)
    }

    /// Hands the copies of those of `chunks` at `positions` to `found`, each with its position, or
    /// what keeps one from being known; chunk by chunk, as [`Search::numbers_of_all`] has it.
    pub(super) fn copies_of_all(
        &self,
        chunks: &[ChunkId],
        positions: &[u32],
        mut found: impl FnMut(u32, Result<Location>),
    ) {
        let mut entries = Vec::with_capacity(BATCH);
        for positions in positions.chunks(BATCH) {
            self.search().numbers_of_all(chunks, positions, |position, numbers| match numbers {
                Ok(numbers) => entries.extend(numbers.map(|one| (position, self.entry(one)))),
                Err(error) => entries.push((position, Err(error))),
            });
            for entry in entries.iter().filter_map(|(_, entry)| entry.as_ref().ok()) {
                let number = u64::from(entry.pack_number);
                self.pages.will_need::<{ PackId::LEN }>(self.sections.packs, number);
            }
            for (position, entry) in entries.drain(..) {
                found(position, entry.and_then(|entry| self.location(&entry)));
            }
        }
    }

    /// The numbers of the entries of `chunk`.
    pub(super) fn numbers(&self, chunk: ChunkId) -> Result<Range<u32>> {
        self.search().numbers(chunk)
    }

    /// The packs that the entries lie in. After an error the ids of other pages still come.
    pub fn packs(&self) -> impl Iterator<Item = Result<PackId>> + '_ {
        (0..self.footer.pack_count).map(|number| {
            if number.is_multiple_of(IDS_PER_PAGE as u32) {
                let page = u64::from(number) / IDS_PER_PAGE as u64;
                self.pages.walked_to(self.sections.packs + page);
            }
            self.pack(number)
        })
    }

    /// Whether an entry lies in one of `packs`.
    pub fn names_any(&self, packs: &PackSet) -> Result<bool> {
        for pack in self.packs() {
            if packs.contains(&pack?) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The segments that this one replaces.
    pub fn superseded(&self) -> Result<Vec<SegmentId>> {
        let id = |number| {
            let bytes = self.pages.record(self.sections.superseded, number)?;
            Ok(SegmentId::from_bytes(bytes))
        };
        (0..u64::from(self.footer.superseded_count)).map(id).collect()
    }

    /// Says that `chunks` will be looked up soon. Only advice: what is damaged shows when it is
    /// looked up.
    pub(super) fn will_need(&self, chunks: &[ChunkId]) {
        self.search().will_need(chunks);
    }

    /// All entries in the order of their chunks. After the error of a damaged page those of the
    /// next one come.
    pub fn entries(&self) -> impl Iterator<Item = Result<(ChunkId, Location)>> + '_ {
        self.scan().map(|entry| {
            let entry = entry?;
            Ok((entry.chunk, self.location(&entry)?))
        })
    }

    /// Reads the whole segment and fails unless its bytes are what its name says.
    pub fn check(&self) -> Result<()> {
        if self.pages.hash()? == *self.id.as_bytes() {
            return Ok(());
        }
        let what = "the index segment is not what its name says";
        Err(Error::corrupt(what).at(self.pages.name().to_string()))
    }

    /// All entries as they are stored, in order.
    pub(super) fn scan(&self) -> Scan<'_> {
        Scan::new(self)
    }

    /// The page of an entry, for a walk over all in order.
    pub(super) fn walk_to_page_of(&self, number: u32) -> Result<BodyRef<'_>> {
        let page = u64::from(number) / ENTRIES_PER_PAGE as u64;
        self.pages.walked_to(page);
        self.pages.body(page)
    }

    pub(super) fn search(&self) -> Search<'_> {
        Search {
            pages: &self.pages,
            fanout_page: self.sections.fanout,
            fanout_bits: self.footer.fanout_bits,
            entry_count: self.footer.entry_count,
        }
    }

    /// Entry `number`, with a pack number that the segment has a pack for.
    pub(super) fn entry(&self, number: u32) -> Result<IndexEntry> {
        self.decoded(number, &self.entry_bytes(number)?)
    }

    /// Entry `number` from its bytes.
    #[inline]
    pub(super) fn decoded(
        &self,
        number: u32,
        encoded: &[u8; INDEX_ENTRY_LEN],
    ) -> Result<IndexEntry> {
        let entry = IndexEntry::decode(encoded)
            .map_err(|error| error.in_object(self.pages.name()).at_byte(page_offset(number)))?;
        if entry.pack_number >= self.footer.pack_count {
            let what = "an entry of the index segment lies in a pack that it does not name";
            return Err(self.damaged_entry(what, number));
        }
        Ok(entry)
    }

    fn entry_bytes(&self, number: u32) -> Result<[u8; INDEX_ENTRY_LEN]> {
        self.pages.record(0, u64::from(number))
    }

    fn pack(&self, number: u32) -> Result<PackId> {
        let bytes = self.pages.record(self.sections.packs, u64::from(number))?;
        Ok(PackId::from_bytes(bytes))
    }

    fn location(&self, entry: &IndexEntry) -> Result<Location> {
        Ok(Location {
            pack: self.pack(entry.pack_number)?,
            offset: entry.offset,
            entry_len: entry.entry_len,
            plain_len: entry.plain_len,
            kind: entry.kind,
        })
    }

    /// An error about an entry, with the place of its page in the object.
    pub(super) fn damaged_entry(&self, what: &'static str, number: u32) -> Error {
        Error::corrupt(what).at(self.pages.name().to_string()).at_byte(page_offset(number))
    }

    #[cfg(test)]
    pub(super) fn pages(&self) -> &Pages {
        &self.pages
    }
}

/// First byte of the page of an entry.
fn page_offset(entry_number: u32) -> u64 {
    u64::from(entry_number) / ENTRIES_PER_PAGE as u64 * PAGE_LEN as u64
}
