//! Finds the first entry of a chunk.

use std::cmp::Ordering;
use std::ops::Range;

use crate::base::id::ChunkId;
use crate::error::Result;
use crate::format::segment::{FANOUT_PER_PAGE, INDEX_ENTRY_LEN, IndexEntry, bucket};
use crate::index::page::Pages;

/// What a search needs to know of a segment.
pub(super) struct Search<'a> {
    pub(super) pages: &'a Pages,
    pub(super) fanout_page: u64,
    pub(super) fanout_bits: u8,
    pub(super) entry_count: u32,
}

impl Search<'_> {
    /// The number of the first entry whose chunk is not below `chunk`, and the number after the
    /// last entry that can be one of `chunk`. They are equal if there is none.
    pub(super) fn first(&self, chunk: ChunkId) -> Result<(u32, u32)> {
        let bucket = self.bucket(chunk)?;
        let end = bucket.end;
        Ok((self.lower_bound(chunk, bucket)?, end))
    }

    /// Says that the bucket of `chunk` will be asked for soon.
    pub(super) fn will_need_fanout(&self, chunk: ChunkId) {
        self.pages.will_need::<4>(self.fanout_page, bucket(chunk, self.fanout_bits));
    }

    /// Says that the entries where `chunk` should lie will be looked at soon. Reads the fan-out.
    pub(super) fn will_need_entry(&self, chunk: ChunkId) {
        let Ok(bucket) = self.bucket(chunk) else { return };
        if !bucket.is_empty() {
            let guess = self.guess(chunk, &bucket);
            self.pages.will_need::<INDEX_ENTRY_LEN>(0, u64::from(guess));
        }
    }

    /// The entries of the bucket of `chunk`; never beyond the last entry.
    fn bucket(&self, chunk: ChunkId) -> Result<Range<u32>> {
        let number = bucket(chunk, self.fanout_bits);
        let start = self.fanout(number)?;
        let end = self.fanout(number + 1)?;
        if start > end || end > self.entry_count {
            let what = "the fan-out of the index segment does not ascend";
            let page = self.fanout_page + number / FANOUT_PER_PAGE as u64;
            return Err(self.pages.damaged(what, page));
        }
        Ok(start..end)
    }

    fn fanout(&self, number: u64) -> Result<u32> {
        Ok(u32::from_le_bytes(self.pages.record(self.fanout_page, number)?))
    }

    /// Ids are spread evenly, so a guess by proportion is off by an entry or two; from there the
    /// steps double. A bucket that somebody filled on purpose costs a logarithm, no more.
    fn lower_bound(&self, chunk: ChunkId, bucket: Range<u32>) -> Result<u32> {
        if bucket.is_empty() {
            return Ok(bucket.start);
        }
        let guess = self.guess(chunk, &bucket);
        let near = if self.is_below(guess, chunk)? {
            self.climb(chunk, guess + 1..bucket.end)?
        } else {
            self.descend(chunk, bucket.start..guess)?
        };
        self.bisect(chunk, near)
    }

    /// Where `chunk` should lie in a bucket that is not empty.
    fn guess(&self, chunk: ChunkId, bucket: &Range<u32>) -> u32 {
        let in_bucket = head(chunk.as_bytes()) << self.fanout_bits;
        let len = u64::from(bucket.end - bucket.start);
        bucket.start + ((u128::from(in_bucket) * u128::from(len)) >> 64) as u32
    }

    /// Narrows `range`, which may begin below `chunk`, from its start upwards.
    fn climb(&self, chunk: ChunkId, mut range: Range<u32>) -> Result<Range<u32>> {
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
    fn descend(&self, chunk: ChunkId, mut range: Range<u32>) -> Result<Range<u32>> {
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

    fn bisect(&self, chunk: ChunkId, mut range: Range<u32>) -> Result<u32> {
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

    fn is_below(&self, number: u32, chunk: ChunkId) -> Result<bool> {
        let entry = self.pages.record::<INDEX_ENTRY_LEN>(0, u64::from(number))?;
        let stored = IndexEntry::chunk_bytes(&entry);
        // The first bytes nearly always decide, and comparing them as a number keeps the processor
        // from waiting for this entry before it asks the memory for the next.
        let heads = head(stored).cmp(&head(chunk.as_bytes()));
        Ok(heads.then_with(|| stored.cmp(chunk.as_bytes())) == Ordering::Less)
    }
}

/// The first 8 bytes of an id, as a number that ascends with the ids.
fn head(id: &[u8]) -> u64 {
    id.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}
