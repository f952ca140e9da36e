//! Rules about what others, or we, are doing with the VM.

use crate::ovirt::eligibility::finding::{ABSENT, Finding, Object, ObjectKind};
use crate::ovirt::eligibility::rule::Rule;
use crate::ovirt::facts::{BackupFacts, Facts, OwnWork, SnapshotFacts, TransferFacts};
use crate::ovirt::wire::{BackupPhase, Direction, SnapshotStatus, TransferPhase};

/// How the engine describes the snapshot that it makes for a backup.
const HYBRID_SNAPSHOT: &str = "Auto-generated for Backup VM";

pub(super) fn backups(facts: &Facts) -> Vec<Finding> {
    let is_ours = own(facts, OwnWork::Backup, Rule::BackupRunning);
    let running = facts.backups.iter().filter(|backup| !is_over(backup)).map(running_backup);
    let downloads = transfers(facts, |direction| direction != Some(&Direction::Upload));
    let downloads = downloads.map(|transfer| running_transfer(transfer, Rule::BackupRunning));
    let hybrid =
        facts.snapshots.iter().filter(|snapshot| is_for_backup(snapshot)).map(hybrid_snapshot);
    is_ours.chain(running).chain(downloads).chain(hybrid).collect()
}

pub(super) fn restores(facts: &Facts) -> Vec<Finding> {
    let is_ours = own(facts, OwnWork::Restore, Rule::RestoreRunning);
    let uploads = transfers(facts, |direction| direction == Some(&Direction::Upload));
    is_ours.chain(uploads.map(|upload| running_transfer(upload, Rule::RestoreRunning))).collect()
}

fn own(facts: &Facts, work: OwnWork, rule: Rule) -> impl Iterator<Item = Finding> + '_ {
    facts.own.iter().filter(move |session| session.work == work).map(move |session| {
        Finding::new(
            rule,
            Object::session(session.who.clone()),
            ("vm_lock", "held"),
            "a session of this repository has the VM",
            "wait until it ends",
        )
    })
}

/// Some engines leave the phase out for a while.
fn is_over(backup: &BackupFacts) -> bool {
    backup.phase.as_ref().is_some_and(BackupPhase::is_over)
}

fn running_backup(backup: &BackupFacts) -> Finding {
    let since = backup.began.map(|time| format!(" since {}", time.rfc3339())).unwrap_or_default();
    let described = match backup.description.as_str() {
        "" => String::new(),
        description => format!(", described as {description:?}"),
    };
    Finding::new(
        Rule::BackupRunning,
        Object::with_id(ObjectKind::Backup, &backup.id),
        ("backup.phase", backup.phase.as_ref().map_or(ABSENT, BackupPhase::word)),
        format!("the engine has a backup of this VM under way{since}{described}"),
        "wait until it ends; if whoever began it is gone, finalize it through the engine's API",
    )
}

/// Transfers that are not over and go that way.
fn transfers<'a>(
    facts: &'a Facts,
    goes: impl Fn(Option<&Direction>) -> bool + 'a,
) -> impl Iterator<Item = &'a TransferFacts> {
    facts.transfers.iter().filter(move |transfer| {
        let is_over = transfer.phase.as_ref().is_some_and(TransferPhase::is_over);
        !is_over && goes(transfer.direction.as_ref())
    })
}

fn running_transfer(transfer: &TransferFacts, rule: Rule) -> Finding {
    let direction = transfer.direction.as_ref().map_or(ABSENT, Direction::word);
    Finding::new(
        rule,
        Object::with_id(ObjectKind::Transfer, &transfer.id),
        ("image_transfer.phase", transfer.phase.as_ref().map_or(ABSENT, TransferPhase::word)),
        format!("a transfer of the disk {} is under way, direction {direction}", transfer.disk),
        "wait until it ends, or cancel it in the engine",
    )
}

/// Whether the engine made the snapshot for a backup.
pub fn is_for_backup(snapshot: &SnapshotFacts) -> bool {
    snapshot.description.starts_with(HYBRID_SNAPSHOT)
}

fn hybrid_snapshot(snapshot: &SnapshotFacts) -> Finding {
    let value = snapshot.status.as_ref().map_or(ABSENT, SnapshotStatus::word);
    Finding::new(
        Rule::BackupRunning,
        Object::with_id(ObjectKind::Snapshot, &snapshot.id),
        ("snapshot.snapshot_status", value),
        format!("the engine made this snapshot for a backup: {:?}", snapshot.description),
        "wait until that backup ends; if none runs, the snapshot was left behind: delete it",
    )
}
