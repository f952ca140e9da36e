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

use crate::base::id::{PackId, PointId, SessionId};
use crate::error::{Error, ErrorKind, Result};
use crate::format::layout::ObjectName;
use crate::format::session::SessionKind;
use crate::prune::condemn::{Batch, OwnLists};
use crate::prune::copy::copy_needed;
use crate::prune::report::{PruneOptions, PruneReport};
use crate::prune::survey::Survey;
use crate::prune::sweep::Sweep;
use crate::prune::wait::{wait_for, waiting};
use crate::repo::{LentBallast, Registration, Repository, check_not_repaired, fence_dead_sessions};

/// Deletes what no restore point needs.
///
/// # Errors
///
/// [`ErrorKind::Busy`] while another prune or a repair runs. Whatever cannot be read, and whatever
/// is not there though it must be, ends the run before anything is deleted.
pub fn prune(repo: &Repository, options: &PruneOptions) -> Result<PruneReport> {
    let began = Instant::now();
    let mut report = match options.dry_run {
        true => Survey::look(repo, None, options)?.report(&**repo.store())?,
        false => run(repo, options, began)?,
    };
    report.duration_ms = began.elapsed().as_millis() as u64;
    Ok(report)
}

fn run(repo: &Repository, options: &PruneOptions, began: Instant) -> Result<PruneReport> {
    let store = &**repo.store();
    let Some(_lock) = store.lock(&ObjectName::prune_lock(), &[])? else {
        return Err(Error::new(ErrorKind::Busy, "another prune is running"));
    };
    let _ballast = LentBallast::begin(repo)?;
    let registration = Registration::begin(repo, SessionKind::Prune, None)?;
    check_not_repaired(store)?;
    fence_dead_sessions(store)?;
    if let Err(problem) = store.sweep() {
        repo.monitor().problem(&problem);
    }
    let mut run =
        Run { repo, options, began, own: OwnLists::new(registration.id()), deletes: false };
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
    began: Instant,
    own: OwnLists,
    /// Whether the packs are on their way out.
    deletes: bool,
}

impl Run<'_> {
    fn steps(&mut self, own: SessionId) -> Result<PruneReport> {
        let store = &**self.repo.store();
        let mut survey = Survey::look(self.repo, Some(own), self.options)?;
        let postponed = self.fit(&mut survey)?;
        let mut report = survey.report(store)?;
        report.postponed_packs = postponed as u64;
        let unreadable = self.compact(&mut survey)?;
        let doomed = survey.plan.dead.iter().chain(&survey.plan.compacted);
        let doomed: HashSet<PackId> =
            doomed.filter(|pack| !unreadable.contains(pack)).copied().collect();
        let points: HashSet<PointId> = survey.roots.dropped.iter().copied().collect();
        let mut batches = batches(&survey, &doomed, &points);
        self.own.publish(self.repo, &Batch { packs: doomed, points, waits_for: None })?;
        report.waits_for = self.wait(&mut batches)?;
        let is_ready = |batch: &Batch| batch.waits_for.as_ref().is_none_or(HashSet::is_empty);
        let mut ready = Batch::default();
        for batch in batches.iter().filter(|batch| is_ready(batch)) {
            ready.packs.extend(&batch.packs);
            ready.points.extend(&batch.points);
        }
        let sweep = Sweep::look(self.repo, &survey, ready, &self.options.cancel)?;
        self.deletes = true;
        sweep.delete(&mut report)?;
        match is_ready(&batches[0]) {
            true => self.own.withdraw(self.repo)?,
            false => self.own.replace(self.repo, &batches[0])?,
        }
        sweep.clear_lists(&survey)?;
        Ok(report)
    }

    /// Leaves out what there is no room to write anew.
    fn fit(&self, survey: &mut Survey) -> Result<usize> {
        match self.repo.store().space()? {
            None => Ok(0),
            Some(space) => {
                let index_bytes = survey.index_bytes(&**self.repo.store())?;
                let room = space.free_bytes.saturating_sub(index_bytes);
                Ok(survey.plan.fit(&survey.uses, room))
            }
        }
    }

    /// Step G4. A medium that is full all the same postpones it: dead packs make room.
    fn compact(&self, survey: &mut Survey) -> Result<HashSet<PackId>> {
        let Survey { live, packs, uses, plan, .. } = &*survey;
        let cancel = &self.options.cancel;
        if plan.compacted.is_empty() {
            return Ok(HashSet::new());
        }
        match copy_needed(self.repo, live, packs, uses, &plan.compacted, cancel) {
            Err(error) if error.kind() == ErrorKind::Full => {
                self.repo.monitor().problem(&error);
                survey.plan.compacted.clear();
                Ok(HashSet::new())
            }
            copied => copied,
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
        let deadline = self.began + self.options.wait;
        wait_for(store, &mut left, deadline, &self.options.cancel)?;
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
fn batches(survey: &Survey, doomed: &HashSet<PackId>, points: &HashSet<PointId>) -> Vec<Batch> {
    let mut fresh = Batch { packs: doomed.clone(), points: points.clone(), waits_for: None };
    let mut earlier = Vec::new();
    for list in &survey.found.carried {
        let Some(waits_for) = &list.condemned.waits_for else { continue };
        let packs: HashSet<_> = list.condemned.packs.iter().copied().collect();
        let of_list: HashSet<_> = list.condemned.points.iter().copied().collect();
        let batch = Batch {
            packs: &packs & doomed,
            points: &of_list & points,
            waits_for: Some(waits_for.iter().copied().collect()),
        };
        fresh.packs.retain(|pack| !batch.packs.contains(pack));
        fresh.points.retain(|point| !batch.points.contains(point));
        earlier.push(batch);
    }
    std::iter::once(fresh).chain(earlier).collect()
}
