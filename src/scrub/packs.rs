//! One pack: its bytes against its name, its entries against what they say of themselves, its table
//! against the index.

use crate::base::cancel::Cancel;
use crate::base::id::ChunkId;
use crate::crypto::Sealing;
use crate::error::Result;
use crate::format::lists::DamagedCopy;
use crate::format::location::Location;
use crate::format::pack::TableRow;
use crate::index::lookup::Index;
use crate::monitor::Monitor;
use crate::pack;
use crate::scrub::ScrubLevel;
use crate::scrub::bytes::{Bytes, PackReading};
use crate::scrub::health::PackDamage;
use crate::scrub::listing::{Indexed, ListedPack};
use crate::scrub::objects::damage;
use crate::scrub::proof::EntryProof;
use crate::scrub::report::Finding;
use crate::store::Store;

/// What the checks of all packs share.
pub(super) struct PackChecks<'a> {
    pub(super) store: &'a dyn Store,
    pub(super) sealing: &'a Sealing,
    pub(super) monitor: &'a dyn Monitor,
    pub(super) index: &'a Index,
    /// Whether all of the index can be read, so that what it does not show is not in it.
    pub(super) is_index_whole: bool,
    pub(super) level: ScrubLevel,
    pub(super) cancel: &'a Cancel,
}

/// What was found out about a pack.
#[derive(Debug, Default)]
pub(super) struct PackReport {
    /// Entries that were decoded.
    pub(super) entries: u64,
    /// Sum of their plain lengths, in bytes.
    pub(super) plain_bytes: u64,
    /// Whether it was read wrong at first.
    pub(super) was_misread: bool,
    /// What is wrong with it.
    pub(super) damage: Option<PackFault>,
}

/// What is wrong with a pack.
#[derive(Debug)]
pub(super) struct PackFault {
    /// In words.
    pub(super) problem: String,
    /// What can still be read of it through the index.
    pub(super) rest: PackDamage,
    /// Damaged entries that its table names and the index does not.
    pub(super) unindexed: Vec<Finding>,
}

/// Checks packs, one after the other. Keeps its buffers; make one per thread.
pub(super) struct PackChecker<'a> {
    checks: &'a PackChecks<'a>,
    proof: EntryProof,
    bytes: Vec<u8>,
}

/// What was found out about the entries of a pack.
#[derive(Default)]
struct Tally {
    entries: u64,
    plain_bytes: u64,
    /// Entries that are in the index just so, damaged ones too.
    indexed: u64,
    damaged: u64,
    report: Vec<Finding>,
    good: Vec<ChunkId>,
    bad: Vec<ChunkId>,
}

impl<'a> PackChecker<'a> {
    pub(super) fn new(checks: &'a PackChecks<'a>) -> Result<Self> {
        Ok(Self { checks, proof: EntryProof::new(checks.sealing)?, bytes: Vec::new() })
    }

    /// Checks a pack of which the index says `indexed`. [`crate::error::ErrorKind::NotFound`] if
    /// it has vanished.
    pub(super) fn check(&mut self, listed: ListedPack, indexed: Indexed) -> Result<PackReport> {
        let mut report = PackReport::default();
        let PackChecks { store, monitor, cancel, .. } = *self.checks;
        let reading = PackReading { store, monitor, cancel };
        let is_index_right = indexed.end <= listed.len_bytes;
        let are_entries_wanted = self.checks.level >= ScrubLevel::Chunks || !is_index_right;
        let (bytes, was_misread) = match are_entries_wanted {
            true => reading.read(listed, &mut self.bytes)?,
            false => reading.compare(listed, &mut self.bytes)?,
        };
        report.was_misread = was_misread;
        let problem = match bytes {
            Bytes::Intact if !are_entries_wanted => return Ok(report),
            damaged => damaged.problem(),
        };
        let tally = self.check_entries(listed, problem.is_none())?;
        report.entries = tally.entries;
        report.plain_bytes = tally.plain_bytes;
        let problem = problem.or_else(|| match tally.damaged {
            0 if tally.indexed == indexed.entries || !self.checks.is_index_whole => None,
            0 => Some("the index names entries that the pack does not hold".to_owned()),
            count => Some(format!("{count} of its entries cannot be read")),
        });
        report.damage = problem.map(|problem| {
            let unindexed = tally.report;
            PackFault { problem, rest: all_but(tally.good, tally.bad), unindexed }
        });
        Ok(report)
    }

    /// Decodes every entry. Of a pack whose table is gone these are what look like entries, and
    /// only what can be decoded is one.
    fn check_entries(&mut self, listed: ListedPack, is_intact: bool) -> Result<Tally> {
        let (sealing, bytes) = (self.checks.sealing, std::mem::take(&mut self.bytes));
        let (rows, has_table) = match pack::parse_pack(sealing, listed.id, &bytes) {
            Ok(contents) => (contents.rows, true),
            Err(error) if is_intact => {
                damage(error)?;
                (pack::scan_entries(sealing, &bytes), false)
            }
            Err(_) => (pack::scan_entries(sealing, &bytes), false),
        };
        // An intact pack without a table was never a pack.
        let mut tally = Tally { damaged: u64::from(is_intact && !has_table), ..Tally::default() };
        for row in &rows {
            let is_good = self.proof.is_good(row, &bytes);
            let is_indexed = self.is_indexed(listed, row);
            tally.add(listed, row, is_good, is_indexed, has_table);
        }
        self.bytes = bytes;
        Ok(tally)
    }

    /// Whether the index has the row just so. Where a damaged page of it hides that, the page is
    /// the finding.
    fn is_indexed(&self, listed: ListedPack, row: &TableRow) -> bool {
        let TableRow { chunk, offset, entry_len, plain_len, kind } = *row;
        let location = Location { pack: listed.id, offset, entry_len, plain_len, kind };
        self.checks.index.locations(chunk).map_or(true, |found| found.contains(&location))
    }
}

impl Tally {
    fn add(
        &mut self,
        listed: ListedPack,
        row: &TableRow,
        is_good: bool,
        is_indexed: bool,
        has_table: bool,
    ) {
        self.indexed += u64::from(is_indexed);
        if is_good {
            self.entries += 1;
            self.plain_bytes += u64::from(row.plain_len);
            if is_indexed {
                self.good.push(row.chunk);
            }
            return;
        }
        // What only looked like an entry is none, and missed only where the index has it.
        if !has_table {
            return;
        }
        self.damaged += 1;
        self.bad.push(row.chunk);
        if !is_indexed {
            self.report.push(Finding::DamagedChunk {
                copy: DamagedCopy { pack: listed.id, chunk: row.chunk },
                kind: row.kind,
                offset_bytes: row.offset,
                plain_len: row.plain_len,
                good_copies: 0,
            });
        }
    }
}

/// A chunk that is twice in a pack is good only if both are: readers may take either.
fn all_but(mut good: Vec<ChunkId>, mut bad: Vec<ChunkId>) -> PackDamage {
    bad.sort_unstable();
    good.retain(|chunk| bad.binary_search(chunk).is_err());
    good.sort_unstable();
    good.dedup();
    PackDamage::AllBut(good)
}
