//! Rules about disks.

use crate::ovirt::eligibility::finding::{ABSENT, Finding};
use crate::ovirt::eligibility::rule::Rule;
use crate::ovirt::facts::{DiskFacts, Facts};
use crate::ovirt::wire::{ContentType, DiskFormat, DiskStatus, StorageType};

const LEAVE_OUT: &str = "leave it out with --skip-ineligible or --exclude-disk";

pub(super) fn format(disk: &DiskFacts) -> Option<Finding> {
    // What is no image has no format either.
    if disk.storage != Some(StorageType::Image) {
        return None;
    }
    let value = match &disk.format {
        Some(DiskFormat::Cow | DiskFormat::Raw) => return None,
        Some(DiskFormat::Other(word)) => word,
        None => ABSENT,
    };
    let why = "only RAW and QCOW2 images can be read through the engine";
    let remedy = format!("convert the disk to RAW or QCOW2 in the engine, or {LEAVE_OUT}");
    let finding = Finding::new(Rule::DiskFormat, disk, ("disk.format", value), why, remedy);
    Some(finding.can_leave_out())
}

pub(super) fn storage(disk: &DiskFacts) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut refuse = |attribute: (&'static str, &str), why: &str, inside: &str| {
        let remedy = format!("{inside}, or {LEAVE_OUT}");
        let finding = Finding::new(Rule::DiskStorage, disk, attribute, why, remedy);
        findings.push(finding.can_leave_out());
    };
    if disk.storage != Some(StorageType::Image) {
        let value = disk.storage.as_ref().map_or(ABSENT, StorageType::word);
        let why = storage_reason(disk.storage.as_ref());
        refuse(("disk.storage_type", value), why, "back up what is on it from inside the guest");
    }
    if disk.is_shareable {
        let why = "the engine leaves shareable disks out of backups without a word";
        let inside = "make the disk not shareable, back up what is on it from inside a guest";
        refuse(("disk.shareable", "true"), why, inside);
    }
    if disk.is_external {
        let why = "the disk is outside of the engine's storage";
        refuse(("disk.external_disk", "(set)"), why, "back it up where it is stored");
    }
    match &disk.content {
        None | Some(ContentType::Data) => {}
        Some(content) => {
            let why = "the disk does not hold data of the VM";
            refuse(("disk.content_type", content.word()), why, "detach it from the VM");
        }
    }
    findings
}

const fn storage_reason(storage: Option<&StorageType>) -> &'static str {
    match storage {
        Some(StorageType::Lun) => "a direct LUN is not an image: the engine leaves it out",
        Some(StorageType::Cinder) => "the engine leaves Cinder disks out of backups without a word",
        Some(StorageType::ManagedBlockStorage) => {
            "the engine leaves managed block disks out of backups without a word"
        }
        _ => "this release does not know this kind of storage",
    }
}

/// States of the chosen disks, and of images that belong to none that is shown.
pub(super) fn states(facts: &Facts, chosen: &[&DiskFacts]) -> Vec<Finding> {
    let mut findings: Vec<_> = chosen.iter().flat_map(|disk| disk_states(disk)).collect();
    let is_illegal = |disk: &DiskFacts| disk.status == Some(DiskStatus::Illegal);
    if facts.vm.has_illegal_images && !facts.disks.iter().any(is_illegal) {
        findings.push(Finding::new(
            Rule::DiskState,
            &facts.vm,
            ("has_illegal_images", "true"),
            "an image in the chain of a snapshot is damaged",
            "repair or delete the snapshot with the illegal image in the engine",
        ));
    }
    findings
}

fn disk_states(disk: &DiskFacts) -> Vec<Finding> {
    let rule = Rule::DiskState;
    let mut findings = Vec::new();
    if !disk.is_active {
        let why = "the engine cannot back up a disk that is not plugged in";
        let remedy = format!("activate the disk in the engine, or {LEAVE_OUT}");
        let attribute = ("disk_attachment.active", "false");
        findings.push(Finding::new(rule, disk, attribute, why, remedy).can_leave_out());
    }
    // What is no image has no status either.
    if disk.storage != Some(StorageType::Image) {
        return findings;
    }
    let refuse = |value: &str, why: &str, remedy: &str| {
        Finding::new(rule, disk, ("disk.status", value), why, remedy)
    };
    match &disk.status {
        Some(DiskStatus::Ok) => {}
        Some(status @ DiskStatus::Locked) => findings.push(refuse(
            status.word(),
            "something is at work on the disk",
            "wait for the task in the engine that has locked it, or name others with --disk",
        )),
        Some(status @ DiskStatus::Illegal) => {
            let remedy = format!("repair or remove the disk in the engine, or {LEAVE_OUT}");
            let why = "the engine has found the image damaged";
            findings.push(refuse(status.word(), why, &remedy).can_leave_out());
        }
        other => findings.push(refuse(
            other.as_ref().map_or(ABSENT, DiskStatus::word),
            "this release does not know this state",
            "look at the disk in the engine; a newer release may know the state",
        )),
    }
    findings
}

/// That nothing is left to back up.
pub(super) fn none_left(facts: &Facts, chosen: &[&DiskFacts]) -> Finding {
    let (why, remedy) = match (facts.disks.is_empty(), chosen.is_empty()) {
        (true, _) => (
            "the engine shows no disk of this VM",
            "attach its disks; or give the user a role that lets it see them",
        ),
        (false, true) => ("every disk is excluded by name", "exclude fewer disks"),
        (false, false) => (
            "every disk has to be left out",
            "mend what the other findings name for a disk at least",
        ),
    };
    let count = facts.disks.len().to_string();
    Finding::new(Rule::NoDisks, &facts.vm, ("disk_attachments", &count), why, remedy)
}
