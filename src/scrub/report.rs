//! What a scrub found.

use std::fmt;
use std::ops::Range;

use crate::base::clock::UtcTime;
use crate::base::id::{PackId, PointId};
use crate::error::Error;
use crate::format::entry::EntryKind;
use crate::format::lists::DamagedCopy;
use crate::scrub::ScrubLevel;

/// Findings, affected disks and byte ranges that a report names, each; the rest is counted. A
/// repository that is wholly damaged must not fill the memory with the news of it.
pub(super) const NAMED_MAX: usize = 10_000;

/// One thing that is not as it was stored.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Finding {
    /// A small object or an index segment is damaged or missing.
    Object {
        /// Its name: the path below the repository's root.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A pack that the index names is not there.
    MissingPack {
        /// The pack.
        pack: PackId,
        /// Entries that the index has in it.
        entries: u64,
    },
    /// A pack is not what its name says. What that does to its chunks are findings of their own.
    DamagedPack {
        /// The pack.
        pack: PackId,
        /// What is wrong with it.
        problem: String,
    },
    /// A stored copy of a chunk or map node cannot be read.
    DamagedChunk {
        /// The copy.
        copy: DamagedCopy,
        /// What it is.
        kind: EntryKind,
        /// First byte of its entry, from the start of the pack.
        offset_bytes: u32,
        /// Length of the plain bytes.
        plain_len: u32,
        /// Other copies of it that are good.
        good_copies: usize,
    },
}

impl Finding {
    /// The finding that `error` tells of `name`.
    pub(super) fn object(name: impl fmt::Display, error: &Error) -> Self {
        Self::Object { name: name.to_string(), problem: error.chain() }
    }
}

/// A disk of a restore point that cannot be read in full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AffectedDisk {
    /// The VM.
    pub vm: String,
    /// The restore point.
    pub point: PointId,
    /// When it was made.
    pub time: UtcTime,
    /// The disk.
    pub disk: String,
    /// Bytes of the disk that cannot be read.
    pub bytes: u64,
    /// Where they lie, in bytes from the start of the disk: ascending, apart from each other.
    pub ranges: Vec<Range<u64>>,
    /// Ranges that are not in `ranges` because there are too many.
    pub ranges_omitted: u64,
    /// What is wrong with the first of them.
    pub cause: String,
}

/// What became of the list of damaged copies, from which the next backup learns what to store
/// again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Recording {
    /// There was nothing to write down that was not written down before.
    #[default]
    NothingNew,
    /// Written down.
    Recorded {
        /// Copies of chunks.
        copies: u64,
        /// Packs that are missing or of which nothing can be read.
        packs: u64,
    },
    /// Nothing was written down, because that needs keys and there were none.
    WithoutKeys,
    /// It could not be written down: a read-only medium, say. The next backup will take damaged
    /// copies for good ones.
    Failed {
        /// Why.
        problem: String,
    },
}

/// How much a scrub has looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ScrubCounts {
    /// Small objects that were read.
    pub objects: u64,
    /// Index segments.
    pub segments: u64,
    /// Entries of the index; every copy counts.
    pub index_entries: u64,
    /// Packs that are there.
    pub packs: u64,
    /// Sum of their lengths, in bytes.
    pub pack_bytes: u64,
    /// Chunks and map nodes that were decoded; every copy counts.
    pub chunks: u64,
    /// Sum of their plain lengths, in bytes.
    pub chunk_bytes: u64,
    /// Restore points.
    pub points: u64,
    /// Disks whose maps were walked.
    pub disks: u64,
    /// Packs that the index does not name: of a running or interrupted backup, or the index has
    /// lost them, and rebuilding it finds them again. No damage.
    pub unindexed_packs: u64,
    /// Packs that were read wrong at first and right when they were read again. Nothing is wrong
    /// with what is stored, but perhaps with this machine's memory, cables or controllers.
    pub misread_packs: u64,
}

/// What a scrub found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScrubReport {
    /// How deep it looked.
    pub level: ScrubLevel,
    /// How much it looked at.
    pub counts: ScrubCounts,
    /// What is damaged.
    pub findings: Vec<Finding>,
    /// Findings that are not in `findings` because there are too many.
    pub findings_omitted: u64,
    /// What cannot be read any more, by the order of VMs and restore points. Damage of which there
    /// is another, good copy affects nothing.
    pub affected: Vec<AffectedDisk>,
    /// Disks that are not in `affected` because there are too many.
    pub affected_omitted: u64,
    /// Whether the next backup will know of the damage.
    pub recording: Recording,
    /// Duration, in milliseconds.
    pub duration_ms: u64,
}

impl ScrubReport {
    /// Whether everything that was looked at is as it was stored.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty() && self.affected.is_empty()
    }
}

/// A list that names so many and counts the rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named<T> {
    /// Those that are named.
    pub list: Vec<T>,
    /// How many more there are.
    pub omitted: u64,
}

impl<T> Default for Named<T> {
    fn default() -> Self {
        Self { list: Vec::new(), omitted: 0 }
    }
}

impl<T> Named<T> {
    /// Names `value`, or counts it.
    pub fn push(&mut self, value: T) {
        if self.list.len() < NAMED_MAX {
            self.list.push(value);
        } else {
            self.omitted += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_much_to_name_is_counted() {
        let mut named = Named::default();
        (0..NAMED_MAX + 3).for_each(|number| named.push(number));
        assert_eq!((named.list.len(), named.omitted), (NAMED_MAX, 3));
    }
}
