//! Looks at everything and plans (steps G1 to G3). Writes nothing.

use crate::base::id::SessionId;
use crate::base::pack_set::PackSet;
use crate::error::{Error, Result};
use crate::format::layout::Area;
use crate::prune::census::{Packs, Uses, count};
use crate::prune::condemn::{Batch, Found};
use crate::prune::mark::{Live, mark};
use crate::prune::plan::{Plan, plan};
use crate::prune::report::{PruneOptions, PruneReport};
use crate::prune::room;
use crate::prune::roots::{Roots, has_registers, is_waited_for, read_roots, read_session};
use crate::repo::{CondemnedList, Repository, condemned_packs};
use crate::store::Store;

/// What there is, and what to do about it.
pub(super) struct Survey {
    pub(super) found: Found,
    pub(super) roots: Roots,
    pub(super) live: Live,
    pub(super) packs: Packs,
    pub(super) uses: Uses,
    pub(super) plan: Plan,
    /// How many packs are left out of the plan for want of room.
    pub(super) postponed: usize,
}

impl Survey {
    /// Looks, in the order of the protocol: what is condemned, then restore points, then the index,
    /// then packs.
    pub(super) fn look(
        repo: &Repository,
        own: Option<SessionId>,
        options: &PruneOptions,
    ) -> Result<Self> {
        let store = &**repo.store();
        let found = Found::read(store, own)?;
        let roots = read_roots(repo)?;
        let mut writers = writers(store)?;
        let live = mark(repo, &roots.points, &options.cancel)?;
        repo.monitor().phase("counting", None);
        let explained = condemned_packs(found.carried.iter().chain(&found.foreign));
        let mut packs = Packs::look(repo, &live, &explained)?;
        drop(explained);
        let flags = |lists: &[CondemnedList]| {
            packs.flags(lists.iter().flat_map(|list| &list.condemned.packs))
        };
        (packs.carried, packs.foreign) = (flags(&found.carried), flags(&found.foreign));
        // Whoever began after the first look may have published packs by the second.
        writers.extend(self::writers(store)?);
        // And who has ended by then was decided before.
        if !packs.listed.is_empty() && writers.is_empty() && !has_registers(store)? {
            return Err(no_registers());
        }
        let uses = count(&live, &packs)?;
        let is_busy = writers.contains(&true);
        let plan = plan(&uses, options.live_percent, is_busy, &packs.foreign);
        let mut survey = Self { found, roots, live, packs, uses, plan, postponed: 0 };
        survey.fit(repo)?;
        Ok(survey)
    }

    /// Leaves out what there is no room to write anew.
    fn fit(&mut self, repo: &Repository) -> Result<()> {
        let store = &**repo.store();
        let Some(space) = store.space()? else { return Ok(()) };
        let old_index = self.index_bytes(std::iter::repeat(true));
        let has_parity = repo.config().has_parity();
        let others = room::other_bytes(self.packs.listed.len());
        let Self { plan, uses, .. } = self;
        let cost = |packs: &[u32]| {
            room::rewritten_bytes(uses, packs, has_parity)
                + room::index_bytes(uses, packs, old_index)
                + others
        };
        self.postponed = plan.fit(space.free_bytes, cost);
        Ok(())
    }

    /// What the plan comes to.
    pub(super) fn report(&self, repo: &Repository) -> PruneReport {
        let Self { plan, uses, .. } = self;
        let mut gone = self.packs.flags(self.packs.missing.ids());
        plan.doomed().for_each(|pack| gone[pack as usize] = true);
        let old_index = self.index_bytes(self.packs.naming(&gone));
        let has_parity = repo.config().has_parity();
        PruneReport {
            points: self.roots.points.len() as u64,
            dropped_points: self.roots.dropped.len() as u64,
            packs: self.packs.listed.len() as u64,
            pack_bytes: self.packs.lens.iter().sum(),
            dead_packs: plan.dead.len() as u64,
            compacted_packs: plan.compacted.len() as u64,
            postponed_packs: self.postponed as u64,
            rewritten_bytes: room::rewritten_bytes(uses, &plan.compacted, has_parity),
            index_bytes: room::index_bytes(uses, &plan.compacted, old_index),
            deleted_packs: plan.doomed().count() as u64,
            deleted_bytes: plan.doomed().map(|pack| self.packs.lens[pack as usize]).sum(),
            unneeded_bytes: plan.unneeded_bytes(uses),
            ..PruneReport::default()
        }
    }

    /// The length of those index segments that count.
    fn index_bytes(&self, counts: impl Iterator<Item = bool>) -> u64 {
        let counted = self.live.index.segments().iter().zip(counts).filter(|(_, counts)| *counts);
        counted.map(|(segment, _)| segment.len_bytes()).sum()
    }

    /// What the second look begins with: what was found, and all that is to go. The tables of this
    /// look end here.
    pub(super) fn into_doomed(self) -> (Roots, Found, Batch) {
        let Self { found, roots, packs, plan, .. } = self;
        let points = roots.dropped.iter().copied().collect();
        let doomed: PackSet = plan.doomed().map(|pack| packs.id(pack)).collect();
        (roots, found, Batch { packs: doomed, points, waits_for: None })
    }
}

/// The sessions that may publish packs which the index does not name yet: of each that is
/// registered, whether it is at work.
fn writers(store: &dyn Store) -> Result<Vec<bool>> {
    let mut writers = Vec::new();
    for name in store.list(Area::Sessions)? {
        let is_alive = store.is_held(&name)?;
        if read_session(store, &name)?.is_some_and(|session| is_waited_for(session.kind)) {
            writers.push(is_alive);
        }
    }
    Ok(writers)
}

/// Every session leaves a register for ever, and every restore point that was dropped a tombstone.
fn no_registers() -> Error {
    let what = "there are packs, but not one trace of a session that wrote them; nothing was \
                deleted; look whether the files of this directory are elsewhere";
    Error::corrupt(what).at(Area::Commits.directory())
}
