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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::UtcTime;
    use crate::base::id::{ChunkId, RepoId, SessionId};
    use crate::format::commit::{BackupStats, DiskSource};
    use crate::format::engine::{
        BackupKind, ConsistencyRecord, DiskRead, EngineDisk, EngineRecord,
    };
    use crate::ovirt::wire::{CheckpointState, DiskStatus, StorageType};

    fn facts(id: &str, name: &str) -> DiskFacts {
        DiskFacts {
            id: id.to_owned(),
            name: name.to_owned(),
            is_active: true,
            is_read_only: false,
            is_bootable: false,
            status: Some(DiskStatus::Ok),
            format: Some(DiskFormat::Cow),
            storage: Some(StorageType::Image),
            content: None,
            is_shareable: false,
            is_external: false,
            size_bytes: Some(100),
        }
    }

    fn record(id: &str) -> DiskRecord {
        let engine = EngineDisk {
            id: id.to_owned(),
            format: "cow".to_owned(),
            sparse: true,
            interface: String::new(),
            bootable: false,
            active: true,
            read_only: false,
            pass_discard: false,
            wipe_after_delete: false,
            description: String::new(),
            storage_domain: None,
            read: DiskRead::Full,
            full_reason: None,
        };
        let source =
            DiskSource { format: String::new(), path: String::new(), backing_files: Vec::new() };
        DiskRecord {
            name: id.to_owned(),
            size_bytes: 100,
            map_root: ChunkId::from_bytes([0; 32]),
            source,
            engine: Some(engine),
        }
    }

    fn point(vm: Option<&str>, checkpoint: Option<&str>) -> PointRecord {
        let engine = vm.map(|vm| EngineRecord {
            url: String::new(),
            vm_id: vm.to_owned(),
            backup_id: String::new(),
            kind: BackupKind::Cold,
            checkpoint_id: checkpoint.map(ToOwned::to_owned),
            from_checkpoint_id: None,
            consistency: ConsistencyRecord { asked: String::new(), reached: String::new() },
            transports: Vec::new(),
            fallbacks: Vec::new(),
            warnings: Vec::new(),
            received_bytes: 0,
            sent_bytes: 0,
            sites: None,
        });
        PointRecord {
            id: SessionId::from_bytes([0; 16]),
            repo: RepoId::from_bytes([0; 16]),
            vm: "web".to_owned(),
            time: UtcTime::EPOCH,
            sequence: 1,
            previous: None,
            disks: vec![record("d1")],
            configuration: None,
            engine,
            left_out: Vec::new(),
            stats: BackupStats::default(),
            written_by: String::new(),
        }
    }

    fn known(id: &str, state: CheckpointState) -> Checkpoint {
        let id = id.to_owned();
        Checkpoint { id, description: String::new(), parent_id: None, state: Some(state) }
    }

    #[test]
    fn the_base_is_the_newest_restore_point_of_the_same_vm_if_its_checkpoint_is_sound() {
        let good = [known("old", CheckpointState::Created), known("new", CheckpointState::Created)];
        let points = [
            point(Some("V"), Some("old")),
            point(Some("V"), Some("new")),
            point(Some("another"), Some("old")),
            point(None, None),
        ];
        assert_eq!(choose(&points, "V", &good).checkpoint(), Some("new"));
        assert_eq!(choose(&points, "V", &good[..1]).checkpoint(), None);
        let invalid =
            [known("old", CheckpointState::Created), known("new", CheckpointState::Invalid)];
        assert_eq!(choose(&points, "V", &invalid).checkpoint(), None);
        assert_eq!(choose(&points, "unknown", &good).checkpoint(), None);
        let without = [point(Some("V"), Some("old")), point(Some("V"), None)];
        assert_eq!(choose(&without, "V", &good).checkpoint(), None);
    }

    #[test]
    fn changes_are_read_only_of_the_very_disk_that_the_base_holds() {
        let good = [known("CP", CheckpointState::Created)];
        let base = choose(&[point(Some("V"), Some("CP"))], "V", &good);
        let disk = facts("d1", "system");
        let is_full = |base: &Base, disk: &DiskFacts, mode: &BackupMode| {
            matches!(read(base, disk, mode), Read::Full(_))
        };
        assert!(!is_full(&base, &disk, &BackupMode::Incremental));
        assert!(is_full(&base, &disk, &BackupMode::Full));
        assert!(is_full(&Base::Nothing(String::new()), &disk, &BackupMode::Incremental));
        for other in [
            facts("d2", "system"),
            DiskFacts { size_bytes: Some(101), ..disk.clone() },
            DiskFacts { size_bytes: Some(99), ..disk.clone() },
            DiskFacts { size_bytes: None, ..disk.clone() },
            DiskFacts { format: Some(DiskFormat::Raw), ..disk.clone() },
            DiskFacts { format: None, ..disk.clone() },
        ] {
            assert!(is_full(&base, &other, &BackupMode::Incremental), "{other:?}");
        }
    }

    #[test]
    fn disks_of_one_name_and_names_that_are_none_are_told_apart_by_their_ids() {
        let disks = [facts("1", "a"), facts("2", "a"), facts("3", ""), facts("4", "b\n")];
        assert_eq!(disk_names(&disks), ["a", "2", "3", "4"]);
    }
}
