//! All packs, several at once.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use rayon::ThreadPool;

use crate::base::id::PackId;
use crate::base::sync::lock;
use crate::error::{Error, ErrorKind, Result};
use crate::scrub::health::Health;
use crate::scrub::listing::{Contents, ListedPack};
use crate::scrub::packs::{PackChecker, PackChecks, PackReport};
use crate::scrub::report::{Finding, Named, ScrubCounts};

/// What a sweep over packs adds to.
pub(super) struct SweepState<'a> {
    pub(super) health: &'a mut Health,
    pub(super) findings: &'a mut Named<Finding>,
    pub(super) counts: &'a mut ScrubCounts,
    /// Packs that were listed and then not there.
    pub(super) vanished: &'a mut Vec<PackId>,
}

/// Checks `packs`. When this fails, what was found until then is in `state`.
pub(super) fn sweep(
    pool: &ThreadPool,
    checks: &PackChecks<'_>,
    contents: &Contents,
    packs: &[ListedPack],
    state: SweepState<'_>,
) -> Result<()> {
    let next = AtomicUsize::new(0);
    let shared = Mutex::new((state, None));
    pool.broadcast(|_| {
        let worked = work(checks, contents, packs, &next, |pack, report| {
            let (state, _) = &mut *lock(&shared);
            state.add(pack, report);
        });
        if let Err(error) = worked {
            // Nobody claims another pack.
            next.store(packs.len(), Ordering::Relaxed);
            let (_, failure) = &mut *lock(&shared);
            failure.get_or_insert(error);
        }
    });
    let (_, failure): (_, Option<Error>) =
        shared.into_inner().unwrap_or_else(PoisonError::into_inner);
    failure.map_or(Ok(()), Err)
}

/// One thread's part. Gives `done` a report for every pack, or none if the pack has vanished.
fn work(
    checks: &PackChecks<'_>,
    contents: &Contents,
    packs: &[ListedPack],
    next: &AtomicUsize,
    mut done: impl FnMut(PackId, Option<PackReport>),
) -> Result<()> {
    let mut checker = PackChecker::new(checks)?;
    // Few enough workers that the number never comes near the end of its type.
    while let Some(pack) = packs.get(next.fetch_add(1, Ordering::Relaxed)) {
        let indexed = contents.packs.get(&pack.id).copied().unwrap_or_default();
        match checker.check(*pack, indexed) {
            Ok(report) => done(pack.id, Some(report)),
            Err(error) if error.kind() == ErrorKind::NotFound => done(pack.id, None),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

impl SweepState<'_> {
    fn add(&mut self, pack: PackId, report: Option<PackReport>) {
        let Some(report) = report else {
            self.vanished.push(pack);
            self.health.listed.remove(&pack);
            self.health.damaged.remove(&pack);
            return;
        };
        self.counts.chunks += report.entries;
        self.counts.chunk_bytes += report.plain_bytes;
        self.counts.misread_packs += u64::from(report.was_misread);
        match report.damage {
            None => {
                // What the list said of its length is settled.
                self.health.damaged.remove(&pack);
            }
            Some(fault) => {
                self.findings.push(Finding::DamagedPack { pack, problem: fault.problem });
                fault.unindexed.into_iter().for_each(|finding| self.findings.push(finding));
                self.health.damaged.insert(pack, fault.rest);
            }
        }
    }
}
