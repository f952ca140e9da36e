//! What a backup begins from, and how each disk is read. Pure.

use std::collections::BTreeSet;

use crate::format::commit::{DiskRecord, PointRecord, is_valid_name};
use crate::ovirt::backup::checkpoints::unfit;
use crate::ovirt::facts::DiskFacts;
use crate::ovirt::wire::{BackupMode, Checkpoint, DiskFormat};

/// What a backup begins from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Base {
    /// From this restore point, by its checkpoint.
    Point {
        /// The restore point.
        point: Box<PointRecord>,
        /// The mark on the engine.
        checkpoint: String,
    },
    /// From nothing, and why.
    Nothing(String),
}

impl Base {
    pub(super) fn checkpoint(&self) -> Option<&str> {
        match self {
            Self::Point { checkpoint, .. } => Some(checkpoint),
            Self::Nothing(_) => None,
        }
    }
}

/// Chooses among the restore points of a VM, the newest last. Only the newest that came from this
/// VM of the engine counts: an older one has a checkpoint only where deleting that has failed.
pub(super) fn choose(points: &[PointRecord], vm: &str, checkpoints: &[Checkpoint]) -> Base {
    let of_vm = |point: &&PointRecord| point.engine.as_ref().is_some_and(|from| from.vm_id == vm);
    let Some(point) = points.iter().rev().find(of_vm) else {
        return Base::Nothing("it is the first restore point of this VM".to_owned());
    };
    let checkpoint = point.engine.as_ref().and_then(|from| from.checkpoint_id.clone());
    let Some(checkpoint) = checkpoint else {
        return Base::Nothing("the last restore point has no checkpoint".to_owned());
    };
    match unfit(checkpoints, &checkpoint) {
        Some(reason) => Base::Nothing(reason),
        None => Base::Point { point: Box::new(point.clone()), checkpoint },
    }
}

/// How a disk is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Read<'a> {
    /// What has changed since that disk of the base.
    Changes(&'a DiskRecord),
    /// All of it, and why.
    Full(String),
}

/// Decides how a disk is read. The engine's word is needed and is not enough: the disk must be the
/// one that the base holds, with the same format and size.
pub(super) fn read<'a>(base: &'a Base, disk: &DiskFacts, mode: &BackupMode) -> Read<'a> {
    let point = match base {
        Base::Nothing(reason) => return Read::Full(reason.clone()),
        Base::Point { point, .. } => point,
    };
    let full = |reason: &str| Read::Full(reason.to_owned());
    if disk.format == Some(DiskFormat::Raw) {
        return full("RAW disks have no record of changes");
    }
    let is_it = |record: &&DiskRecord| record.engine.as_ref().is_some_and(|e| e.id == disk.id);
    let Some(before) = point.disks.iter().find(is_it) else {
        return full("the disk is not in the last restore point");
    };
    let format = before.engine.as_ref().map(|engine| engine.format.as_str());
    if format != disk.format.as_ref().map(DiskFormat::word) {
        return full("the format of the disk has changed");
    }
    if disk.size_bytes != Some(before.size_bytes) {
        return full("the size of the disk has changed");
    }
    match mode {
        BackupMode::Incremental => Read::Changes(before),
        _ => full("the engine has no record of changes for this disk"),
    }
}

/// Names for disks in a restore point: the engine's, made valid and unique.
pub(super) fn disk_names<'a>(disks: impl IntoIterator<Item = &'a DiskFacts>) -> Vec<String> {
    let mut taken = BTreeSet::new();
    let mut name = |disk: &DiskFacts| {
        let wanted = match is_valid_name(&disk.name) {
            true => disk.name.clone(),
            false => disk.id.clone(),
        };
        // Ids are unique.
        let name = if taken.contains(&wanted) { disk.id.clone() } else { wanted };
        taken.insert(name.clone());
        name
    };
    disks.into_iter().map(&mut name).collect()
}
