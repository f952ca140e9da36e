//! A witness for each rule and each corner, in one table.

use super::*;
use crate::error::ErrorKind;
use crate::ovirt::facts::{
    BackupFacts, Level, OwnSession, OwnWork, SnapshotFacts, TransferFacts, VmFacts,
};
use crate::ovirt::wire::{
    BackupPhase, ContentType, Direction, DiskFormat, DiskStatus, SnapshotStatus, SnapshotType,
    StorageType, TransferPhase, VmOrigin, VmStatus,
};

fn disk(name: &str) -> DiskFacts {
    DiskFacts {
        id: format!("id-of-{name}"),
        name: name.to_owned(),
        is_active: true,
        is_read_only: false,
        is_bootable: false,
        status: Some(DiskStatus::Ok),
        format: Some(DiskFormat::Cow),
        storage: Some(StorageType::Image),
        content: Some(ContentType::Data),
        is_shareable: false,
        is_external: false,
        size_bytes: Some(1 << 30),
    }
}

fn lun() -> DiskFacts {
    DiskFacts {
        status: None,
        format: None,
        content: None,
        size_bytes: None,
        storage: Some(StorageType::Lun),
        ..disk("lun")
    }
}

fn snapshot(kind: SnapshotType, status: Option<SnapshotStatus>) -> SnapshotFacts {
    let description = "Active VM".to_owned();
    SnapshotFacts { id: "S".to_owned(), description, status, kind: Some(kind) }
}

fn backup(phase: Option<BackupPhase>) -> BackupFacts {
    BackupFacts { id: "B".to_owned(), phase, description: "nightly".to_owned(), began: None }
}

fn transfer(phase: Option<TransferPhase>, direction: Option<Direction>) -> TransferFacts {
    TransferFacts { id: "T".to_owned(), disk: "id-of-system".to_owned(), phase, direction }
}

/// A VM that nothing speaks against.
fn good() -> Facts {
    Facts {
        engine: Level::new(4, 5),
        level: Some(Level::new(4, 7)),
        vm: VmFacts {
            id: "V".to_owned(),
            name: "web01".to_owned(),
            status: Some(VmStatus::Up),
            origin: Some(VmOrigin::Ovirt),
            is_stateless: false,
            has_illegal_images: false,
            has_script: false,
            next_run_has_script: false,
            has_agent: false,
        },
        disks: vec![disk("system"), disk("data")],
        snapshots: vec![snapshot(SnapshotType::Active, Some(SnapshotStatus::Ok))],
        backups: vec![backup(Some(BackupPhase::Succeeded)), backup(Some(BackupPhase::Failed))],
        transfers: vec![
            transfer(Some(TransferPhase::FinishedSuccess), Some(Direction::Download)),
            transfer(Some(TransferPhase::FinishedFailure), Some(Direction::Upload)),
        ],
        own: Vec::new(),
    }
}

/// What is changed, how it is done, and `rule attribute=value` of every finding.
type Witness = (&'static str, fn(&mut Facts), &'static [&'static str]);

fn other<T: for<'a> From<&'a str>>() -> Option<T> {
    Some(T::from("levitating"))
}

const DISKS: &[Witness] = &[
    ("an unknown format", |f| f.disks[0].format = other(), &["disk-format disk.format=levitating"]),
    ("no format", |f| f.disks[0].format = None, &["disk-format disk.format=(absent)"]),
    ("raw", |f| f.disks[0].format = Some(DiskFormat::Raw), &[]),
    ("read-only attachment", |f| f.disks[0].is_read_only = true, &[]),
    ("engine that names no content", |f| f.disks[0].content = None, &[]),
    ("direct LUN", |f| f.disks.push(lun()), &["disk-storage disk.storage_type=lun"]),
    (
        "shareable direct LUN",
        |f| f.disks.push(DiskFacts { is_shareable: true, ..lun() }),
        &["disk-storage disk.storage_type=lun", "disk-storage disk.shareable=true"],
    ),
    (
        "cinder",
        |f| f.disks[1].storage = Some(StorageType::Cinder),
        &["disk-storage disk.storage_type=cinder"],
    ),
    (
        "managed block",
        |f| f.disks[1].storage = Some(StorageType::ManagedBlockStorage),
        &["disk-storage disk.storage_type=managed_block_storage"],
    ),
    (
        "unknown storage",
        |f| f.disks[1].storage = other(),
        &["disk-storage disk.storage_type=levitating"],
    ),
    ("no storage", |f| f.disks[1].storage = None, &["disk-storage disk.storage_type=(absent)"]),
    ("shareable", |f| f.disks[1].is_shareable = true, &["disk-storage disk.shareable=true"]),
    (
        "external disk",
        |f| f.disks[1].is_external = true,
        &["disk-storage disk.external_disk=(set)"],
    ),
    (
        "disk of the hosted engine",
        |f| f.disks[1].content = Some(ContentType::HostedEngineSanlock),
        &["disk-storage disk.content_type=hosted_engine_sanlock"],
    ),
    (
        "unknown content",
        |f| f.disks[1].content = other(),
        &["disk-storage disk.content_type=levitating"],
    ),
    ("unplugged", |f| f.disks[0].is_active = false, &["disk-state disk_attachment.active=false"]),
    (
        "locked disk",
        |f| f.disks[0].status = Some(DiskStatus::Locked),
        &["disk-state disk.status=locked"],
    ),
    (
        "illegal disk",
        |f| {
            f.disks[0].status = Some(DiskStatus::Illegal);
            f.vm.has_illegal_images = true;
        },
        &["disk-state disk.status=illegal"],
    ),
    (
        "illegal image of a snapshot",
        |f| f.vm.has_illegal_images = true,
        &["disk-state has_illegal_images=true"],
    ),
    ("unknown status", |f| f.disks[0].status = other(), &["disk-state disk.status=levitating"]),
    ("no status", |f| f.disks[0].status = None, &["disk-state disk.status=(absent)"]),
    ("no disks", |f| f.disks.clear(), &["no-disks disk_attachments=0"]),
];

const WORK: &[Witness] = &[
    (
        "backup under way",
        |f| f.backups.push(backup(Some(BackupPhase::Ready))),
        &["backup-running backup.phase=ready"],
    ),
    (
        "backup without a phase",
        |f| f.backups.push(backup(None)),
        &["backup-running backup.phase=(absent)"],
    ),
    (
        "backup in an unknown phase",
        |f| f.backups.push(backup(other())),
        &["backup-running backup.phase=levitating"],
    ),
    (
        "download",
        |f| {
            let phase = Some(TransferPhase::Transferring);
            f.transfers.push(transfer(phase, Some(Direction::Download)));
        },
        &["backup-running image_transfer.phase=transferring"],
    ),
    (
        "transfer in an unknown direction",
        |f| f.transfers.push(transfer(None, other())),
        &["backup-running image_transfer.phase=(absent)"],
    ),
    (
        "snapshot of a backup",
        |f| {
            f.snapshots.push(SnapshotFacts {
                description: "Auto-generated for Backup VM".to_owned(),
                ..snapshot(SnapshotType::Regular, Some(SnapshotStatus::Locked))
            });
        },
        &["backup-running snapshot.snapshot_status=locked"],
    ),
    (
        "our own backup",
        |f| f.own.push(OwnSession { work: OwnWork::Backup, who: "process 7".to_owned() }),
        &["backup-running vm_lock=held"],
    ),
    (
        "our own restore",
        |f| f.own.push(OwnSession { work: OwnWork::Restore, who: "process 7".to_owned() }),
        &["restore-running vm_lock=held"],
    ),
    (
        "paused upload",
        |f| {
            let phase = Some(TransferPhase::PausedSystem);
            f.transfers.push(transfer(phase, Some(Direction::Upload)));
        },
        &["restore-running image_transfer.phase=paused_system"],
    ),
    (
        "upload in an unknown phase",
        |f| f.transfers.push(transfer(other(), Some(Direction::Upload))),
        &["restore-running image_transfer.phase=levitating"],
    ),
];

const VM: &[Witness] = &[
    (
        "hosted engine",
        |f| f.vm.origin = Some(VmOrigin::HostedEngine),
        &["hosted-engine origin=hosted_engine"],
    ),
    (
        "managed hosted engine",
        |f| f.vm.origin = Some(VmOrigin::ManagedHostedEngine),
        &["hosted-engine origin=managed_hosted_engine"],
    ),
    ("a VM only named so", |f| f.vm.name = "HostedEngine".to_owned(), &[]),
    ("imported VM", |f| f.vm.origin = Some(VmOrigin::from("vmware")), &[]),
    ("no origin", |f| f.vm.origin = None, &[]),
    (
        "preview, as engines show it",
        |f| {
            f.snapshots = vec![
                snapshot(SnapshotType::Active, Some(SnapshotStatus::Ok)),
                snapshot(SnapshotType::Regular, Some(SnapshotStatus::InPreview)),
                snapshot(SnapshotType::Preview, Some(SnapshotStatus::Ok)),
            ];
        },
        &[
            "snapshot-preview snapshot.snapshot_status=in_preview",
            "snapshot-preview snapshot.snapshot_type=preview",
        ],
    ),
    (
        "script",
        |f| f.vm.has_script = true,
        &["cloud-init-script initialization.custom_script=(set)"],
    ),
    (
        "script of the next start",
        |f| f.vm.next_run_has_script = true,
        &["cloud-init-script next_run.initialization.custom_script=(set)"],
    ),
    ("down", |f| f.vm.status = Some(VmStatus::Down), &[]),
    ("paused", |f| f.vm.status = Some(VmStatus::Paused), &["vm-state status=paused"]),
    ("migrating", |f| f.vm.status = Some(VmStatus::Migrating), &["vm-state status=migrating"]),
    ("locked", |f| f.vm.status = Some(VmStatus::ImageLocked), &["vm-state status=image_locked"]),
    ("unreachable", |f| f.vm.status = Some(VmStatus::Unknown), &["vm-state status=unknown"]),
    ("starting", |f| f.vm.status = Some(VmStatus::PoweringUp), &["vm-state status=powering_up"]),
    ("unknown status", |f| f.vm.status = other(), &["vm-state status=levitating"]),
    ("no status", |f| f.vm.status = None, &["vm-state status=(absent)"]),
    ("stateless VM that runs", |f| f.vm.is_stateless = true, &["vm-state stateless=true"]),
    (
        "stateless VM that is down",
        |f| {
            f.vm.is_stateless = true;
            f.vm.status = Some(VmStatus::Down);
        },
        &[],
    ),
    (
        "stateless VM with its layer",
        |f| {
            f.vm.is_stateless = true;
            f.snapshots.push(snapshot(SnapshotType::Stateless, Some(SnapshotStatus::Ok)));
        },
        &["vm-state snapshot.snapshot_type=stateless"],
    ),
    (
        "locked snapshot",
        |f| f.snapshots[0].status = Some(SnapshotStatus::Locked),
        &["vm-state snapshot.snapshot_status=locked"],
    ),
    (
        "snapshot in an unknown state",
        |f| f.snapshots[0].status = other(),
        &["vm-state snapshot.snapshot_status=levitating"],
    ),
    (
        "engine without backups",
        |f| f.engine = Level::new(4, 3),
        &["engine-version product_info.version=4.3"],
    ),
    ("engine of the next generation", |f| f.engine = Level::new(5, 0), &[]),
    ("old cluster", |f| f.level = Some(Level::new(4, 3)), &["engine-version cluster.version=4.3"]),
    ("running VM at the first level with backups", |f| f.level = Some(Level::new(4, 4)), &[]),
    (
        "VM that is down at that level",
        |f| {
            f.level = Some(Level::new(4, 4));
            f.vm.status = Some(VmStatus::Down);
        },
        &["engine-version cluster.version=4.4"],
    ),
    ("no level", |f| f.level = None, &["engine-version cluster.version=(absent)"]),
];

fn told(verdict: &Verdict) -> Vec<String> {
    let line = |f: &Finding| format!("{} {}={}", f.rule.id(), f.attribute, f.value);
    verdict.findings.iter().map(line).collect()
}

#[test]
fn nothing_speaks_against_a_good_vm() {
    let verdict = evaluate(&good(), &Choice::default()).unwrap();
    assert_eq!((told(&verdict), verdict.disks), (Vec::new(), vec![Taken::Yes; 2]));
}

#[test]
fn every_corner_has_exactly_its_findings() {
    for (corner, change, expected) in [DISKS, WORK, VM].into_iter().flatten() {
        let mut facts = good();
        change(&mut facts);
        let verdict = evaluate(&facts, &Choice::default()).unwrap();
        assert_eq!(told(&verdict), *expected, "{corner}");
        assert_eq!(verdict.is_eligible(), expected.is_empty(), "{corner}");
        for finding in verdict.findings {
            let texts = [&finding.why, &finding.remedy];
            assert!(texts.iter().all(|text| !text.is_empty() && !text.ends_with('.')), "{corner}");
        }
    }
}

#[test]
fn every_rule_has_a_witness() {
    let all = || [DISKS, WORK, VM].into_iter().flatten().flat_map(|(_, _, findings)| *findings);
    for rule in Rule::ALL {
        let start = format!("{} ", rule.id());
        assert!(all().any(|finding| finding.starts_with(&start)), "{rule:?}");
    }
}

#[test]
fn all_findings_are_reported_at_once_in_the_order_of_the_rules() {
    let mut facts = good();
    let expected: Vec<_> = Rule::ALL.into_iter().filter(|rule| *rule != Rule::NoDisks).collect();
    for rule in expected.iter().rev() {
        let start = format!("{} ", rule.id());
        let mut all = [DISKS, WORK, VM].into_iter().flatten();
        let witness = all.find(|(_, _, findings)| findings.iter().any(|f| f.starts_with(&start)));
        let (_, change, _) = witness.expect("every rule has a witness");
        change(&mut facts);
    }
    let verdict = evaluate(&facts, &Choice::default()).unwrap();
    let mut rules: Vec<_> = verdict.findings.iter().map(|finding| finding.rule).collect();
    rules.dedup();
    assert_eq!(rules, expected);
}

fn judge(change: fn(&mut Facts), choice: &Choice) -> Verdict {
    let mut facts = good();
    change(&mut facts);
    evaluate(&facts, choice).unwrap()
}

#[test]
fn disks_that_can_never_be_backed_up_are_skipped_if_that_is_wanted() {
    let skip = Choice { skip_ineligible: true, ..Choice::default() };
    let verdict = judge(|f| f.disks.push(lun()), &skip);
    assert_eq!(verdict.disks, [Taken::Yes, Taken::Yes, Taken::LeftOut]);
    assert_eq!(verdict.findings[0].effect, Effect::LeavesOut);
    assert!(verdict.is_eligible() && verdict.is_incomplete());
    let verdict = judge(|f| f.disks[0].status = Some(DiskStatus::Locked), &skip);
    assert_eq!(verdict.disks, [Taken::Refused, Taken::Yes]);
    assert!(!verdict.is_eligible());
}

#[test]
fn what_else_is_wrong_with_a_skipped_disk_does_not_matter() {
    let skip = Choice { skip_ineligible: true, ..Choice::default() };
    let both = |f: &mut Facts| {
        f.disks[0].status = Some(DiskStatus::Locked);
        f.disks[0].is_active = false;
    };
    let verdict = judge(both, &skip);
    assert!(verdict.is_eligible(), "{:?}", verdict.findings);
    assert_eq!((verdict.findings.len(), verdict.disks[0]), (2, Taken::LeftOut));
}

#[test]
fn a_vm_whose_disks_are_all_skipped_has_nothing_to_back_up() {
    let skip = Choice { skip_ineligible: true, ..Choice::default() };
    let verdict = judge(|f| f.disks = vec![lun()], &skip);
    let expected = ["disk-storage disk.storage_type=lun", "no-disks disk_attachments=1"];
    assert_eq!(told(&verdict), expected);
    assert!(!verdict.is_eligible());
}

#[test]
fn disks_that_were_not_chosen_are_not_judged_and_not_missed() {
    let except = vec!["lun".to_owned()];
    let only = vec!["system".to_owned(), "id-of-data".to_owned()];
    for choice in [Choice { except, ..Choice::default() }, Choice { only, ..Choice::default() }] {
        let verdict = judge(|f| f.disks.push(lun()), &choice);
        assert_eq!(verdict.disks, [Taken::Yes, Taken::Yes, Taken::NotChosen]);
        assert!(verdict.is_eligible() && !verdict.is_incomplete());
    }
    let except = vec!["system".to_owned(), "data".to_owned()];
    let verdict = judge(|_| {}, &Choice { except, ..Choice::default() });
    assert_eq!(told(&verdict), ["no-disks disk_attachments=2"]);
}

#[test]
fn a_choice_of_a_disk_that_is_not_there_or_not_clear_is_an_error() {
    let only = |name: &str| Choice { only: vec![name.to_owned()], ..Choice::default() };
    let missing = evaluate(&good(), &only("log")).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    let mut twins = good();
    twins.disks[1].name = "system".to_owned();
    assert_eq!(evaluate(&twins, &only("system")).unwrap_err().kind(), ErrorKind::Invalid);
    assert!(evaluate(&twins, &only("id-of-data")).is_ok());
}

#[test]
fn a_script_that_is_to_be_redacted_stops_nothing() {
    let redact = Choice { cloud_init: CloudInit::Redact, ..Choice::default() };
    let verdict = judge(|f| f.vm.has_script = true, &redact);
    assert_eq!(verdict.findings[0].effect, Effect::Redacts);
    assert!(verdict.is_eligible() && !verdict.is_incomplete());
}
