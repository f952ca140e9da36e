//! Looks at everything and plans (steps G1 to G3). Writes nothing.

use crate::base::id::SessionId;
use crate::error::Result;
use crate::format::layout::{Area, ObjectName};
use crate::prune::census::{Packs, Uses, count};
use crate::prune::condemn::Found;
use crate::prune::mark::{Live, mark};
use crate::prune::plan::{Plan, plan};
use crate::prune::report::{PruneOptions, PruneReport};
use crate::prune::roots::{Roots, is_waited_for, read_roots, read_session};
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
        let is_busy = is_busy(store)?;
        let live = mark(repo, &roots.points, &options.cancel)?;
        let explained = condemned_packs(found.carried.iter().chain(&found.foreign));
        let mut packs = Packs::look(repo, &live, &explained)?;
        packs.carried = condemned_packs(&found.carried);
        packs.foreign = condemned_packs(&found.foreign);
        let uses = count(&live, &packs)?;
        let plan = plan(&uses, options.live_percent, is_busy, &packs.foreign);
        Ok(Self { found, roots, live, packs, uses, plan })
    }

    /// What the plan comes to.
    pub(super) fn report(&self, store: &dyn Store) -> Result<PruneReport> {
        Ok(PruneReport {
            points: self.roots.points.len() as u64,
            dropped_points: self.roots.dropped.len() as u64,
            packs: self.packs.listed.len() as u64,
            pack_bytes: self.packs.listed.values().sum(),
            dead_packs: self.plan.dead.len() as u64,
            compacted_packs: self.plan.compacted.len() as u64,
            rewritten_bytes: self.plan.rewritten_bytes(&self.uses),
            index_bytes: self.index_bytes(store)?,
            deleted_packs: (self.plan.dead.len() + self.plan.compacted.len()) as u64,
            deleted_bytes: self.plan.doomed_bytes(&self.uses),
            ..PruneReport::default()
        })
    }

    /// The length of all index segments: what a new index takes beside the old one.
    pub(super) fn index_bytes(&self, store: &dyn Store) -> Result<u64> {
        let segments = self.live.index.segments().iter();
        segments.map(|one| store.len_bytes(&ObjectName::segment(one.id()))).sum()
    }
}

/// Whether a session is at work that may have published packs which the index does not name yet.
fn is_busy(store: &dyn Store) -> Result<bool> {
    for name in store.list(Area::Sessions)? {
        if store.is_held(&name)?
            && read_session(store, &name)?.is_some_and(|session| is_waited_for(session.kind))
        {
            return Ok(true);
        }
    }
    Ok(false)
}
