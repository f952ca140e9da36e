//! How a scrub runs: beside others, interrupted, on media that cannot be written to.

#[path = "support/repo.rs"]
mod repo;
#[path = "support/scrub.rs"]
mod scrub;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, OnceLock};

use backstop::base::cancel::Cancel;
use backstop::base::id::PackId;
use backstop::base::pack_set::PackSet;
use backstop::diskmap::NodeSource;
use backstop::error::{Error, ErrorKind};
use backstop::format::layout::{Area, ObjectName};
use backstop::format::lists::Damaged;
use backstop::index::lookup::Index;
use backstop::index::merge::merge;
use backstop::monitor::{Monitor, RecordingMonitor, VoidMonitor};
use backstop::repo::rebuild_index;
use backstop::scrub::{Finding, Recording, ScrubLevel, ScrubOptions, scrub};
use backstop::store::testing::{Damage, DamagingStore, Fault, MemoryStore};
use backstop::store::{DirStore, Store};

use crate::repo::{MIB, back_up_bytes, new_repo, noise, read_back, watched};
use crate::scrub::{check, pack_of};

/// Does something at the first piece of progress in the phase of that name.
struct AtPhase<F> {
    name: &'static str,
    act: F,
    is_there: OnceLock<()>,
    is_done: OnceLock<()>,
}

impl<F: Fn() + Send + Sync> AtPhase<F> {
    fn new(name: &'static str, act: F) -> Arc<Self> {
        Arc::new(Self { name, act, is_there: OnceLock::new(), is_done: OnceLock::new() })
    }
}

impl<F: Fn() + Send + Sync> Monitor for AtPhase<F> {
    fn phase(&self, name: &str, _total_bytes: Option<u64>) {
        if name == self.name {
            let _ = self.is_there.set(());
        }
    }

    fn advance(&self, _bytes: u64) {
        if self.is_there.get().is_some() {
            self.is_done.get_or_init(|| (self.act)());
        }
    }

    fn problem(&self, _problem: &Error) {}
}

fn options(level: ScrubLevel, cancel: &Cancel) -> ScrubOptions {
    ScrubOptions { level, threads: 1, cancel: cancel.clone() }
}

#[test]
fn progress_adds_up_to_what_was_announced() {
    let store = Arc::new(MemoryStore::new());
    let repo = new_repo(store.clone());
    let mut bytes = noise(2 * MIB + 7, 1);
    bytes.resize(300 * MIB, 0);
    back_up_bytes(&repo, "vm", &bytes).unwrap();
    back_up_bytes(&repo, "vm", &bytes).unwrap();
    let monitor = Arc::new(RecordingMonitor::default());
    let repo = repo::open_repo(store, watched(2, monitor.clone())).unwrap();
    let report = check(&repo, ScrubLevel::Points);
    assert!(report.is_clean());
    let expected = report.counts.pack_bytes + 2 * bytes.len() as u64;
    assert_eq!(monitor.recorded().advanced_bytes, expected);
    assert_eq!(monitor.recorded().phases, ["objects", "packs", "restore points"]);
    assert_eq!(monitor.recorded().problems, [""; 0]);
}

#[test]
fn a_lost_map_node_hides_what_it_covers_on_every_disk_that_shares_it() {
    let store = DamagingStore::new(MemoryStore::new());
    let repo = new_repo(Arc::new(store.clone()));
    let mut bytes = vec![0; 600 * MIB + 5];
    for index in [3, 255, 300, 512, 599] {
        bytes[index * MIB..][..100].copy_from_slice(&noise(100, index as u64));
    }
    let first = back_up_bytes(&repo, "vm", &bytes).unwrap();
    bytes[3 * MIB] ^= 1;
    let second = back_up_bytes(&repo, "vm", &bytes).unwrap();
    let reader = repo.reader().unwrap();
    let lost = reader.node(first.disks[0].map_root).unwrap().child(1).unwrap();
    assert_eq!(reader.node(second.disks[0].map_root).unwrap().child(1), Some(lost));
    for copy in reader.index().locations(lost).unwrap() {
        let offset_bytes = u64::from(copy.offset) + 100;
        store.damage(&ObjectName::pack(copy.pack), Damage::FlippedBit { offset_bytes, bit: 1 });
    }
    let (chunk, place) = pack_of(&repo, &second, 599);
    let offset_bytes = u64::from(place.offset) + 60;
    store.damage(&ObjectName::pack(place.pack), Damage::FlippedBit { offset_bytes, bit: 1 });
    let report = check(&repo, ScrubLevel::Points);
    let mib = MIB as u64;
    assert_eq!(report.affected.len(), 2);
    for hit in &report.affected {
        assert_eq!(hit.ranges, [256 * mib..512 * mib, 599 * mib..600 * mib]);
        assert_eq!(hit.bytes, 257 * mib);
        assert!(hit.cause.contains(&lost.to_string()), "{}", hit.cause);
    }
    let is_chunk = |finding: &&Finding| match finding {
        Finding::DamagedChunk { copy, .. } => copy.chunk == chunk,
        _ => false,
    };
    assert_eq!(report.findings.iter().filter(is_chunk).count(), 1);
    back_up_bytes(&repo, "vm", &bytes).unwrap();
    assert_eq!(check(&repo, ScrubLevel::Points).affected, []);
}

#[test]
fn bytes_that_are_right_the_second_time_are_no_damage() {
    let store = DamagingStore::new(MemoryStore::new());
    back_up_bytes(&new_repo(Arc::new(store.clone())), "vm", &noise(MIB, 1)).unwrap();
    for name in store.list(Area::Packs).unwrap() {
        store.damage(&name, Damage::FlippedBit { offset_bytes: 200, bit: 0 });
    }
    let healer = store.clone();
    let monitor = AtPhase::new("packs", move || healer.heal());
    let repo = repo::open_repo(Arc::new(store), watched(2, monitor)).unwrap();
    let report = scrub(&repo, &options(ScrubLevel::Chunks, &Cancel::default())).unwrap();
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(report.counts.misread_packs, 1);
}

#[test]
fn packs_that_a_prune_deletes_meanwhile_are_not_missing() {
    let store = MemoryStore::new();
    let repo = new_repo(Arc::new(store.clone()));
    let points = [1, 2, 3].map(|seed| back_up_bytes(&repo, "vm", &noise(MIB, seed)).unwrap());
    let doomed: Vec<PackId> = points.iter().map(|point| pack_of(&repo, point, 0).1.pack).collect();
    let pruned = store.clone();
    let monitor = AtPhase::new("packs", move || {
        let index = Index::load(&pruned, repo.sealing(), &VoidMonitor).unwrap();
        let without: PackSet = doomed.iter().copied().collect();
        merge(&pruned, repo.sealing(), index.segments(), &without).unwrap();
        doomed.iter().for_each(|pack| pruned.delete(&ObjectName::pack(*pack)).unwrap());
    });
    let repo = repo::open_repo(Arc::new(store), watched(2, monitor)).unwrap();
    let report = scrub(&repo, &options(ScrubLevel::Chunks, &Cancel::default())).unwrap();
    assert!(report.is_clean(), "{report:?}");
}

#[test]
fn what_an_interrupted_scrub_has_found_is_written_down() {
    let store = DamagingStore::new(MemoryStore::new());
    let repo = new_repo(Arc::new(store.clone()));
    let bytes = noise(MIB, 1);
    let point = back_up_bytes(&repo, "vm", &bytes).unwrap();
    let damaged = pack_of(&repo, &point, 0).1;
    store.damage(&ObjectName::pack(damaged.pack), Damage::Truncated(0));
    let cancel = Cancel::default();
    let request = cancel.clone();
    let monitor = AtPhase::new("packs", move || request.request());
    let watched = repo::open_repo(Arc::new(store.clone()), watched(2, monitor)).unwrap();
    let error = scrub(&watched, &options(ScrubLevel::Chunks, &cancel)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    let names = store.list(Area::Damaged).unwrap();
    assert_eq!(names.len(), 1);
    let list = Damaged::decode(&repo.store().read(&names[0], 10_000).unwrap()).unwrap();
    assert_eq!(list.missing_packs, [damaged.pack]);
    let healing = back_up_bytes(&repo, "vm", &bytes).unwrap();
    assert_eq!(healing.stats.new_plain_bytes, MIB as u64);
}

#[test]
fn damage_that_cannot_be_written_down_is_reported_all_the_same() {
    let store = DamagingStore::new(MemoryStore::new());
    let repo = new_repo(Arc::new(store.clone()));
    back_up_bytes(&repo, "vm", &noise(MIB, 1)).unwrap();
    for name in store.list(Area::Packs).unwrap() {
        store.damage(&name, Damage::Missing);
    }
    store.fail_publish(1, Fault::Full);
    let report = check(&repo, ScrubLevel::List);
    assert!(matches!(&report.recording, Recording::Failed { .. }), "{:?}", report.recording);
    assert_eq!(report.affected.len(), 1);
    let again = check(&repo, ScrubLevel::List);
    assert_eq!(again.recording, Recording::Recorded { copies: 0, packs: 3 });
}

#[test]
fn a_repository_that_another_may_not_read_is_an_error_and_no_damage() {
    let store = MemoryStore::new();
    let repo = new_repo(Arc::new(store.clone()));
    store.crash();
    assert!(scrub(&repo, &options(ScrubLevel::List, &Cancel::default())).is_err());
}

/// Flips a bit in a file of the repository, behind the back of the store.
fn flip_on_disk(path: &std::path::Path, at: usize) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 4;
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_directory_is_scrubbed_healed_and_indexed_anew() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("repo");
    let repo = new_repo(Arc::new(DirStore::create(&path).unwrap()));
    let bytes = noise(3 * MIB, 1);
    let point = back_up_bytes(&repo, "vm", &bytes).unwrap();
    let (_, place) = pack_of(&repo, &point, 1);
    flip_on_disk(&path.join(ObjectName::pack(place.pack).to_string()), place.offset as usize + 999);
    flip_on_disk(&path.join(ObjectName::config(1).to_string()), 70);
    let report = check(&repo, ScrubLevel::Chunks);
    let is_config =
        |finding: &Finding| matches!(finding, Finding::Object { name, .. } if name == "config.1");
    assert!(report.findings.iter().any(is_config), "{report:?}");
    assert_eq!(report.affected.len(), 1);
    assert!(read_back(&repo, &point.disks[0], false).is_err());
    back_up_bytes(&repo, "vm", &bytes).unwrap();
    assert_eq!(check(&repo, ScrubLevel::Points).affected, []);
    fs::remove_dir_all(path.join("index")).unwrap();
    fs::create_dir(path.join("index")).unwrap();
    rebuild_index(&repo, &Cancel::default()).unwrap();
    assert_eq!(check(&repo, ScrubLevel::Points).affected, []);
    assert!(read_back(&repo, &point.disks[0], false).unwrap() == bytes);
}
