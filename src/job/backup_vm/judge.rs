//! Whether a VM is backed up now.

use std::time::{Duration, Instant};

use crate::error::Result;
use crate::job::backup_vm::{Refusal, Site};
use crate::job::leftovers::{self, Leftover};
use crate::ovirt::client::ApiPath;
use crate::ovirt::eligibility::{Effect, Rule, Verdict, evaluate, is_for_backup};
use crate::ovirt::facts::Facts;
use crate::ovirt::gather::{facts, own_sessions};
use crate::ovirt::wire::{DiskStatus, Vm};

/// Time between two looks while others are at work on the VM.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

pub(super) enum Judged {
    Eligible(Box<Refusal>),
    Refused(Box<Refusal>),
}

/// Looks at the VM until it can be backed up or is refused. Waits for others as long as the options
/// say. What killed runs have left of it is ended, but only if nothing else speaks against the
/// backup: a refused backup changes nothing.
pub(super) fn admit(site: &Site<'_>, vm: &str) -> Result<Judged> {
    let began = Instant::now();
    loop {
        let (judged, leftovers) = look(site, vm)?;
        if judged.verdict.is_eligible() {
            if leftovers.is_empty() {
                return Ok(Judged::Eligible(Box::new(judged)));
            }
            end(site, &leftovers)?;
            continue;
        }
        let may_wait = passes_by_itself(&judged.verdict);
        if !may_wait || began.elapsed() >= site.options.wait {
            return Ok(Judged::Refused(Box::new(judged)));
        }
        let left = site.options.wait.saturating_sub(began.elapsed());
        site.engine.wait(LOOK_AGAIN.min(left))?;
    }
}

/// Facts and verdict as if the leftovers were ended already.
fn look(site: &Site<'_>, vm: &str) -> Result<(Refusal, Vec<Leftover>)> {
    let Site { engine, repo, options, .. } = site;
    let vm: Vm = engine.get(&ApiPath::new(&["vms", vm]))?;
    let own = own_sessions(repo, &vm.name)?;
    let mut facts = facts(engine, vm, own)?;
    let leftovers = leftovers::of_vm(repo, engine, &facts)?;
    hide(&mut facts, &leftovers);
    let verdict = evaluate(&facts, &options.choice)?;
    Ok((Refusal { facts, verdict }, leftovers))
}

/// Takes leftovers out of the facts, with the locks and snapshots that go with them.
fn hide(facts: &mut Facts, leftovers: &[Leftover]) {
    if leftovers.is_empty() {
        return;
    }
    let is_left = |id: &str| leftovers.iter().any(|leftover| leftover.id == id);
    facts.backups.retain(|backup| !is_left(&backup.id));
    facts.transfers.retain(|transfer| !is_left(&transfer.id));
    facts.snapshots.retain(|snapshot| !is_for_backup(snapshot));
    for disk in &mut facts.disks {
        if disk.status == Some(DiskStatus::Locked) {
            disk.status = Some(DiskStatus::Ok);
        }
    }
}

/// Whether all that refuses is work of others that comes to an end.
fn passes_by_itself(verdict: &Verdict) -> bool {
    let refusing = verdict.findings.iter().filter(|finding| finding.effect == Effect::Refuses);
    let mut rules = refusing.map(|finding| finding.rule);
    rules.all(|rule| matches!(rule, Rule::BackupRunning | Rule::RestoreRunning))
}

/// Ends leftovers. What cannot be ended is the business of the rules, which see it again.
fn end(site: &Site<'_>, leftovers: &[Leftover]) -> Result<()> {
    for leftover in leftovers {
        leftovers::end(site.repo, site.engine, leftover)?;
    }
    Ok(())
}
