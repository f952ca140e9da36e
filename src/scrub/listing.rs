//! The lists against each other: what the index names, and which packs are there.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;

use crate::base::id::PackId;
use crate::base::limits::PACK_BYTES_MAX;
use crate::base::sync::lock;
use crate::error::{Error, ErrorKind, Result};
use crate::format::layout::{Area, ObjectName};
use crate::format::pack::{PACK_FOOTER_LEN, PACK_HEADER_LEN};
use crate::index::lookup::Index;
use crate::monitor::Monitor;
use crate::repo::Repository;
use crate::scrub::ScrubLevel;
use crate::scrub::health::{Health, PackDamage};
use crate::scrub::objects::damage;
use crate::scrub::report::{Finding, Named, ScrubCounts};

/// What the index says of a pack.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Indexed {
    /// Entries that it has in the pack, each once.
    pub(super) entries: u64,
    /// Where the last of them ends, in bytes from the start of the pack.
    pub(super) end: u64,
}

/// A pack that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ListedPack {
    pub(super) id: PackId,
    pub(super) len_bytes: u64,
}

/// The index, and what it says of every pack.
pub(super) struct Contents {
    pub(super) index: Index,
    pub(super) packs: HashMap<PackId, Indexed>,
    /// Whether all of it could be read.
    pub(super) is_whole: bool,
}

/// Reads the whole index, page by page, and from level `hash` on compares segments with their
/// names.
pub(super) fn read_index(
    repo: &Repository,
    level: ScrubLevel,
    findings: &mut Named<Finding>,
    counts: &mut ScrubCounts,
) -> Result<Contents> {
    let problems = Problems::default();
    let index = Index::load(&**repo.store(), repo.sealing(), &problems)?;
    let mut problems = problems.take();
    counts.segments = (index.segment_count() + index.damaged_segments().len()) as u64;
    let mut packs: HashMap<PackId, Indexed> = HashMap::new();
    for entry in index.entries() {
        let (_, location) = match entry {
            Ok(entry) => entry,
            Err(error) => {
                problems.push(error);
                continue;
            }
        };
        counts.index_entries += 1;
        let pack = packs.entry(location.pack).or_default();
        pack.entries += 1;
        pack.end = pack.end.max(u64::from(location.offset) + u64::from(location.entry_len));
    }
    if level >= ScrubLevel::Hash {
        let checks = index.segments().iter().map(|segment| segment.check());
        problems.extend(checks.filter_map(Result::err));
    }
    let is_whole = problems.is_empty();
    for error in problems {
        let error = damage(error)?;
        findings.push(Finding::object(segment_of(&error), &error));
    }
    Ok(Contents { index, packs, is_whole })
}

/// The name of the segment that an error of the index is about.
fn segment_of(error: &Error) -> String {
    let leaf = error.path().and_then(|path| path.file_name()).and_then(|leaf| leaf.to_str());
    let name = leaf.and_then(|leaf| ObjectName::listed(Area::Index, leaf));
    name.map_or_else(|| Area::Index.directory().to_owned(), |name| name.to_string())
}

/// Collects what an index says of its segments.
#[derive(Default)]
struct Problems(Mutex<Vec<Error>>);

impl Problems {
    fn take(&self) -> Vec<Error> {
        std::mem::take(&mut lock(&self.0))
    }
}

impl Monitor for Problems {
    fn phase(&self, _name: &str, _total_bytes: Option<u64>) {}

    fn advance(&self, _bytes: u64) {}

    fn problem(&self, problem: &Error) {
        let copy = Error::new(problem.kind(), problem.chain());
        let copy = match problem.path() {
            Some(path) => copy.at(path),
            None => copy,
        };
        lock(&self.0).push(copy);
    }
}

/// The packs that are there, with their lengths. One that vanishes meanwhile is left out; one
/// whose length cannot be is noted as damaged.
pub(super) fn list_packs(
    repo: &Repository,
    contents: &Contents,
    health: &mut Health,
    counts: &mut ScrubCounts,
) -> Result<Vec<ListedPack>> {
    let mut listed = Vec::new();
    for name in repo.store().list(Area::Packs)? {
        let Some(id) = name.pack_id() else { continue };
        let len_bytes = match repo.store().len_bytes(&name) {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) if error.kind() == ErrorKind::Corrupt => 0,
            len => len?,
        };
        let indexed = contents.packs.get(&id);
        if !is_plausible(len_bytes, indexed) {
            health.damaged.insert(id, PackDamage::Cut(len_bytes));
        }
        health.listed.insert(id);
        counts.unindexed_packs += u64::from(indexed.is_none());
        counts.packs += 1;
        counts.pack_bytes += len_bytes;
        listed.push(ListedPack { id, len_bytes });
    }
    listed.sort_unstable_by_key(|pack| pack.id);
    Ok(listed)
}

fn is_plausible(len_bytes: u64, indexed: Option<&Indexed>) -> bool {
    let end = indexed.map_or(PACK_HEADER_LEN as u64, |indexed| indexed.end);
    (end + PACK_FOOTER_LEN as u64..=PACK_BYTES_MAX as u64).contains(&len_bytes)
}

/// Of packs that the index names and that were not seen, those that are missing: the index as it
/// is now still names them, and they are still not there. What a prune deleted is not missing,
/// because the index lost it before.
pub(super) fn confirm_missing(
    repo: &Repository,
    contents: &Contents,
    mut unseen: Vec<PackId>,
) -> Result<Vec<PackId>> {
    if unseen.is_empty() {
        return Ok(unseen);
    }
    let index = contents.index.reload(&**repo.store(), &Problems::default())?;
    let named: HashSet<PackId> = index
        .segments()
        .iter()
        .flat_map(|segment| segment.packs())
        .filter_map(Result::ok)
        .collect();
    unseen.retain(|pack| named.contains(pack));
    let mut missing = Vec::new();
    for pack in unseen {
        match repo.store().len_bytes(&ObjectName::pack(pack)) {
            Err(error) if error.kind() == ErrorKind::NotFound => missing.push(pack),
            // It came back, or came late: what is in it is read when it is needed.
            _ => {}
        }
    }
    missing.sort_unstable();
    missing.dedup();
    Ok(missing)
}
