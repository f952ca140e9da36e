//! Whether a VM can be backed up: from facts to findings, and nothing else.
//!
//! All rules are applied, in the order of [`Rule::ALL`], and all findings are reported: an
//! operator sees at once everything that is to be done. A state that this release does not know
//! refuses, because the engine may drop such a disk in silence. `docs/eligibility.md` is the page.

mod choice;
mod disks;
mod finding;
mod rule;
mod vm;
mod work;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

pub use choice::{Choice, CloudInit};
pub use finding::{ABSENT, Effect, Finding, Object, ObjectKind};
pub use rule::Rule;
pub use work::is_for_backup;

use crate::error::Result;
use crate::ovirt::facts::{DiskFacts, Facts};

/// What becomes of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It is backed up.
    Yes,
    /// It is left out because a rule says so and the operator accepts that.
    LeftOut,
    /// The operator chose others.
    NotChosen,
    /// It stands in the way of the backup.
    Refused,
}

/// What the rules say about a VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// What they found, in their order.
    pub findings: Vec<Finding>,
    /// What becomes of each disk, in the order of the facts.
    pub disks: Vec<Taken>,
}

impl Verdict {
    /// Whether the VM can be backed up.
    #[must_use]
    pub fn is_eligible(&self) -> bool {
        self.findings.iter().all(|finding| finding.effect != Effect::Refuses)
    }

    /// Whether a restore point would lack disks that nobody chose to leave out by name.
    #[must_use]
    pub fn is_incomplete(&self) -> bool {
        self.disks.contains(&Taken::LeftOut)
    }

    /// The findings of one rule.
    pub fn of(&self, rule: Rule) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(move |finding| finding.rule == rule)
    }
}

/// Applies all rules. Fails only if the choice names a disk that the VM does not have.
pub fn evaluate(facts: &Facts, choice: &Choice) -> Result<Verdict> {
    let is_chosen = choice.apply(&facts.disks)?;
    let chosen: Vec<_> =
        facts.disks.iter().zip(&is_chosen).filter(|(_, chosen)| **chosen).map(|(d, _)| d).collect();
    let mut findings: Vec<_> =
        Rule::ALL.iter().flat_map(|rule| apply(*rule, facts, choice, &chosen)).collect();
    let left_out = leave_out(&mut findings, choice);
    let is_left_out = |disk: &DiskFacts| left_out.contains(&disk.id);
    if chosen.iter().all(|disk| is_left_out(disk)) {
        findings.push(disks::none_left(facts, &chosen));
    }
    let refused: BTreeSet<_> = findings
        .iter()
        .filter(|finding| finding.effect == Effect::Refuses)
        .filter_map(Finding::disk_id)
        .collect();
    let taken = |(disk, chosen): (&DiskFacts, &bool)| match () {
        () if !chosen => Taken::NotChosen,
        () if is_left_out(disk) => Taken::LeftOut,
        () if refused.contains(disk.id.as_str()) => Taken::Refused,
        () => Taken::Yes,
    };
    let disks = facts.disks.iter().zip(&is_chosen).map(taken).collect();
    Ok(Verdict { findings, disks })
}

fn apply(rule: Rule, facts: &Facts, choice: &Choice, chosen: &[&DiskFacts]) -> Vec<Finding> {
    match rule {
        Rule::DiskFormat => chosen.iter().filter_map(|disk| disks::format(disk)).collect(),
        Rule::DiskStorage => chosen.iter().flat_map(|disk| disks::storage(disk)).collect(),
        Rule::BackupRunning => work::backups(facts),
        Rule::RestoreRunning => work::restores(facts),
        Rule::HostedEngine => vm::hosted_engine(&facts.vm),
        Rule::SnapshotPreview => vm::preview(facts),
        Rule::CloudInitScript => vm::script(&facts.vm, choice.cloud_init),
        Rule::VmState => vm::state(facts),
        Rule::DiskState => disks::states(facts, chosen),
        Rule::EngineVersion => vm::versions(facts),
        // Known only when all others have spoken.
        Rule::NoDisks => Vec::new(),
    }
}

/// Takes disks out of the way that the operator accepts to miss, and returns their ids. What else
/// is wrong with such a disk no longer matters.
fn leave_out(findings: &mut [Finding], choice: &Choice) -> BTreeSet<String> {
    let may_go = |finding: &&Finding| choice.skip_ineligible && finding.can_leave_out;
    let ids: BTreeSet<_> = findings
        .iter()
        .filter(may_go)
        .filter_map(|finding| finding.disk_id().map(ToOwned::to_owned))
        .collect();
    for finding in findings {
        if finding.disk_id().is_some_and(|id| ids.contains(id)) {
            finding.effect = Effect::LeavesOut;
        }
    }
    ids
}
