//! A VM of the engine becomes a restore point.
//!
//! | step | what | if it stops here |
//! |--:|---|---|
//! | 1 | facts, and all rules; what killed runs have left counts as gone | nothing happened |
//! | 2 | those leftovers are ended | as 1 |
//! | 3 | the VM is locked and the session registered | the next session clears it |
//! | 4 | the configuration of the VM is stored: the engine gives none later | as 3 |
//! | 5 | the backup of the engine begins; it is written down before | leftovers, for the next run |
//! | 6 | disk by disk: a transfer opens, the disk is stored, the transfer is finished | as 5 |
//! | 7 | the restore point is committed | it exists; leftovers as in 5 |
//! | 8 | the backup of the engine is finalized | the restore point exists |
//! | 9 | checkpoints of earlier runs go | as 8 |
//!
//! Whatever fails after 5 ends the transfers, waits for them, and finalizes the backup, also when
//! the end of the run was asked for.

mod attempt;
mod disk;
mod judge;
mod many;
mod plan;
mod start;

use std::time::Duration;

use crate::base::cancel::Cancel;
use crate::error::Result;
use crate::format::commit::PointRecord;
use crate::format::engine::{LeftOut, Sites};
use crate::ingest::BackupOptions;
use crate::job::transfer::TransferSettings;
use crate::ovirt::backup::abilities::Abilities;
use crate::ovirt::client::Engine;
use crate::ovirt::configuration::Secrets;
use crate::ovirt::eligibility::{Choice, Effect, Finding, Taken, Verdict};
use crate::ovirt::facts::{DiskFacts, Facts, Level};
use crate::repo::Repository;

pub use many::{VmReport, back_up_vms};

/// Why a disk is left out that somebody left out by name.
pub const NOT_CHOSEN: &str = "it was not chosen";
/// Levels of compatibility from this on make engines work by snapshots, if they can.
const HYBRID: Level = Level::new(4, 7);

/// What is asked of the file systems of a guest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Consistency {
    /// No backup without an agent in the guest freezing them.
    Required,
    /// Frozen where there is an agent.
    #[default]
    Preferred,
    /// Whatever comes.
    Off,
}

impl Consistency {
    /// The word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Required => "required",
            Self::Preferred => "preferred",
            Self::Off => "off",
        }
    }
}

/// How VMs are backed up.
#[derive(Clone)]
pub struct BackupVmOptions {
    /// Which disks, and what may be missing.
    pub choice: Choice,
    /// What is asked of the guests.
    pub consistency: Consistency,
    /// Whether everything is read, changed or not.
    pub full: bool,
    /// How long to wait for other backups and restores of a VM.
    pub wait: Duration,
    /// How images travel.
    pub transfer: TransferSettings,
    /// How disks are stored.
    pub backup: BackupOptions,
    /// Names of places, for people.
    pub sites: Option<Sites>,
    /// Whether scripts, passwords and keys of configurations are kept where that is safe.
    pub keep_secrets: bool,
}

impl BackupVmOptions {
    /// What becomes of secrets: in a plain repository they are taken out whatever is wanted.
    fn secrets(&self, repo: &Repository) -> Secrets {
        match self.keep_secrets && repo.sealing().is_encrypted() {
            true => Secrets::Kept,
            false => Secrets::TakenOut,
        }
    }
}

/// The engine and the repository, and how to go from one to the other.
pub struct Site<'a> {
    /// The engine.
    pub engine: &'a Engine,
    /// The repository.
    pub repo: &'a Repository,
    /// What the engine can do.
    pub abilities: Abilities,
    /// How.
    pub options: &'a BackupVmOptions,
}

/// How a backup ended that did not fail.
#[derive(Debug)]
pub enum Outcome {
    /// The restore point exists.
    Made(Box<PointRecord>),
    /// A rule refuses.
    Refused(Box<Refusal>),
}

/// What a refusal rests on.
#[derive(Debug)]
pub struct Refusal {
    /// The facts.
    pub facts: Facts,
    /// What the rules say.
    pub verdict: Verdict,
}

/// Backs up the VM of that id.
pub fn back_up_vm(site: &Site<'_>, vm: &str) -> Result<Outcome> {
    let judged = match judge::admit(site, vm)? {
        judge::Judged::Eligible(judged) => judged,
        judge::Judged::Refused(refusal) => return Ok(Outcome::Refused(refusal)),
    };
    let subject = Subject { site, facts: &judged.facts, verdict: &judged.verdict };
    Ok(Outcome::Made(Box::new(attempt::make(&subject)?)))
}

/// A VM that is being backed up.
struct Subject<'a> {
    site: &'a Site<'a>,
    facts: &'a Facts,
    verdict: &'a Verdict,
}

impl Subject<'_> {
    /// Id of the VM.
    fn vm(&self) -> &str {
        &self.facts.vm.id
    }

    fn options(&self) -> &BackupVmOptions {
        self.site.options
    }

    /// Whether the engine works by a snapshot unless it is told otherwise.
    fn is_hybrid(&self) -> bool {
        self.site.abilities.has_hybrid && self.facts.level.is_some_and(|level| level >= HYBRID)
    }

    /// The disks that are backed up.
    fn taken(&self) -> Vec<&DiskFacts> {
        let disks = self.facts.disks.iter().zip(&self.verdict.disks);
        disks.filter(|(_, taken)| **taken == Taken::Yes).map(|(disk, _)| disk).collect()
    }

    /// The disks that are not, and why.
    fn left_out(&self) -> Vec<LeftOut> {
        let disks = self.facts.disks.iter().zip(&self.verdict.disks);
        let left = disks.filter_map(|(disk, taken)| {
            let reason = match taken {
                Taken::Yes => return None,
                Taken::NotChosen => NOT_CHOSEN.to_owned(),
                Taken::LeftOut | Taken::Refused => self.why_left_out(disk),
            };
            Some(LeftOut { name: disk.name.clone(), engine_id: disk.id.clone(), reason })
        });
        left.collect()
    }

    fn why_left_out(&self, disk: &DiskFacts) -> String {
        let of_disk = |finding: &&Finding| {
            finding.effect == Effect::LeavesOut
                && finding.object.id.as_deref() == Some(disk.id.as_str())
        };
        let reasons = self.verdict.findings.iter().filter(of_disk);
        let reasons: Vec<_> =
            reasons.map(|finding| format!("{} is {}", finding.attribute, finding.value)).collect();
        reasons.join(", ")
    }

    /// The session with the engine for what has to be taken back whatever happens.
    fn firm(&self) -> Engine {
        self.site.engine.with_cancel(Cancel::default())
    }
}
