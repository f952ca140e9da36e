//! Looks again after the wait, and deletes what is not needed after all (steps G7 to G10).

use std::collections::HashSet;
use std::sync::Arc;

use crate::base::cancel::Cancel;
use crate::base::id::{PackId, PointId, SegmentId};
use crate::base::pack_set::PackSet;
use crate::error::{Error, Result};
use crate::format::layout::{Area, ObjectName};
use crate::format::segment::IndexEntry;
use crate::index::lookup::Index;
use crate::index::merge::merge;
use crate::index::segment::Segment;
use crate::prune::census::{Flags, Packs, each_chunk, is_there};
use crate::prune::condemn::{Batch, Found};
use crate::prune::mark::{Live, mark};
use crate::prune::report::PruneReport;
use crate::prune::roots::{Roots, read_roots};
use crate::repo::{Repository, condemned_lists, condemned_packs, gather_commits};

/// Entries of the segments that are merged into one.
const MERGED_ENTRIES_MAX: u64 = u32::MAX as u64;

/// What was found in the second look.
pub(super) struct Sweep<'a> {
    repo: &'a Repository,
    roots: Roots,
    packs: Packs,
    /// Packs to delete, and those that are gone and that the index need not name any more.
    doomed: Flags,
    /// Packs that were to be deleted and are needed.
    kept: u64,
    /// Restore points whose commits go.
    points: Vec<PointId>,
}

impl<'a> Sweep<'a> {
    /// Step G7: restore points again, then lists, then packs. A pack of `ready` stays if something
    /// needed in it has no other copy that is there to stay.
    pub(super) fn look(
        repo: &'a Repository,
        before: &Roots,
        ready: Batch,
        cancel: &Cancel,
    ) -> Result<Self> {
        let store = &**repo.store();
        let roots = read_roots(repo)?;
        check_grown(before, &roots)?;
        let live = mark(repo, &roots.points, cancel)?;
        let Batch { packs: ready, points, .. } = ready;
        let mut condemned = condemned_packs(&condemned_lists(store)?);
        let unlisted = ready.ids().iter().filter(|pack| !condemned.contains(pack));
        let unlisted: Vec<PackId> = unlisted.copied().collect();
        condemned.extend(unlisted);
        let packs = Packs::look(repo, &live, &condemned)?;
        let is_condemned = packs.flags(condemned.ids());
        let mut doomed = packs.flags(ready.ids().iter().chain(packs.missing.ids()));
        // Sets of ids are large; from here on every pack goes by its number.
        drop((ready, condemned));
        let listed = packs.listed.len();
        let count = |doomed: &Flags| doomed[..listed].iter().filter(|goes| **goes).count() as u64;
        let before_check = count(&doomed);
        spare(&live, &packs, &is_condemned, &mut doomed)?;
        let kept = before_check - count(&doomed);
        let points = roots.dropped.iter().filter(|id| points.contains(id)).copied().collect();
        Ok(Self { repo, roots, packs, doomed, kept, points })
    }

    /// Steps G8, G9 and the first half of G10.
    pub(super) fn delete(&self, report: &mut PruneReport) -> Result<()> {
        let store = &**self.repo.store();
        // Tombstones were seen; were one to vanish in a crash now, its restore point would be back
        // without its packs.
        store.barrier(Area::Forgotten)?;
        self.take_out_of_index()?;
        report.kept_packs = self.kept;
        report.deleted_packs = self.listed_doomed().count() as u64;
        report.deleted_bytes = self.listed_doomed().map(|(_, len)| len).sum();
        report.points = self.roots.points.len() as u64;
        self.repo.monitor().phase("deleting", Some(report.deleted_bytes));
        self.delete_parity()?;
        for (pack, len) in self.listed_doomed() {
            store.delete(&ObjectName::pack(pack))?;
            self.repo.monitor().advance(len);
        }
        store.barrier(Area::Packs)?;
        self.points.iter().try_for_each(|point| store.delete(&ObjectName::commit(*point)))?;
        store.barrier(Area::Commits)?;
        // What catalogues hold of commits that are gone only takes space.
        if !self.points.is_empty()
            && let Err(problem) = gather_commits(self.repo)
        {
            self.repo.monitor().problem(&problem);
        }
        Ok(())
    }

    /// The packs to delete, each with its length.
    fn listed_doomed(&self) -> impl Iterator<Item = (PackId, u64)> {
        let listed = self.packs.listed.ids().iter().zip(&self.packs.lens);
        let doomed = listed.zip(&self.doomed).filter(|(_, goes)| **goes);
        doomed.map(|((pack, len), _)| (*pack, *len))
    }

    /// Whether a pack is there and goes.
    fn is_doomed(&self, pack: &PackId) -> bool {
        self.packs.listed.number(pack).is_some_and(|number| self.doomed[number as usize])
    }

    /// Whether a pack is there and stays.
    fn stays(&self, pack: &PackId) -> bool {
        self.packs.listed.number(pack).is_some_and(|number| !self.doomed[number as usize])
    }

    /// The parity of the packs that go, and of packs that are gone. It goes first, durably: nothing
    /// leads to parity without its pack, so that nobody would delete it any more.
    fn delete_parity(&self) -> Result<()> {
        let store = &**self.repo.store();
        let mut goes = Vec::new();
        store.each_name(Area::Parity, &mut |name| {
            let Some(pack) = name.protected_pack() else { return Ok(()) };
            let is_known = self.packs.number(&pack).is_some();
            // A new pack is there before its parity is.
            let is_orphan = || Ok::<_, Error>(!is_there(store, &ObjectName::pack(pack))?);
            if self.is_doomed(&pack) || !is_known && is_orphan()? {
                goes.push(pack);
            }
            Ok(())
        })?;
        goes.iter().try_for_each(|pack| store.delete(&ObjectName::parity(*pack)))?;
        store.barrier(Area::Parity)
    }

    /// The rest of step G10: lists that say nothing any more, of earlier prunes and of scrubs.
    pub(super) fn clear_lists(&self, before: &Found) -> Result<()> {
        let store = &**self.repo.store();
        let is_dropped =
            |point: &PointId| self.roots.dropped.contains(point) && !self.points.contains(point);
        for list in &before.carried {
            let says = list.condemned.packs.iter().any(|pack| self.stays(pack))
                || list.condemned.points.iter().any(is_dropped);
            if !says {
                store.delete(&list.name)?;
            }
        }
        let index = Index::load(store, self.repo.sealing(), self.repo.monitor())?;
        let named = index.packs()?;
        for (name, damaged) in &self.packs.damage_lists {
            let says = damaged.copies.iter().any(|copy| self.stays(&copy.pack))
                || damaged.missing_packs.iter().any(|pack| named.contains(pack));
            if !says {
                store.delete(name)?;
            }
        }
        store.barrier(Area::Condemned)?;
        store.barrier(Area::Damaged)
    }

    /// Step G8. When this returns, no lookup leads to a doomed pack, after a crash neither.
    fn take_out_of_index(&self) -> Result<()> {
        self.repo.monitor().phase("indexing", None);
        let store = &**self.repo.store();
        let doomed = (0..).zip(&self.doomed).filter(|(_, goes)| **goes);
        let without: PackSet = doomed.map(|(number, _)| self.packs.id(number)).collect();
        let index = Index::load(store, self.repo.sealing(), self.repo.monitor())?;
        let mut group: Vec<Arc<Segment>> = Vec::new();
        let mut entries = 0;
        for segment in index.segments() {
            if !segment.names_any(&without)? {
                continue;
            }
            let more = u64::from(segment.entry_count());
            if !group.is_empty() && entries + more > MERGED_ENTRIES_MAX {
                self.merge(&group, &without)?;
                (group, entries) = (Vec::new(), 0);
            }
            group.push(Arc::clone(segment));
            entries += more;
        }
        if !group.is_empty() {
            self.merge(&group, &without)?;
        }
        store.barrier(Area::Index)
    }

    fn merge(&self, group: &[Arc<Segment>], without: &PackSet) -> Result<SegmentId> {
        merge(&**self.repo.store(), self.repo.sealing(), group, without)
    }
}

/// Takes packs out of `doomed` that hold something needed of which no other copy is there to stay,
/// and those that are gone whose entries tell what is lost. All such packs stay, not one of them:
/// another prune may spare another one, and delete this.
fn spare(live: &Live, packs: &Packs, condemned: &Flags, doomed: &mut Flags) -> Result<()> {
    each_chunk(live, packs, |copies, is_live| {
        let stays =
            |copy: &IndexEntry| packs.is_good(copy) && !condemned[copy.pack_number as usize];
        if is_live && !copies.iter().any(stays) {
            copies.iter().for_each(|copy| doomed[copy.pack_number as usize] = false);
        }
        Ok(())
    })
}

/// Fails if a restore point is gone that nobody dropped: a listing left something out.
fn check_grown(before: &Roots, now: &Roots) -> Result<()> {
    let there: HashSet<PointId> =
        now.points.iter().map(|point| point.id).chain(now.dropped.iter().copied()).collect();
    match before.points.iter().find(|point| !there.contains(&point.id)) {
        None => Ok(()),
        Some(lost) => {
            let what = "a restore point is gone that was there a moment ago; nothing was deleted";
            Err(Error::corrupt(what).at(ObjectName::commit(lost.id).to_string()))
        }
    }
}
