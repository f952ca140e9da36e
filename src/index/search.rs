//! Finds the entries of a chunk.

use std::cmp::Ordering;
use std::ops::{ControlFlow, Range};

use crate::base::id::ChunkId;
use crate::error::Result;
use crate::format::segment::{
    ENTRIES_PER_PAGE, FANOUT_PER_PAGE, INDEX_ENTRY_LEN, IndexEntry, bucket,
};
use crate::index::page::{BodyRef, Pages};

/// Chunks that are looked up beside each other: as many as a node of a disk map names.
pub(super) const BATCH: usize = 256;
const PER_PAGE: u32 = ENTRIES_PER_PAGE as u32;
const FANOUT_LEN: usize = 4;

/// An entry as it is stored.
type Encoded = [u8; INDEX_ENTRY_LEN];

/// What a search needs to know of a segment.
pub(super) struct Search<'a> {
    pub(super) pages: &'a Pages,
    pub(super) fanout_page: u64,
    pub(super) fanout_bits: u8,
    pub(super) entry_count: u32,
}

impl Search<'_> {
    /// Hands the entries of `chunk` to `each` with their numbers, in order, until it breaks off.
    #[inline]
    pub(super) fn each(
        &self,
        chunk: ChunkId,
        mut each: impl FnMut(u32, &Encoded) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        let bucket = self.bucket(chunk)?;
        let limit = bucket.end;
        let mut entries = Entries { pages: self.pages, page: None };
        let next = match self.near(chunk, &bucket) {
            Some((first, near)) => {
                for (number, entry) in (first..).zip(near) {
                    if !is_of(entry, chunk) || each(number, entry)?.is_break() {
                        return Ok(());
                    }
                }
                first + near.len() as u32
            }
            None => self.lower_bound(&mut entries, chunk, bucket)?,
        };
        for number in next..limit {
            let entry = entries.at(number)?;
            if !is_of(entry, chunk) || each(number, entry)?.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// The numbers of the entries of `chunk`.
    pub(super) fn numbers(&self, chunk: ChunkId) -> Result<Range<u32>> {
        let bucket = self.bucket(chunk)?;
        self.numbers_in(chunk, bucket)
    }

    /// The same for many chunks, best sorted: of those of `chunks` at `positions`, calls `found`
    /// with the position of each and its numbers, in order. What is not in memory comes from the
    /// medium at once and not one after the other; what is comes to the processor while it works
    /// on others.
    pub(super) fn numbers_of_all(
        &self,
        chunks: &[ChunkId],
        positions: &[u32],
        mut found: impl FnMut(u32, Result<Range<u32>>),
    ) {
        let mut buckets = [const { None }; BATCH];
        for batch in positions.chunks(BATCH) {
            let batch = batch.iter().map(|position| (*position, chunks[*position as usize]));
            batch.clone().for_each(|(_, chunk)| self.will_need_bucket(chunk));
            for ((_, chunk), bucket) in batch.clone().zip(&mut buckets) {
                *bucket = self.bucket(chunk).ok();
                if let Some(bucket) = bucket {
                    self.will_need_guess(chunk, bucket);
                }
            }
            for ((position, chunk), bucket) in batch.zip(&mut buckets) {
                let numbers = match bucket.take() {
                    Some(bucket) => self.numbers_in(chunk, bucket),
                    None => self.numbers(chunk),
                };
                found(position, numbers);
            }
        }
    }

    /// Says that `chunks` will be looked up soon.
    pub(super) fn will_need(&self, chunks: &[ChunkId]) {
        chunks.iter().for_each(|chunk| self.will_need_bucket(*chunk));
        for chunk in chunks {
            if let Ok(bucket) = self.bucket(*chunk) {
                self.will_need_guess(*chunk, &bucket);
            }
        }
    }

    /// Has the processor fetch the bucket of `chunk`, where that is in memory.
    pub(super) fn touch_bucket(&self, chunk: ChunkId) {
        self.pages.touch::<FANOUT_LEN>(self.fanout_page, bucket(chunk, self.fanout_bits));
    }

    /// Has the processor fetch the entries where `chunk` should lie, if all that is in memory.
    pub(super) fn touch_guess(&self, chunk: ChunkId) {
        let number = bucket(chunk, self.fanout_bits);
        if self.pages.touch::<FANOUT_LEN>(self.fanout_page, number)
            && let Ok(bucket) = self.bucket(chunk)
            && !bucket.is_empty()
        {
            let guess = self.guess(chunk, &bucket);
            self.pages.touch::<INDEX_ENTRY_LEN>(0, u64::from(guess));
        }
    }

    fn will_need_bucket(&self, chunk: ChunkId) {
        self.pages.will_need::<FANOUT_LEN>(self.fanout_page, bucket(chunk, self.fanout_bits));
    }

    fn will_need_guess(&self, chunk: ChunkId, bucket: &Range<u32>) {
        if !bucket.is_empty() {
            let guess = self.guess(chunk, bucket);
            self.pages.will_need::<INDEX_ENTRY_LEN>(0, u64::from(guess));
        }
    }

    /// The entries of the bucket of `chunk`; never beyond the last entry.
    #[inline]
    fn bucket(&self, chunk: ChunkId) -> Result<Range<u32>> {
        let number = bucket(chunk, self.fanout_bits);
        let (start, end) = self.fanout(number)?;
        if start > end || end > self.entry_count {
            let what = "the fan-out of the index segment does not ascend";
            let page = self.fanout_page + number / FANOUT_PER_PAGE as u64;
            return Err(self.pages.damaged(what, page));
        }
        Ok(start..end)
    }

    /// Number `number` of the fan-out, and the one after it.
    fn fanout(&self, number: u64) -> Result<(u32, u32)> {
        let body = self.pages.body(self.fanout_page + number / FANOUT_PER_PAGE as u64)?;
        let (numbers, _) = body.as_chunks::<FANOUT_LEN>();
        let slot = (number % FANOUT_PER_PAGE as u64) as usize;
        let next = match numbers.get(slot + 1) {
            Some(next) => *next,
            None => self.pages.record(self.fanout_page, number + 1)?,
        };
        Ok((u32::from_le_bytes(numbers[slot]), u32::from_le_bytes(next)))
    }

    #[inline]
    fn numbers_in(&self, chunk: ChunkId, bucket: Range<u32>) -> Result<Range<u32>> {
        let limit = bucket.end;
        let mut entries = Entries { pages: self.pages, page: None };
        let (first, mut end) = match self.near(chunk, &bucket) {
            Some((first, near)) => {
                let count = near.iter().take_while(|entry| is_of(entry, chunk)).count();
                if count < near.len() {
                    return Ok(first..first + count as u32);
                }
                (first, first + count as u32)
            }
            None => {
                let first = self.lower_bound(&mut entries, chunk, bucket)?;
                (first, first)
            }
        };
        while end < limit && is_of(entries.at(end)?, chunk) {
            end += 1;
        }
        Ok(first..end)
    }

    /// The first entry of a bucket that is not below `chunk`, and all from there to the end of the
    /// bucket or of the page, where the page on which it should lie was used before and settles it:
    /// nearly always. No step waits for more than the entries themselves.
    #[inline]
    fn near(&self, chunk: ChunkId, bucket: &Range<u32>) -> Option<(u32, &[Encoded])> {
        if bucket.is_empty() {
            return Some((bucket.start, &[]));
        }
        let guess = self.guess(chunk, bucket);
        let page = guess / PER_PAGE;
        let (entries, _) = self.pages.near(page.into())?.as_chunks::<INDEX_ENTRY_LEN>();
        let first = page * PER_PAGE;
        let start = bucket.start.max(first);
        let end = bucket.end.min(first + PER_PAGE);
        let entries = entries.get((start - first) as usize..(end - first) as usize)?;
        let mut at = (guess - start) as usize;
        let head = head(chunk.as_bytes());
        if is_below(entries.get(at)?, head, chunk) {
            at += 1;
            while at < entries.len() && is_below(&entries[at], head, chunk) {
                at += 1;
            }
            if at == entries.len() && end < bucket.end {
                return None;
            }
        } else {
            while at > 0 && !is_below(&entries[at - 1], head, chunk) {
                at -= 1;
            }
            if at == 0 && start > bucket.start {
                return None;
            }
        }
        Some((start + at as u32, &entries[at..]))
    }

    /// The first entry of a bucket that is not below `chunk`. Ids are spread evenly, so a guess by
    /// proportion is off by an entry or two; from there the steps double. A bucket that somebody
    /// filled on purpose costs a logarithm, no more.
    fn lower_bound(
        &self,
        entries: &mut Entries<'_>,
        chunk: ChunkId,
        bucket: Range<u32>,
    ) -> Result<u32> {
        if bucket.is_empty() {
            return Ok(bucket.start);
        }
        let guess = self.guess(chunk, &bucket);
        let near = if entries.is_below(guess, chunk)? {
            entries.climb(chunk, guess + 1..bucket.end)?
        } else {
            entries.descend(chunk, bucket.start..guess)?
        };
        entries.bisect(chunk, near)
    }

    /// Where `chunk` should lie in a bucket that is not empty.
    fn guess(&self, chunk: ChunkId, bucket: &Range<u32>) -> u32 {
        let in_bucket = head(chunk.as_bytes()) << self.fanout_bits;
        let len = u64::from(bucket.end - bucket.start);
        bucket.start + ((u128::from(in_bucket) * u128::from(len)) >> 64) as u32
    }
}

/// The entries of a segment, of which one page is at hand: a bucket lies in one or two.
struct Entries<'a> {
    pages: &'a Pages,
    page: Option<(u32, BodyRef<'a>)>,
}

impl Entries<'_> {
    /// Narrows `range`, which may begin below `chunk`, from its start upwards.
    fn climb(&mut self, chunk: ChunkId, mut range: Range<u32>) -> Result<Range<u32>> {
        let mut step = 1;
        while range.end - range.start > step {
            let probe = range.start + step - 1;
            if !self.is_below(probe, chunk)? {
                return Ok(range.start..probe);
            }
            range.start = probe + 1;
            step = step.saturating_mul(2);
        }
        Ok(range)
    }

    /// Narrows `range`, which may end above `chunk`, from its end downwards.
    fn descend(&mut self, chunk: ChunkId, mut range: Range<u32>) -> Result<Range<u32>> {
        let mut step = 1;
        while range.end - range.start > step {
            let probe = range.end - step;
            if self.is_below(probe, chunk)? {
                return Ok(probe + 1..range.end);
            }
            range.end = probe;
            step = step.saturating_mul(2);
        }
        Ok(range)
    }

    fn bisect(&mut self, chunk: ChunkId, mut range: Range<u32>) -> Result<u32> {
        while !range.is_empty() {
            let middle = range.start + (range.end - range.start) / 2;
            if self.is_below(middle, chunk)? {
                range.start = middle + 1;
            } else {
                range.end = middle;
            }
        }
        Ok(range.start)
    }

    fn is_below(&mut self, number: u32, chunk: ChunkId) -> Result<bool> {
        Ok(is_below(self.at(number)?, head(chunk.as_bytes()), chunk))
    }

    /// An entry as it is stored.
    #[inline]
    fn at(&mut self, number: u32) -> Result<&Encoded> {
        let (page, slot) = (number / PER_PAGE, number % PER_PAGE);
        if self.page.as_ref().is_none_or(|(at_hand, _)| *at_hand != page) {
            self.page = None;
        }
        let body = match &mut self.page {
            Some((_, body)) => body,
            none => &mut none.insert((page, self.pages.body(page.into())?)).1,
        };
        let (entries, _) = body.as_chunks::<INDEX_ENTRY_LEN>();
        Ok(&entries[slot as usize])
    }
}

#[inline]
fn is_of(entry: &Encoded, chunk: ChunkId) -> bool {
    // As an array: no call for 32 bytes.
    IndexEntry::chunk_bytes(entry).first_chunk() == Some(chunk.as_bytes())
}

/// Whether an entry comes before all of `chunk`, whose head that is.
#[inline]
fn is_below(entry: &Encoded, head_of_chunk: u64, chunk: ChunkId) -> bool {
    let stored = IndexEntry::chunk_bytes(entry);
    // The first bytes nearly always decide, and comparing them as a number keeps the processor
    // from waiting for this entry before it asks the memory for the next.
    let heads = head(stored).cmp(&head_of_chunk);
    heads.then_with(|| stored.cmp(chunk.as_bytes())) == Ordering::Less
}

/// The first 8 bytes of an id, as a number that ascends with the ids.
#[inline]
fn head(id: &[u8]) -> u64 {
    id.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}
