//! Writes one segment, entry by entry, in memory that does not grow with the entries.

use crate::base::id::{PackId, RepoId, SegmentId};
use crate::crypto::Sealing;
use crate::error::{Error, ErrorKind, Result};
use crate::format::layout::ObjectName;
use crate::format::segment::{FANOUT_BITS_MAX, IndexEntry, SegmentFooter, bucket};
use crate::index::page_writer::PageWriter;
use crate::store::Store;

/// Entries that a bucket of the fan-out holds at most, where ids are spread evenly.
///
/// They lie in one page or two, and the fan-out takes a quarter of a byte per entry.
const ENTRIES_PER_BUCKET: u64 = 16;

/// A segment that is being written. Dropping it leaves no trace.
///
/// Holds the fan-out in memory: 4 bytes per bucket, which is 32 MiB for 100 million entries.
pub struct SegmentWriter {
    pages: PageWriter,
    repo: RepoId,
    fanout_bits: u8,
    /// For every bucket so far, its first entry.
    fanout: Vec<u32>,
    entry_count: u32,
    last: Option<IndexEntry>,
    /// One more than the highest pack number so far.
    pack_numbers_end: u64,
}

impl SegmentWriter {
    /// Begins a segment of the repository that is sealed so.
    ///
    /// `entries_at_most` sizes the fan-out. Fewer or more entries cost speed, not correctness.
    pub fn new(store: &dyn Store, sealing: &Sealing, entries_at_most: u64) -> Result<Self> {
        let fanout_bits = fanout_bits(entries_at_most);
        Ok(Self {
            pages: PageWriter::new(store.stage()?, sealing.new_segment()),
            repo: sealing.repo(),
            fanout_bits,
            fanout: Vec::with_capacity((1 << fanout_bits) + 1),
            entry_count: 0,
            last: None,
            pack_numbers_end: 0,
        })
    }

    /// Appends an entry. [`ErrorKind::Unsupported`] once there are as many as a segment can hold.
    ///
    /// # Panics
    ///
    /// If the entries do not ascend by chunk, then pack number, then offset.
    pub fn push(&mut self, entry: &IndexEntry) -> Result<()> {
        let ascends = self.last.is_none_or(|last| order(&last) < order(entry));
        assert!(ascends, "the entries of a segment come in order and once");
        let Some(count) = self.entry_count.checked_add(1) else {
            return Err(too_many("entries"));
        };
        self.begin_buckets(bucket(entry.chunk, self.fanout_bits) as usize + 1);
        self.pages.record(&entry.encode())?;
        self.entry_count = count;
        self.pack_numbers_end = self.pack_numbers_end.max(u64::from(entry.pack_number) + 1);
        self.last = Some(*entry);
        Ok(())
    }

    /// Lets all buckets below `end` that have not begun yet begin at the next entry.
    fn begin_buckets(&mut self, end: usize) {
        if self.fanout.len() < end {
            self.fanout.resize(end, self.entry_count);
        }
    }

    /// Publishes the segment and returns once it is durable. That a segment of the same bytes
    /// exists already is fine.
    ///
    /// `packs` is what the pack numbers of the entries count in; `superseded` are the segments
    /// that this one replaces.
    ///
    /// # Panics
    ///
    /// If an entry has a pack number beyond `packs`.
    pub fn finish(mut self, packs: &[PackId], superseded: &[SegmentId]) -> Result<SegmentId> {
        assert!(self.pack_numbers_end <= packs.len() as u64, "every pack number has a pack");
        let footer = self.footer(packs, superseded)?;
        self.section(packs.iter().map(PackId::as_bytes))?;
        self.begin_buckets(footer.fanout_len() as usize);
        let fanout = std::mem::take(&mut self.fanout);
        self.section(fanout.iter().map(|first| first.to_le_bytes()))?;
        self.section(superseded.iter().map(SegmentId::as_bytes))?;
        let (staged, hash) = self.pages.finish(&footer.encode())?;
        let id = SegmentId::from_bytes(hash);
        let _created_or_the_same = staged.publish(&ObjectName::segment(id))?;
        Ok(id)
    }

    fn footer(&self, packs: &[PackId], superseded: &[SegmentId]) -> Result<SegmentFooter> {
        let number = |len: usize, of| u32::try_from(len).map_err(|_| too_many(of));
        Ok(SegmentFooter {
            repo: self.repo,
            entry_count: self.entry_count,
            pack_count: number(packs.len(), "packs")?,
            superseded_count: number(superseded.len(), "superseded segments")?,
            fanout_bits: self.fanout_bits,
            seal: self.pages.seal(),
        })
    }

    /// Ends the section before, then writes another one.
    fn section<R: AsRef<[u8]>>(&mut self, records: impl Iterator<Item = R>) -> Result<()> {
        self.pages.end_section()?;
        for record in records {
            self.pages.record(record.as_ref())?;
        }
        self.pages.end_section()
    }
}

/// What entries are sorted by.
pub(super) fn order(entry: &IndexEntry) -> (&[u8; 32], u32, u32) {
    (entry.chunk.as_bytes(), entry.pack_number, entry.offset)
}

/// The fewest bits that leave no more than [`ENTRIES_PER_BUCKET`] entries to a bucket.
fn fanout_bits(entries: u64) -> u8 {
    (0..FANOUT_BITS_MAX)
        .find(|bits| ENTRIES_PER_BUCKET << bits >= entries)
        .unwrap_or(FANOUT_BITS_MAX)
}

fn too_many(of: &'static str) -> Error {
    let what = format!("an index segment cannot hold more than {} {of}", u32::MAX);
    Error::new(ErrorKind::Unsupported, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fanout_grows_with_the_entries_up_to_its_limit() {
        let bits = [0, 16, 17, 32, 33, 100_000_000, u64::MAX].map(fanout_bits);
        assert_eq!(bits, [0, 0, 1, 1, 2, 23, FANOUT_BITS_MAX]);
    }
}
