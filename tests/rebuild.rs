//! The index can be thrown away: it comes back from the packs, torn ones too.

#[path = "support/repo.rs"]
mod repo;
#[path = "support/scrub.rs"]
mod scrub;

use std::collections::BTreeSet;
use std::sync::Arc;

use backstop::base::cancel::Cancel;
use backstop::base::id::{ChunkId, PackId, SessionId};
use backstop::error::ErrorKind;
use backstop::format::commit::PointRecord;
use backstop::format::layout::{Area, ObjectName};
use backstop::format::lists::Condemned;
use backstop::format::pack::PACK_FOOTER_LEN;
use backstop::index::lookup::Index;
use backstop::monitor::{RecordingMonitor, VoidMonitor};
use backstop::repo::{RebuildReport, RepoStats, Repository, rebuild_index, stats};
use backstop::scrub::ScrubLevel;
use backstop::store::testing::{Damage, DamagingStore, MemoryStore};
use backstop::store::{DirStore, Store};

use crate::repo::{MIB, back_up_bytes, environment, new_repo, noise, read_back, watched};
use crate::scrub::{check, pack_of, published};

type Damaging = DamagingStore<MemoryStore>;

/// Two restore points with data of their own, and what is in them.
fn two_points() -> (Damaging, Repository, Vec<(PointRecord, Vec<u8>)>) {
    let store = DamagingStore::new(MemoryStore::new());
    let repo = new_repo(Arc::new(store.clone()));
    let points = [(1, 2 * MIB + 5), (2, MIB / 3)].map(|(seed, len)| {
        let bytes = noise(len, seed);
        (back_up_bytes(&repo, "vm", &bytes).unwrap(), bytes)
    });
    (store, repo, points.into())
}

/// Chunk, pack, offset and length of every entry of the index.
fn locations(repo: &Repository) -> BTreeSet<(ChunkId, String, u32, u32)> {
    let index = Index::load(&**repo.store(), repo.sealing(), &VoidMonitor).unwrap();
    let entry = |(chunk, place): (ChunkId, backstop::format::location::Location)| {
        (chunk, place.pack.to_string(), place.offset, place.entry_len)
    };
    index.entries().map(|found| entry(found.unwrap())).collect()
}

fn rebuild(repo: &Repository) -> RebuildReport {
    let report = rebuild_index(repo, &Cancel::default()).unwrap();
    assert_eq!(repo.store().list(Area::Sessions).unwrap(), [], "the session has ended");
    report
}

fn delete_index(store: &dyn Store) {
    for name in store.list(Area::Index).unwrap() {
        store.delete(&name).unwrap();
    }
}

fn assert_readable(repo: &Repository, points: &[(PointRecord, Vec<u8>)]) {
    for (point, bytes) in points {
        assert!(read_back(repo, &point.disks[0], false).unwrap() == *bytes);
    }
    let report = check(repo, ScrubLevel::Points);
    assert_eq!(report.affected, []);
}

#[test]
fn an_index_that_was_deleted_comes_back_the_same() {
    let (store, repo, points) = two_points();
    let before = locations(&repo);
    delete_index(&store);
    assert!(read_back(&repo, &points[0].0.disks[0], false).is_err());
    let report = rebuild(&repo);
    assert_eq!(locations(&repo), before);
    assert_eq!(report.entries, before.len() as u64);
    assert_eq!(report.packs, store.list(Area::Packs).unwrap().len() as u64);
    assert_eq!((report.torn_packs.len(), report.replaced_segments), (0, 0));
    assert_readable(&repo, &points);
    assert!(check(&repo, ScrubLevel::Points).is_clean());
    let next = back_up_bytes(&repo, "vm", &points[1].1).unwrap();
    assert_eq!(next.stats.new_plain_bytes, 0, "backups find what was stored");
}

#[test]
fn an_index_that_is_whole_or_damaged_is_replaced() {
    let (store, repo, points) = two_points();
    let before = locations(&repo);
    let old = store.list(Area::Index).unwrap();
    store.damage(&old[0], Damage::Truncated(0));
    store.damage(&old[1], Damage::FlippedBit { offset_bytes: 100, bit: 1 });
    let report = rebuild(&repo);
    assert_eq!(report.replaced_segments, old.len() as u64);
    assert!(!report.kept_old_segments);
    assert_eq!(locations(&repo), before);
    assert!(old.iter().all(|name| !store.list(Area::Index).unwrap().contains(name)));
    assert_eq!(rebuild(&repo).replaced_segments, 1);
    assert_eq!(locations(&repo), before);
    assert!(check(&repo, ScrubLevel::Points).is_clean());
    assert_readable(&repo, &points);
}

#[test]
fn entries_of_a_pack_whose_trailer_is_torn_are_found_by_scanning_it() {
    let monitor = Arc::new(RecordingMonitor::default());
    let (store, repo, points) = two_points();
    let before = locations(&repo);
    let packs = store.list(Area::Packs).unwrap();
    for (number, name) in packs.iter().enumerate() {
        let len = store.len_bytes(name).unwrap();
        // The footer is cut off, the magic at its start is gone, or a bit of the table is wrong.
        store.damage(
            name,
            match number % 3 {
                0 => Damage::Truncated(len - 1),
                1 => Damage::FlippedBit { offset_bytes: len - PACK_FOOTER_LEN as u64, bit: 0 },
                _ => Damage::FlippedBit { offset_bytes: len - PACK_FOOTER_LEN as u64 - 9, bit: 5 },
            },
        );
    }
    delete_index(&store);
    let watched = repo::open_repo(Arc::new(store.clone()), watched(3, monitor.clone())).unwrap();
    let report = rebuild(&watched);
    assert_eq!(report.torn_packs.len(), packs.len());
    assert_eq!(monitor.recorded().problems.len(), packs.len());
    assert_eq!(locations(&repo), before);
    assert_readable(&repo, &points);
}

#[test]
fn a_torn_pack_gives_what_is_left_and_nothing_that_only_looks_like_it() {
    let (store, repo, points) = two_points();
    let before = locations(&repo);
    let places = [0, 1, 2].map(|index| pack_of(&repo, &points[0].0, index));
    let (_, damaged) = places[0];
    let pack = ObjectName::pack(damaged.pack);
    let len = store.len_bytes(&pack).unwrap();
    store.damage(&pack, Damage::Truncated(len - 1));
    let offset_bytes = u64::from(damaged.offset) + 5000;
    store.damage(&pack, Damage::FlippedBit { offset_bytes, bit: 0 });
    rebuild(&repo);
    let mut expected = before;
    expected
        .retain(|(chunk, pack, _, _)| *pack != damaged.pack.to_string() || *chunk != places[0].0);
    assert_eq!(locations(&repo), expected);
    assert_eq!(check(&repo, ScrubLevel::Points).affected.len(), 1);
    let point = back_up_bytes(&repo, "vm", &points[0].1).unwrap();
    assert_eq!(point.stats.new_plain_bytes, u64::from(damaged.plain_len));
    assert_readable(&repo, &points);
}

#[test]
fn something_under_the_name_of_a_pack_that_is_no_file_stops_no_rebuild() {
    let temp = tempfile::tempdir().unwrap();
    let repo = new_repo(Arc::new(DirStore::create(temp.path()).unwrap()));
    let bytes = noise(MIB, 1);
    let point = back_up_bytes(&repo, "vm", &bytes).unwrap();
    let id = PackId::from_bytes([0xaa; 32]);
    std::fs::create_dir(temp.path().join(ObjectName::pack(id).to_string())).unwrap();
    assert_eq!(rebuild(&repo).unreadable_packs, [id]);
    assert_readable(&repo, &[(point, bytes)]);
}

#[test]
fn where_the_medium_fails_the_old_segments_are_kept() {
    let (store, repo, points) = two_points();
    let before = locations(&repo);
    let (_, place) = pack_of(&repo, &points[0].0, 0);
    let pack = ObjectName::pack(place.pack);
    let end = store.len_bytes(&pack).unwrap();
    store.damage(&pack, Damage::Unreadable(0..end));
    let report = rebuild(&repo);
    assert_eq!((report.unreadable_packs, report.kept_old_segments), (vec![place.pack], true));
    assert_eq!(locations(&repo), before, "nothing was forgotten");
    store.heal();
    assert_readable(&repo, &points);
    assert!(!rebuild(&repo).kept_old_segments);
}

#[test]
fn a_rebuild_goes_beside_a_backup_and_a_dead_prune_but_not_beside_a_living_one() {
    let (store, repo, points) = two_points();
    let prune = SessionId::from_bytes([5; 16]);
    published(&**repo.store(), &ObjectName::condemned(prune), &Condemned::default().encode());
    rebuild(&repo);
    let registered = store.register(&ObjectName::session(prune), b"of a release to come").unwrap();
    let error = rebuild_index(&repo, &Cancel::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    drop(registered);
    store.inner().delete(&ObjectName::session(prune)).unwrap();
    rebuild(&repo);
    assert_readable(&repo, &points);
}

#[test]
fn a_rebuild_that_is_interrupted_changes_nothing() {
    let (_store, repo, _) = two_points();
    let before = repo.store().list(Area::Index).unwrap();
    let cancel = Cancel::default();
    cancel.request();
    let error = rebuild_index(&repo, &cancel).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    assert_eq!(repo.store().list(Area::Index).unwrap(), before);
    assert_eq!(repo.store().list(Area::Sessions).unwrap(), []);
}

#[test]
fn a_crash_at_any_step_of_a_rebuild_loses_nothing_from_the_index() {
    let mut steps = 0;
    for step in 1.. {
        let store = MemoryStore::new();
        let repo = new_repo(Arc::new(store.clone()));
        for seed in 0..3 {
            back_up_bytes(&repo, "vm", &noise(1000, seed)).unwrap();
        }
        let before = locations(&repo);
        store.crash_after(step);
        let is_done = rebuild_index(&repo, &Cancel::default()).is_ok();
        let is_crashed = store.is_crashed();
        for seed in 0..8 {
            let found = store.reboot(seed);
            let repo = repo::open_repo(Arc::new(found), environment(9)).unwrap();
            assert_eq!(locations(&repo), before, "crash before step {step}, seed {seed}");
            rebuild_index(&repo, &Cancel::default()).unwrap();
            assert_eq!(locations(&repo), before);
        }
        if is_done && !is_crashed {
            break;
        }
        steps = step;
    }
    assert!(steps > 5, "{steps} steps are too few");
}

#[test]
fn statistics_add_up_and_read_no_pack() {
    let (store, repo, points) = two_points();
    let shown: u64 = points.iter().map(|(point, _)| point.size_bytes()).sum();
    let total = |area| {
        let names = store.list(area).unwrap();
        names.iter().map(|name| store.len_bytes(name).unwrap()).sum::<u64>()
    };
    let found = stats(&repo).unwrap();
    assert_eq!((found.vms, found.points, found.disks), (1, 2, 2));
    assert_eq!((found.logical_bytes, found.latest_bytes), (shown, points[1].1.len() as u64));
    assert_eq!(found.entries, locations(&repo).len() as u64);
    assert_eq!(found.packs, store.list(Area::Packs).unwrap().len() as u64);
    assert_eq!(found.pack_bytes, total(Area::Packs));
    assert_eq!(found.index_bytes, total(Area::Index));
    assert_eq!(found.stored_bytes(), Area::ALL.into_iter().map(total).sum::<u64>());
    assert!(found.ratio().is_some_and(|ratio| (0.9..1.0).contains(&ratio)));
    for name in store.list(Area::Packs).unwrap() {
        store.damage(&name, Damage::Unreadable(0..u64::MAX));
    }
    assert_eq!(stats(&repo).unwrap(), found);
    let empty = stats(&new_repo(Arc::new(MemoryStore::new()))).unwrap();
    let expected = RepoStats { other_bytes: empty.other_bytes, ..RepoStats::default() };
    assert_eq!((empty, empty.ratio()), (expected, None));
}
