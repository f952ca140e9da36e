//! Rules about the VM as a whole, and about the engine.

use crate::ovirt::eligibility::choice::CloudInit;
use crate::ovirt::eligibility::finding::{ABSENT, Effect, Finding, Object, ObjectKind};
use crate::ovirt::eligibility::rule::Rule;
use crate::ovirt::eligibility::work::is_for_backup;
use crate::ovirt::facts::{Facts, Level, SnapshotFacts, VmFacts};
use crate::ovirt::wire::{SnapshotStatus, SnapshotType, VmOrigin, VmStatus};

/// The first engine, and the first level, with backups at all.
const BACKUPS: Level = Level::new(4, 4);
/// The first level at which a VM that is down can be backed up.
const COLD_BACKUPS: Level = Level::new(4, 5);

pub(super) fn hosted_engine(vm: &VmFacts) -> Vec<Finding> {
    let origin = match &vm.origin {
        Some(origin @ (VmOrigin::HostedEngine | VmOrigin::ManagedHostedEngine)) => origin.word(),
        _ => return Vec::new(),
    };
    let why = "the engine cannot back up the VM that it runs in";
    let remedy = "back up the engine with its own program: engine-backup --mode=backup";
    vec![Finding::new(Rule::HostedEngine, vm, ("origin", origin), why, remedy)]
}

pub(super) fn preview(facts: &Facts) -> Vec<Finding> {
    let find = |snapshot: &SnapshotFacts| {
        let attribute = match (&snapshot.status, &snapshot.kind) {
            (Some(SnapshotStatus::InPreview), _) => ("snapshot.snapshot_status", "in_preview"),
            (_, Some(SnapshotType::Preview)) => ("snapshot.snapshot_type", "preview"),
            _ => return None,
        };
        let object = Object::with_id(ObjectKind::Snapshot, &snapshot.id);
        let why = "while a snapshot is previewed, it is open which state of the VM is to stay";
        let remedy = "commit or undo the preview in the engine";
        Some(Finding::new(Rule::SnapshotPreview, object, attribute, why, remedy))
    };
    facts.snapshots.iter().filter_map(find).collect()
}

pub(super) fn script(vm: &VmFacts, cloud_init: CloudInit) -> Vec<Finding> {
    let places = [
        (vm.has_script, "initialization.custom_script"),
        (vm.next_run_has_script, "next_run.initialization.custom_script"),
    ];
    let is_open = cloud_init != CloudInit::Keep;
    let found = places.into_iter().filter(|(has_script, _)| *has_script && is_open);
    let finding = |(_, attribute)| {
        let why = "a script may hold passwords, which would be stored with the backup";
        let remedy = "leave the script out of what is stored with --cloud-init redact, or \
                      remove it from the VM";
        let finding = Finding::new(Rule::CloudInitScript, vm, (attribute, "(set)"), why, remedy);
        match cloud_init {
            CloudInit::Refuse | CloudInit::Keep => finding,
            CloudInit::Redact => Finding {
                effect: Effect::Redacts,
                why: "the script is not stored with the backup".to_owned(),
                remedy: "keep the script elsewhere: a restored VM will not have it".to_owned(),
                ..finding
            },
        }
    };
    found.map(finding).collect()
}

pub(super) fn state(facts: &Facts) -> Vec<Finding> {
    let snapshots = facts.snapshots.iter().filter_map(snapshot_state);
    let status = status(&facts.vm);
    status.into_iter().chain(stateless(facts)).chain(snapshots).collect()
}

fn status(vm: &VmFacts) -> Option<Finding> {
    let (why, remedy) = match vm.status.as_ref() {
        Some(VmStatus::Up | VmStatus::Down) => return None,
        Some(VmStatus::Paused | VmStatus::Suspended) => (
            "the engine backs up VMs that are up or down, and this one is halted in between",
            "resume it or shut it down; a pause may come from a full or failed storage domain",
        ),
        Some(VmStatus::Migrating) => {
            ("the VM is moving to another host", "wait until it has arrived")
        }
        Some(VmStatus::ImageLocked) => {
            ("something is at work on the disks of the VM", "wait for the task in the engine")
        }
        Some(VmStatus::NotResponding | VmStatus::Unknown) => (
            "the engine does not know what the VM is doing",
            "look at the host of the VM and at the network between it and the engine",
        ),
        Some(VmStatus::Other(_)) | None => (
            "this release does not know this state",
            "look at the VM in the engine; a newer release may know the state",
        ),
        Some(_) => ("the VM is on its way to another state", "wait until it is up or down"),
    };
    let value = vm.status.as_ref().map_or(ABSENT, VmStatus::word);
    Some(Finding::new(Rule::VmState, vm, ("status", value), why, remedy))
}

/// A VM that forgets everything when it stops, and has not stopped.
fn stateless(facts: &Facts) -> Option<Finding> {
    let layer = facts.snapshots.iter().find(|s| s.kind == Some(SnapshotType::Stateless));
    let (object, attribute) = match layer {
        Some(layer) => (
            Object::with_id(ObjectKind::Snapshot, &layer.id),
            ("snapshot.snapshot_type", "stateless"),
        ),
        None if facts.vm.is_stateless && facts.vm.status != Some(VmStatus::Down) => {
            (Object::from(&facts.vm), ("stateless", "true"))
        }
        None => return None,
    };
    let why = "the VM runs without a state: what it has written is thrown away when it stops";
    let remedy = "shut it down, and back up what stays";
    Some(Finding::new(Rule::VmState, object, attribute, why, remedy))
}

fn snapshot_state(snapshot: &SnapshotFacts) -> Option<Finding> {
    // Previews, and snapshots that the engine makes for backups, have rules of their own.
    if is_for_backup(snapshot) {
        return None;
    }
    let (why, remedy) = match &snapshot.status {
        Some(SnapshotStatus::Ok | SnapshotStatus::InPreview) => return None,
        Some(SnapshotStatus::Locked) => {
            ("a snapshot is being made, deleted or restored", "wait for the task in the engine")
        }
        Some(SnapshotStatus::Other(_)) | None => (
            "this release does not know this state",
            "look at the snapshots of the VM in the engine; a newer release may know the state",
        ),
    };
    let value = snapshot.status.as_ref().map_or(ABSENT, SnapshotStatus::word);
    let object = Object::with_id(ObjectKind::Snapshot, &snapshot.id);
    let attribute = ("snapshot.snapshot_status", value);
    Some(Finding::new(Rule::VmState, object, attribute, why, remedy))
}

pub(super) fn versions(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    let rule = Rule::EngineVersion;
    if facts.engine < BACKUPS {
        let attribute = ("product_info.version", &*facts.engine.to_string());
        let why = format!("engines have backups from {BACKUPS} on");
        let remedy = "upgrade the engine";
        findings.push(Finding::new(rule, Object::engine(), attribute, why, remedy));
    }
    let needed = match facts.vm.status {
        Some(VmStatus::Down) => COLD_BACKUPS,
        _ => BACKUPS,
    };
    if facts.level.is_none_or(|level| level < needed) {
        let value = facts.level.map_or_else(|| ABSENT.to_owned(), |level| level.to_string());
        let (why, remedy) = match facts.level.is_some_and(|level| level >= BACKUPS) {
            true => (
                format!("a VM that is down can be backed up from level {needed} on"),
                "start the VM, or raise the compatibility level of the cluster or the VM",
            ),
            false => (
                format!("VMs can be backed up from the compatibility level {needed} on"),
                "raise the compatibility level of the cluster or the VM",
            ),
        };
        let attribute = ("cluster.version", &*value);
        findings.push(Finding::new(rule, &facts.vm, attribute, why, remedy));
    }
    findings
}
