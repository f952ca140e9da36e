//! The lists of condemned packs: what earlier prunes left, and what this one publishes.

use std::collections::HashSet;

use crate::base::id::{PointId, SessionId};
use crate::base::pack_set::PackSet;
use crate::error::Result;
use crate::format::layout::ObjectName;
use crate::format::lists::Condemned;
use crate::repo::{CondemnedList, Repository, condemned_lists};
use crate::store::Store;

/// Ids in one list at most: 7 MiB of text, below the limit of a small object.
const IDS_PER_LIST: usize = 100_000;

/// The lists of others, as a prune finds them.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Those of prunes that did not end, and whose process is gone.
    pub(super) carried: Vec<CondemnedList>,
    /// Those of prunes that are at work, where locks do not keep them apart.
    pub(super) foreign: Vec<CondemnedList>,
}

impl Found {
    /// Reads all lists but those of `own`.
    pub(super) fn read(store: &dyn Store, own: Option<SessionId>) -> Result<Self> {
        let mut found = Self::default();
        for list in condemned_lists(store)? {
            if Some(list.run) == own {
                continue;
            }
            match store.is_held(&ObjectName::session(list.run))? {
                true => found.foreign.push(list),
                false => found.carried.push(list),
            }
        }
        Ok(found)
    }
}

/// Packs that go together, once nobody can refer to them any more.
#[derive(Debug, Clone, Default)]
pub(super) struct Batch {
    /// The packs.
    pub(super) packs: PackSet,
    /// Dropped restore points whose commits go.
    pub(super) points: HashSet<PointId>,
    /// The backups that may still refer to the packs; none if that is to be found out after the
    /// list of this prune is published.
    pub(super) waits_for: Option<HashSet<SessionId>>,
}

impl Batch {
    /// Whether nobody is waited for any more.
    pub(super) fn is_ready(&self) -> bool {
        self.waits_for.as_ref().is_none_or(HashSet::is_empty)
    }

    /// Both, where both are ready.
    pub(super) fn and(mut self, other: Self) -> Self {
        self.packs.extend(other.packs.ids().iter().copied());
        self.points.extend(other.points);
        self
    }
}

/// The lists that one prune has published.
pub(super) struct OwnLists {
    run: SessionId,
    names: Vec<ObjectName>,
    next_part: u32,
}

impl OwnLists {
    pub(super) fn new(run: SessionId) -> Self {
        Self { run, names: Vec::new(), next_part: 0 }
    }

    /// Publishes what `batch` holds, in as many lists as it takes. It is durable when this returns.
    ///
    /// Lists of before that name the same packs stay: whoever lists while one goes and another one
    /// comes may see neither, and refer to a pack that nobody waits for any more.
    pub(super) fn publish(&mut self, repo: &Repository, batch: &Batch) -> Result<()> {
        let mut points: Vec<_> = batch.points.iter().copied().collect();
        points.sort_unstable();
        let waits_for = batch.waits_for.as_ref().map(|ids| ids.iter().copied().collect());
        let of_packs =
            batch.packs.ids().chunks(IDS_PER_LIST).map(|part| (part.to_vec(), Vec::new()));
        let of_points = points.chunks(IDS_PER_LIST).map(|part| (Vec::new(), part.to_vec()));
        for (packs, points) in of_packs.chain(of_points) {
            let list = Condemned { packs, points, waits_for: Option::clone(&waits_for) };
            let name = ObjectName::condemned_part(self.run, self.next_part);
            // A random name that nobody else has.
            let _created = repo.store().create(&name, &list.encode())?;
            self.next_part += 1;
            self.names.push(name);
        }
        Ok(())
    }

    /// Takes all lists back.
    pub(super) fn withdraw(&mut self, repo: &Repository) -> Result<()> {
        let names = std::mem::take(&mut self.names);
        names.iter().try_for_each(|name| repo.store().delete(name))
    }
}
