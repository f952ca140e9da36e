//! Makes the index anew from the packs, which describe themselves, and catalogues from the commits.
//!
//! | step | what | if the machine stops after it |
//! |---|---|---|
//! | 1 | register a session, look for a prune at work | a dead registration |
//! | 2 | list segments, then packs; read tables, scan torn packs | as 1 |
//! | 3 | publish segments in batches | entries that are there twice |
//! | 4 | publish the last one in place of what step 2 listed | old segments, ignored |
//! | 5 | delete those | as 2 |
//! | 6 | make catalogues anew from the commits, delete the old ones | nothing is left to do |
//!
//! Segments are listed before packs, so whatever a listed segment names was there when packs were
//! listed. Segments that come later are left alone. A prune that begins later waits for this
//! session before it takes packs out of the index, so none of them is put back.

use std::collections::{BTreeSet, HashSet};
use std::time::Instant;

use crate::base::cancel::Cancel;
use crate::base::id::{ChunkId, PackId, SegmentId};
use crate::base::limits::{PACK_BYTES_MAX, PENDING_ENTRIES_MAX};
use crate::base::pack_set::PackSet;
use crate::chunk::ChunkDecoder;
use crate::error::{Error, ErrorKind, Result};
use crate::format::layout::{Area, ObjectName};
use crate::format::location::Location;
use crate::format::pack::TableRow;
use crate::format::session::SessionKind;
use crate::index::builder::{publish_replacement, publish_segment};
use crate::index::lookup::Index;
use crate::index::merge::{merge, merge_due};
use crate::pack;
use crate::repo::alone::check_not_repaired;
use crate::repo::catalogue::rebuild_catalogues;
use crate::repo::session::read_unusable;
use crate::repo::{Registration, Repository};

/// What became of a rebuild.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RebuildReport {
    /// Packs that are there.
    pub packs: u64,
    /// Entries that the new index has; every copy counts.
    pub entries: u64,
    /// Packs whose table is damaged. Their entries were found by scanning, and each was decoded.
    pub torn_packs: Vec<PackId>,
    /// Packs in which nothing was found.
    pub unreadable_packs: Vec<PackId>,
    /// Commits that new catalogues hold; none where there are only a few.
    pub catalogued_commits: u64,
    /// Segments that were replaced and deleted.
    pub replaced_segments: u64,
    /// Whether the old segments were kept because the medium did not let all packs be read: they
    /// may know entries that can be read another time.
    pub kept_old_segments: bool,
    /// Duration, in milliseconds.
    pub duration_ms: u64,
}

/// Makes the index and the catalogues of commits anew. What they had from before is used for
/// nothing, so it may be damaged or gone.
///
/// Torn and unreadable packs are reported to the repository's monitor, too.
///
/// # Errors
///
/// [`ErrorKind::Busy`] while a prune deletes packs or a repair is at work,
/// [`ErrorKind::Cancelled`]; then the old index is still in use.
pub fn rebuild_index(repo: &Repository, cancel: &Cancel) -> Result<RebuildReport> {
    rebuild_in_batches(repo, cancel, PENDING_ENTRIES_MAX, &Old::Delete)
}

/// The same for a repair, which is alone at work: packs that it is about to take away are left out,
/// and old segments are moved to the quarantine.
///
/// # Errors
///
/// As [`rebuild_index`], and [`ErrorKind::Io`] where the medium did not let all other packs be
/// read: then the old index is still in use, too.
pub fn rebuild_index_without(
    repo: &Repository,
    cancel: &Cancel,
    packs: &HashSet<PackId>,
) -> Result<RebuildReport> {
    let old = Old::SetAside { without: packs };
    let report = rebuild_in_batches(repo, cancel, PENDING_ENTRIES_MAX, &old)?;
    if report.kept_old_segments {
        let what = "the medium does not let all packs be read, so the old index stays";
        return Err(Error::new(ErrorKind::Io, what));
    }
    Ok(report)
}

/// What becomes of the old index.
enum Old<'a> {
    /// It is deleted.
    Delete,
    /// It goes to the quarantine, and the new one leaves these packs out.
    SetAside { without: &'a HashSet<PackId> },
}

/// The same with segments of about that many entries, which bound the memory.
fn rebuild_in_batches(
    repo: &Repository,
    cancel: &Cancel,
    batch_entries: usize,
    of_old: &Old<'_>,
) -> Result<RebuildReport> {
    let began = Instant::now();
    let registration = begin(repo)?;
    if matches!(of_old, Old::Delete) {
        check_not_repaired(&**repo.store())?;
    }
    let mut rebuild = Rebuild {
        repo,
        cancel,
        batch_entries,
        of_old,
        pending: Vec::new(),
        published: BTreeSet::new(),
        is_complete: true,
        report: RebuildReport::default(),
    };
    let rebuilt = rebuild.run().and_then(|()| match of_old {
        Old::Delete => rebuild_catalogues(repo),
        Old::SetAside { .. } => Ok(0),
    });
    drop(registration);
    rebuild.report.catalogued_commits = rebuilt?;
    rebuild.report.duration_ms = began.elapsed().as_millis() as u64;
    Ok(rebuild.report)
}

/// Registers the rebuild, so that a prune waits for it. A prune that has published its list before
/// does not.
fn begin(repo: &Repository) -> Result<Registration> {
    let registration = Registration::begin(repo, SessionKind::Rebuild, None)?;
    let store = repo.store();
    for list in store.list(Area::Condemned)? {
        let Some(prune) = list.session_id() else { continue };
        if store.is_held(&ObjectName::session(prune))? {
            let what = "a prune is deleting packs; the index cannot be rebuilt beside it";
            return Err(Error::new(ErrorKind::Busy, what).at(list.to_string()));
        }
    }
    Ok(registration)
}

struct Rebuild<'a> {
    repo: &'a Repository,
    cancel: &'a Cancel,
    batch_entries: usize,
    of_old: &'a Old<'a>,
    pending: Vec<(ChunkId, Location)>,
    published: BTreeSet<SegmentId>,
    /// Whether the medium let everything be read.
    is_complete: bool,
    report: RebuildReport,
}

impl Rebuild<'_> {
    fn run(&mut self) -> Result<()> {
        let store = self.repo.store();
        let old = store.list(Area::Index)?;
        let old: BTreeSet<SegmentId> = old.iter().filter_map(ObjectName::segment_id).collect();
        let packs = store.list(Area::Packs)?;
        let mut packs: Vec<PackId> = packs.iter().filter_map(ObjectName::pack_id).collect();
        if let Old::SetAside { without } = self.of_old {
            packs.retain(|pack| !without.contains(pack));
        }
        self.repo.monitor().phase("packs", None);
        self.report.packs = packs.len() as u64;
        for pack in packs {
            if self.cancel.is_requested() {
                return Err(Error::new(ErrorKind::Cancelled, "the rebuild was interrupted"));
            }
            self.read_pack(pack)?;
            if self.pending.len() >= self.batch_entries {
                self.publish_batch()?;
            }
        }
        self.repo.monitor().phase("finishing", None);
        self.replace(&old)?;
        self.merge_segments();
        Ok(())
    }

    fn read_pack(&mut self, pack: PackId) -> Result<()> {
        let rows = match pack::read_pack(&**self.repo.store(), self.repo.sealing(), pack) {
            Ok(contents) => contents.rows,
            // Deleted since it was listed.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Io) => {
                let rows = self.scan_pack(pack)?;
                let found = match rows.len() {
                    0 => {
                        self.report.unreadable_packs.push(pack);
                        "nothing can be read of a pack".to_owned()
                    }
                    count => {
                        self.report.torn_packs.push(pack);
                        format!(
                            "the table of a pack is gone; {count} entries were found without it"
                        )
                    }
                };
                let problem =
                    Error::new(error.kind(), found).at(ObjectName::pack(pack).to_string());
                self.repo.monitor().problem(&problem.because(error));
                rows
            }
            Err(error) => return Err(error),
        };
        self.report.entries += rows.len() as u64;
        self.pending.extend(rows.into_iter().map(|row| {
            let TableRow { chunk, offset, entry_len, plain_len, kind } = row;
            (chunk, Location { pack, offset, entry_len, plain_len, kind })
        }));
        Ok(())
    }

    /// The entries of a pack without a table. Nothing vouches for them but that they decode to what
    /// they are named.
    fn scan_pack(&mut self, pack: PackId) -> Result<Vec<TableRow>> {
        let store = &**self.repo.store();
        let name = ObjectName::pack(pack);
        let len = match store.len_bytes(&name) {
            // Something that is no file has the name of a pack.
            Err(error) if error.kind() == ErrorKind::Corrupt => return Ok(Vec::new()),
            len => len?.min(PACK_BYTES_MAX as u64),
        };
        let mut bytes = vec![0; len as usize];
        if let Some(error) = pack::read_what_can_be(store, &name, 0, &mut bytes)? {
            self.is_complete &= error.kind() != ErrorKind::Io;
        }
        let mut decoder = ChunkDecoder::new(self.repo.sealing())?;
        let mut plain = Vec::new();
        let mut rows = pack::scan_entries(self.repo.sealing(), &bytes);
        rows.retain(|row| {
            let start = row.offset as usize;
            let entry = &bytes[start..start + row.entry_len as usize];
            match decoder.decode(row.chunk, entry, std::mem::take(&mut plain)) {
                Ok(chunk) => {
                    plain = chunk.into_buffer();
                    true
                }
                Err(_) => false,
            }
        });
        Ok(rows)
    }

    fn publish_batch(&mut self) -> Result<()> {
        let entries = std::mem::take(&mut self.pending);
        let id = publish_segment(&**self.repo.store(), self.repo.sealing(), entries)?;
        self.published.extend(id);
        Ok(())
    }

    /// Publishes the last batch in place of the old segments, and deletes them.
    fn replace(&mut self, old: &BTreeSet<SegmentId>) -> Result<()> {
        // A batch with the bytes of an old segment has its name, and stays.
        let replaced: Vec<SegmentId> = old.difference(&self.published).copied().collect();
        if !self.is_complete || replaced.is_empty() {
            self.report.kept_old_segments = !replaced.is_empty();
            return self.publish_batch();
        }
        let store = &**self.repo.store();
        let entries = std::mem::take(&mut self.pending);
        publish_replacement(store, self.repo.sealing(), entries, &replaced)?;
        for name in replaced.iter().copied().map(ObjectName::segment) {
            match self.of_old {
                Old::Delete => store.delete(&name)?,
                Old::SetAside { .. } => store.set_aside(&name)?,
            }
        }
        store.barrier(Area::Index)?;
        self.report.replaced_segments = replaced.len() as u64;
        Ok(())
    }

    /// Many batches make many segments. That they could not be merged is no failure of the rebuild.
    fn merge_segments(&self) {
        let store = &**self.repo.store();
        let merged = read_unusable(self.repo).and_then(|unusable| {
            let mut index = Index::load(store, self.repo.sealing(), self.repo.monitor())?;
            while let Some(inputs) = merge_due(&index, &unusable.packs) {
                merge(store, self.repo.sealing(), &inputs, &PackSet::default())?;
                index = index.reload(store, self.repo.monitor())?;
            }
            Ok(())
        });
        if let Err(problem) = merged {
            self.repo.monitor().problem(&problem);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::{ChunkEncoder, CompressionLevel};
    use crate::format::commit::BackupStats;
    use crate::repo::{BackupSession, Environment, PointContents};
    use crate::store::testing::MemoryStore;
    use std::sync::Arc;

    fn entries(repo: &Repository) -> Vec<(ChunkId, Location)> {
        let index = Index::load(&**repo.store(), repo.sealing(), repo.monitor()).unwrap();
        index.entries().map(Result::unwrap).collect()
    }

    #[test]
    fn batches_that_are_there_already_are_not_deleted_as_old_ones() {
        let store = Arc::new(MemoryStore::new());
        let repo = Repository::create(store, Environment::default()).unwrap();
        let mut encoder = ChunkEncoder::new(CompressionLevel::default(), repo.sealing()).unwrap();
        for number in 0..5 {
            let session = BackupSession::begin(&repo, "vm").unwrap();
            session.put_chunk(&mut encoder, &[number; 100]).unwrap();
            session.commit(PointContents::default(), |_| BackupStats::default()).unwrap();
        }
        let before = entries(&repo);
        assert_eq!(before.len(), 5);
        for batch_entries in [1, 1, 2, 2, 100, 1] {
            rebuild_in_batches(&repo, &Cancel::default(), batch_entries, &Old::Delete).unwrap();
            assert_eq!(entries(&repo), before, "batches of {batch_entries}");
        }
    }
}
