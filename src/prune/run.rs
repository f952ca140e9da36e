//! The order of a prune. The names of the steps are those of `docs/durability.md`.
//!
//! | step | what | if the machine stops after it |
//! |---|---|---|
//! | G0, G1 | take the lock, register, read what is condemned | a dead registration |
//! | G2, G3 | mark what restore points need, list packs, plan | as G1 |
//! | G4 | copy what is needed out of sparse packs; index the copies | copies beside originals |
//! | G5 | publish the list of condemned packs | a list that the next prune takes over |
//! | G6 | wait for the sessions that were registered by then | as G5 |
//! | G7 | look again: restore points, marks, lists, packs; keep what is needed after all | as G5 |
//! | G8 | take the packs out of the index | as G5 |
//! | G9 | delete the packs | as G5 |
//! | G10 | delete commits of dropped restore points, then the list | nothing is left to do |

use std::collections::HashSet;
use std::time::Instant;

use crate::base::id::SessionId;
use crate::error::{Error, ErrorKind, Result};
use crate::format::session::SessionKind;
use crate::prune::condemn::{Batch, Found, OwnLists};
use crate::prune::copy::copy_needed;
use crate::prune::report::{PruneOptions, PruneReport};
use crate::prune::survey::Survey;
use crate::prune::sweep::Sweep;
use crate::prune::wait::{wait_for, waiting};
use crate::repo::{
    LentBallast, Registration, Repository, check_not_repaired, fence_dead_sessions, is_pruned,
    lock_prunes,
};

/// Deletes what no restore point needs.
///
/// # Errors
///
/// [`ErrorKind::Busy`] while another prune or a repair runs. Whatever cannot be read, and whatever
/// is not there though it must be, ends the run before anything is deleted.
pub fn prune(repo: &Repository, options: &PruneOptions) -> Result<PruneReport> {
    let began = Instant::now();
    let mut report = match options.dry_run {
        true => look(repo, options)?,
        false => run(repo, options)?,
    };
    report.duration_ms = began.elapsed().as_millis() as u64;
    Ok(report)
}

/// What a run would do. Beside another prune it cannot be told what is missing from what that prune
/// has deleted.
fn look(repo: &Repository, options: &PruneOptions) -> Result<PruneReport> {
    let looked = Survey::look(repo, None, options).map(|survey| survey.report(repo));
    match looked {
        Err(error) if error.kind() == ErrorKind::Corrupt && is_pruned(repo)? => {
            Err(Error::new(ErrorKind::Busy, "another prune is running").because(error))
        }
        looked => looked,
    }
}

fn run(repo: &Repository, options: &PruneOptions) -> Result<PruneReport> {
    let store = &**repo.store();
    // Even the text of a lock takes room.
    let _room = LentBallast::begin(repo)?;
    let _lock = lock_prunes(repo)?;
    let registration = Registration::begin(repo, SessionKind::Prune, None)?;
    check_not_repaired(store)?;
    fence_dead_sessions(store)?;
    if let Err(problem) = store.sweep() {
        repo.monitor().problem(&problem);
    }
    let mut run = Run { repo, options, own: OwnLists::new(registration.id()), deletes: false };
    let report = run.steps(registration.id());
    // Nothing was deleted: the lists say nothing that must last.
    if report.is_err()
        && !run.deletes
        && let Err(problem) = run.own.withdraw(repo)
    {
        repo.monitor().problem(&problem);
    }
    report
}

struct Run<'a> {
    repo: &'a Repository,
    options: &'a PruneOptions,
    own: OwnLists,
    /// Whether the packs are on their way out.
    deletes: bool,
}

impl Run<'_> {
    fn steps(&mut self, own: SessionId) -> Result<PruneReport> {
        let mut survey = Survey::look(self.repo, Some(own), self.options)?;
        let rewritten_bytes = self.compact(&mut survey)?;
        let mut report = PruneReport { rewritten_bytes, ..survey.report(self.repo) };
        let (roots, found, doomed) = survey.into_doomed();
        self.own.publish(self.repo, &doomed)?;
        let mut batches = batches(&found, doomed);
        report.waits_for = self.wait(&mut batches)?;
        let unready_fresh = (!batches[0].is_ready()).then(|| batches.swap_remove(0));
        let ready = batches.into_iter().filter(Batch::is_ready).reduce(Batch::and);
        let ready = ready.unwrap_or_default();
        let sweep = Sweep::look(self.repo, &roots, ready, &self.options.cancel)?;
        self.deletes = true;
        sweep.delete(&mut report)?;
        match unready_fresh {
            None => self.own.withdraw(self.repo)?,
            // Beside the first, which goes with its packs: this one says who is waited for.
            Some(fresh) => self.own.publish(self.repo, &fresh)?,
        }
        sweep.clear_lists(&found)?;
        Ok(report)
    }

    /// Step G4; says how much was written. A medium that is full all the same postpones it: dead
    /// packs make room. A pack that cannot be read stays.
    fn compact(&self, survey: &mut Survey) -> Result<u64> {
        let Survey { live, packs, uses, plan, postponed, .. } = survey;
        if plan.compacted.is_empty() {
            return Ok(0);
        }
        let cancel = &self.options.cancel;
        match copy_needed(self.repo, live, packs, uses, &plan.compacted, cancel) {
            Err(error) if error.kind() == ErrorKind::Full => {
                self.repo.monitor().problem(&error);
                *postponed += plan.compacted.len();
                plan.compacted.clear();
                Ok(0)
            }
            Ok(copied) => {
                plan.compacted.retain(|pack| !copied.unreadable.contains(pack));
                Ok(copied.bytes)
            }
            Err(error) => Err(error),
        }
    }

    /// Step G6. Fills in what each batch still waits for, and says that of all together.
    fn wait(&self, batches: &mut [Batch]) -> Result<Vec<SessionId>> {
        let store = &**self.repo.store();
        let all = waiting(store, true)?;
        let others = waiting(store, false)?;
        let mut left = HashSet::new();
        for batch in &mut *batches {
            let waits_for = match batch.waits_for.take() {
                _ if batch.packs.is_empty() && batch.points.is_empty() => HashSet::new(),
                None => all.clone(),
                Some(known) => &known | &others,
            };
            left.extend(&waits_for);
            batch.waits_for = Some(waits_for);
        }
        self.repo.monitor().phase("waiting", None);
        wait_for(self.repo, &mut left, self.options.wait, &self.options.cancel)?;
        for batch in batches {
            batch.waits_for = batch.waits_for.take().map(|waits_for| &waits_for & &left);
        }
        let mut left: Vec<_> = left.into_iter().collect();
        left.sort_unstable();
        Ok(left)
    }
}

/// What goes together: first all that is condemned now for the first time, or was by a prune that
/// did not say for whom it waited; then what each earlier prune left that did.
fn batches(found: &Found, doomed: Batch) -> Vec<Batch> {
    let mut earlier = Vec::new();
    for list in &found.carried {
        let Some(waits_for) = &list.condemned.waits_for else { continue };
        let (packs, points) = (&list.condemned.packs, &list.condemned.points);
        earlier.push(Batch {
            packs: packs.iter().copied().filter(|pack| doomed.packs.contains(pack)).collect(),
            points: points.iter().copied().filter(|id| doomed.points.contains(id)).collect(),
            waits_for: Some(waits_for.iter().copied().collect()),
        });
    }
    let mut fresh = doomed;
    for batch in &earlier {
        fresh.packs.retain(|pack| !batch.packs.contains(pack));
        fresh.points.retain(|point| !batch.points.contains(point));
    }
    std::iter::once(fresh).chain(earlier).collect()
}
