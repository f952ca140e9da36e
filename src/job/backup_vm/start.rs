//! The backup of the engine begins: as wanted, or as near to that as the engine can.

use crate::error::{Error, ErrorKind, Result};
use crate::job::backup_vm::plan::Base;
use crate::job::backup_vm::{Consistency, Site, Subject};
use crate::job::journal::Journal;
use crate::job::leftovers::end_backup;
use crate::ovirt::backup::begin::{NotBegun, Ready, Wanted, begin, ready};
use crate::ovirt::backup::tag::Tag;
use crate::ovirt::wire::VmStatus;

/// A backup of the engine that holds the disks.
pub(super) struct Started {
    /// Its id.
    pub(super) id: String,
    /// What the engine says about it.
    pub(super) ready: Ready,
    /// What it begins from in the end.
    pub(super) base: Base,
    /// How consistent the disks are, for people.
    pub(super) reached: &'static str,
    /// What was done in another way than wanted, and why.
    pub(super) fallbacks: Vec<String>,
}

/// What is asked of the engine next.
struct Ask {
    base: Base,
    needs_consistency: bool,
    fallbacks: Vec<String>,
}

/// Begins, and begins in another way where the engine cannot do it so: in full, and, if
/// consistency is only preferred, without a frozen guest. Whatever fails is ended.
pub(super) fn start(
    subject: &Subject<'_>,
    disks: &[&str],
    base: Base,
    journal: &Journal,
    tag: Tag,
) -> Result<Started> {
    let mut ask = Ask { base, needs_consistency: freezes(subject)?, fallbacks: Vec::new() };
    loop {
        match attempt(subject, disks, &ask, journal, tag)? {
            Ok((id, ready)) => {
                let reached = reached(subject, &ask);
                let Ask { base, fallbacks, .. } = ask;
                return Ok(Started { id, ready, base, reached, fallbacks });
            }
            Err(reason) => fall_back(subject, &mut ask, reason)?,
        }
    }
}

/// Whether the engine is asked to begin only where it can freeze the guest. Asking where that
/// cannot work would fail a backup in the engine every time.
fn freezes(subject: &Subject<'_>) -> Result<bool> {
    if subject.facts.vm.status == Some(VmStatus::Down) {
        return Ok(false);
    }
    let can = subject.site.abilities.requires_consistency;
    match subject.options().consistency {
        Consistency::Off => Ok(false),
        Consistency::Preferred => Ok(can && subject.facts.vm.has_agent && !subject.is_hybrid()),
        Consistency::Required if can => Ok(true),
        Consistency::Required => {
            let what = "this engine cannot promise that the guest is frozen: that came with 4.4.4";
            Err(Error::new(ErrorKind::Unsupported, what))
        }
    }
}

fn reached(subject: &Subject<'_>, ask: &Ask) -> &'static str {
    match () {
        () if subject.facts.vm.status == Some(VmStatus::Down) => "offline",
        () if ask.needs_consistency => "filesystem",
        () => "crash",
    }
}

/// A backup that did not begin, where another may.
struct Unfit {
    reason: String,
    is_full_needed: bool,
}

/// One try. It is over when it fails.
fn attempt(
    subject: &Subject<'_>,
    disks: &[&str],
    ask: &Ask,
    journal: &Journal,
    tag: Tag,
) -> Result<std::result::Result<(String, Ready), Unfit>> {
    let Site { engine, repo, abilities, .. } = subject.site;
    let chosen = abilities.takes_ids.then(|| repo.environment().chance.uuid());
    if let Some(id) = &chosen {
        journal.backup(id)?;
    }
    let wanted = Wanted {
        vm: subject.vm(),
        disks,
        tag,
        id: chosen.as_deref(),
        from: ask.base.checkpoint(),
        needs_consistency: ask.needs_consistency,
        // Where the engine works by a snapshot it does not heed what is asked of consistency.
        without_snapshot: ask.needs_consistency && subject.is_hybrid(),
    };
    let begun = begin(engine, &wanted);
    let (id, begun) = match (begun, &chosen) {
        (Ok(id), Some(_)) => (id.clone(), ready(engine, &wanted, &id)),
        (Ok(id), None) => match journal.backup(&id) {
            Ok(()) => (id.clone(), ready(engine, &wanted, &id)),
            Err(error) => (id, Err(error.into())),
        },
        (Err(not_begun), Some(id)) => (id.clone(), Err(not_begun)),
        (Err(not_begun), None) => return unfit(not_begun).map(Err),
    };
    match begun {
        Ok(ready) => Ok(Ok((id, ready))),
        Err(not_begun) => {
            end_backup(&subject.firm(), subject.vm(), &id)?;
            journal.done(&id)?;
            unfit(not_begun).map(Err)
        }
    }
}

fn unfit(not_begun: NotBegun) -> Result<Unfit> {
    match not_begun {
        NotBegun::Unfit { reason, is_full_needed } => Ok(Unfit { reason, is_full_needed }),
        NotBegun::Failed(error) => Err(error),
    }
}

/// Asks for less. The engine seldom says what it could not do, so what is asked for less at a time
/// is one thing.
fn fall_back(subject: &Subject<'_>, ask: &mut Ask, unfit: Unfit) -> Result<()> {
    let may_do_without = subject.options().consistency == Consistency::Preferred;
    if ask.needs_consistency && may_do_without && !unfit.is_full_needed {
        ask.needs_consistency = false;
        let what = format!("the file systems of the guest were not frozen: {}", unfit.reason);
        ask.fallbacks.push(what);
        return Ok(());
    }
    if ask.base.checkpoint().is_some() {
        ask.fallbacks.push(format!("all disks were read in full: {}", unfit.reason));
        ask.base = Base::Nothing(unfit.reason);
        return Ok(());
    }
    Err(Error::new(ErrorKind::Remote, unfit.reason))
}
