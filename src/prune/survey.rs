//! Looks at everything and plans (steps G1 to G3). Writes nothing.

use std::collections::HashSet;

use crate::base::id::{PackId, SessionId};
use crate::error::{Error, Result};
use crate::format::layout::Area;
use crate::index::segment::Segment;
use crate::prune::census::{Packs, Uses, count};
use crate::prune::condemn::Found;
use crate::prune::mark::{Live, mark};
use crate::prune::plan::{Plan, plan};
use crate::prune::report::{PruneOptions, PruneReport};
use crate::prune::room;
use crate::prune::roots::{Roots, has_registers, is_waited_for, read_roots, read_session};
use crate::repo::{Repository, condemned_packs};
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
        packs.carried = condemned_packs(&found.carried);
        packs.foreign = condemned_packs(&found.foreign);
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
        let old_index = self.index_bytes(|_| Ok(true))?;
        let has_parity = repo.config().has_parity();
        let others = room::other_bytes(self.packs.listed.len());
        let Self { plan, uses, .. } = self;
        let cost = |packs: &[PackId]| {
            room::rewritten_bytes(uses, packs, has_parity)
                + room::index_bytes(uses, packs, old_index)
                + others
        };
        self.postponed = plan.fit(space.free_bytes, cost);
        Ok(())
    }

    /// What the plan comes to.
    pub(super) fn report(&self, repo: &Repository) -> Result<PruneReport> {
        let Self { plan, uses, .. } = self;
        let without: HashSet<PackId> = plan.doomed().chain(&self.packs.missing).copied().collect();
        let old_index = self.index_bytes(|segment| segment.names_any(&without))?;
        let has_parity = repo.config().has_parity();
        Ok(PruneReport {
            points: self.roots.points.len() as u64,
            dropped_points: self.roots.dropped.len() as u64,
            packs: self.packs.listed.len() as u64,
            pack_bytes: self.packs.listed.values().sum(),
            dead_packs: plan.dead.len() as u64,
            compacted_packs: plan.compacted.len() as u64,
            postponed_packs: self.postponed as u64,
            rewritten_bytes: room::rewritten_bytes(uses, &plan.compacted, has_parity),
            index_bytes: room::index_bytes(uses, &plan.compacted, old_index),
            deleted_packs: plan.doomed().count() as u64,
            deleted_bytes: plan.doomed_bytes(uses),
            unneeded_bytes: plan.unneeded_bytes(uses),
            ..PruneReport::default()
        })
    }

    /// The length of some of the index segments.
    fn index_bytes(&self, mut counts: impl FnMut(&Segment) -> Result<bool>) -> Result<u64> {
        let mut bytes = 0;
        for segment in self.live.index.segments() {
            if counts(segment)? {
                bytes += segment.len_bytes();
            }
        }
        Ok(bytes)
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
