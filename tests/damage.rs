//! Damage of every kind: a scrub finds it, says what it hits, and no read gives wrong bytes.

#[path = "damage/replaced.rs"]
mod replaced;
#[path = "support/repo.rs"]
mod repo;
#[path = "support/scrub.rs"]
mod scrub;

use std::sync::Arc;

use backstop::base::id::PackId;
use backstop::error::ErrorKind;
use backstop::format::commit::{Decision, PointRecord};
use backstop::format::entry::EntryKind;
use backstop::format::layout::{Area, ObjectName};
use backstop::format::lists::{Condemned, Damaged, Forgotten, Hold};
use backstop::ingest::back_up;
use backstop::repo::{BackupSession, Environment, Repository};
use backstop::scrub::{AffectedDisk, Finding, Recording, ScrubLevel, ScrubReport};
use backstop::store::Store;
use backstop::store::testing::{Damage, DamagingStore, MemoryStore, SeededChance};

use crate::repo::{
    MIB, back_up_bytes, create_repo, disk_input, environment, new_repo, noise, options, read_back,
};
use crate::scrub::{check, pack_of, published};

type Damaging = DamagingStore<MemoryStore>;
/// A restore point, and the bytes of its disks.
type Stored = (PointRecord, Vec<Vec<u8>>);

/// Two restore points of small disks, so that a scrub takes little time. Their packs are small,
/// and hold slices of every codec.
fn small_repo() -> (Damaging, Repository, Vec<Stored>) {
    let store = DamagingStore::new(MemoryStore::new());
    // Every backup gathers commits, so that there is a catalogue.
    let environment = Environment { few_commits: 0, ..environment(1) };
    let repo = create_repo(Arc::new(store.clone()), environment).unwrap();
    let mut points = Vec::new();
    for round in 0..2 {
        let mut two_slices = vec![0; 140_000];
        two_slices[130_000..].copy_from_slice(&b"text ".repeat(2000));
        two_slices[139_000 + round] = 1;
        let shared = noise(3000, 1);
        let disks = vec![noise(2000, 10 + round as u64), shared, two_slices];
        let inputs = disks.iter().enumerate().map(|(n, disk)| disk_input(&n.to_string(), disk));
        points.push((back_up(&repo, "vm", inputs.collect(), &options()).unwrap(), disks));
    }
    (store, repo, points)
}

/// Reads everything, in chunks and in slices: the right bytes or an error. How many reads failed.
fn read_all(repo: &Repository, points: &[Stored]) -> usize {
    let mut failed = 0;
    for (point, disks) in points {
        for (disk, expected) in point.disks.iter().zip(disks) {
            for by_slices in [false, true] {
                match read_back(repo, disk, by_slices) {
                    Ok(bytes) => assert!(bytes == *expected, "wrong bytes of {}", disk.name),
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::Corrupt);
                        failed += 1;
                    }
                }
            }
        }
    }
    failed
}

fn is_named(report: &ScrubReport, object: &ObjectName) -> bool {
    let object = object.to_string();
    let is_it =
        |finding: &Finding| matches!(finding, Finding::Object { name, .. } if *name == object);
    report.findings.iter().any(is_it)
}

/// Start and end of the one range that is hit.
fn only_range(disk: &AffectedDisk) -> (u64, u64) {
    assert_eq!(disk.ranges.len(), 1, "{disk:?}");
    (disk.ranges[0].start, disk.ranges[0].end)
}

fn forget_records(store: &Damaging) {
    for name in store.list(Area::Damaged).unwrap() {
        store.inner().delete(&name).unwrap();
    }
}

#[test]
fn every_level_calls_a_whole_repository_clean() {
    let (store, repo, points) = small_repo();
    for level in ScrubLevel::ALL {
        let report = check(&repo, level);
        assert!(report.is_clean(), "{report:?}");
        assert_eq!(report.recording, Recording::NothingNew);
        assert_eq!(report.counts.points, 2);
        assert_eq!(report.counts.unindexed_packs, 0);
        assert!(report.counts.objects >= 5);
        let chunks = if level >= ScrubLevel::Chunks { report.counts.index_entries } else { 0 };
        assert_eq!(report.counts.chunks, chunks);
        assert_eq!(report.counts.disks, if level == ScrubLevel::Points { 6 } else { 0 });
    }
    assert_eq!(store.list(Area::Damaged).unwrap(), []);
    assert_eq!(read_all(&repo, &points), 0);
}

#[test]
fn every_flipped_bit_of_every_small_object_is_found_at_the_first_level() {
    let (store, repo, points) = small_repo();
    let session = BackupSession::begin(&repo, "other").unwrap();
    let id = points[0].0.id;
    let time = points[0].0.time;
    for (name, bytes) in [
        (ObjectName::forgotten(id), Forgotten { point: id, time }.encode()),
        (ObjectName::hold(id), Hold { point: id, time, note: String::new() }.encode()),
        (ObjectName::condemned(id), Condemned::default().encode()),
        (ObjectName::damaged(id), Damaged::default().encode()),
        (ObjectName::commit("00".repeat(16).parse().unwrap()), Decision::Fenced.encode()),
    ] {
        published(&**repo.store(), &name, &bytes);
    }
    assert!(check(&repo, ScrubLevel::List).is_clean());
    let mut flips = 0;
    for area in Area::ALL {
        if matches!(area, Area::Packs | Area::Index | Area::Locks) {
            continue;
        }
        for name in store.list(area).unwrap() {
            for at in 0..store.len_bytes(&name).unwrap() {
                // In a catalogue there are many, and one check for all of them.
                let some = (at % 8) as u8..(at % 8) as u8 + 1;
                for bit in if area == Area::Catalogues { some } else { 0..8 } {
                    store.damage(&name, Damage::FlippedBit { offset_bytes: at, bit });
                    let report = check(&repo, ScrubLevel::List);
                    assert!(is_named(&report, &name), "{name}, byte {at}, bit {bit}");
                    store.heal();
                    flips += 1;
                }
            }
        }
    }
    assert!(flips > 20_000, "{flips} bits");
    session.abort().unwrap();
}

/// Flips random bits of an area, one at a time, and checks after each.
fn flip_randomly(area: Area, level: ScrubLevel, flips: usize, seed: u64) {
    let (store, repo, points) = small_repo();
    let names = store.list(area).unwrap();
    let chance = SeededChance::new(seed);
    for flip in 0..flips {
        let name = &names[chance.below(names.len())];
        let at = chance.below(store.len_bytes(name).unwrap() as usize) as u64;
        let bit = chance.below(8) as u8;
        store.damage(name, Damage::FlippedBit { offset_bytes: at, bit });
        let report = check(&repo, level);
        assert!(!report.is_clean(), "{name}, byte {at}, bit {bit} at level {level}");
        if flip % 8 == 0 {
            let failed = read_all(&repo, &points);
            assert!(failed == 0 || !report.affected.is_empty(), "{name}, byte {at}, bit {bit}");
        }
        store.heal();
        forget_records(&store);
    }
    assert!(check(&repo, ScrubLevel::Points).is_clean());
}

#[test]
fn a_flipped_bit_of_a_pack_is_found_by_its_hash() {
    flip_randomly(Area::Packs, ScrubLevel::Hash, 10_000, 1);
}

#[test]
fn a_flipped_bit_of_a_pack_is_found_at_the_deeper_levels() {
    flip_randomly(Area::Packs, ScrubLevel::Chunks, 500, 2);
    flip_randomly(Area::Packs, ScrubLevel::Points, 500, 3);
}

#[test]
fn a_flipped_bit_of_the_index_is_found() {
    flip_randomly(Area::Index, ScrubLevel::Hash, 1000, 4);
    flip_randomly(Area::Index, ScrubLevel::Points, 300, 5);
}

/// One disk of three chunks and noise, so that its data lies in one pack.
fn three_chunks() -> (Damaging, Repository, PointRecord, Vec<u8>) {
    let store = DamagingStore::new(MemoryStore::new());
    let repo = new_repo(Arc::new(store.clone()));
    let bytes = noise(3 * MIB - 100, 1);
    let point = back_up_bytes(&repo, "vm", &bytes).unwrap();
    (store, repo, point, bytes)
}

#[test]
fn a_damaged_chunk_is_named_with_what_it_hits() {
    let (store, repo, point, _) = three_chunks();
    let second = back_up_bytes(&repo, "other", &noise(3 * MIB - 100, 1)[MIB..]).unwrap();
    let (chunk, location) = pack_of(&repo, &point, 2);
    let offset_bytes = u64::from(location.offset) + 9999;
    store.damage(&ObjectName::pack(location.pack), Damage::FlippedBit { offset_bytes, bit: 0 });
    let report = check(&repo, ScrubLevel::Chunks);
    assert_eq!(report.findings.len(), 2);
    assert!(
        matches!(&report.findings[0], Finding::DamagedPack { pack, .. } if *pack == location.pack)
    );
    let Finding::DamagedChunk { copy, kind, offset_bytes, plain_len, good_copies } =
        &report.findings[1]
    else {
        panic!("{report:?}");
    };
    assert_eq!((copy.chunk, copy.pack), (chunk, location.pack));
    assert_eq!((*kind, *offset_bytes, *good_copies), (EntryKind::Data, location.offset, 0));
    assert_eq!(*plain_len as usize, MIB - 100);
    let hit = |n: usize| (&*report.affected[n].vm, report.affected[n].point);
    assert_eq!([hit(0), hit(1)], [("other", second.id), ("vm", point.id)]);
    let mib = MIB as u64;
    assert_eq!(only_range(&report.affected[0]), (mib, 2 * mib - 100));
    assert_eq!(only_range(&report.affected[1]), (2 * mib, 3 * mib - 100));
    assert_eq!(report.affected[0].bytes, mib - 100);
    assert_eq!(report.recording, Recording::Recorded { copies: 1, packs: 0 });
    let again = check(&repo, ScrubLevel::Points);
    assert_eq!(again.recording, Recording::NothingNew, "it is written down once");
    assert_eq!(again.findings, report.findings);
}

#[test]
fn a_backup_of_the_same_data_heals_what_a_scrub_wrote_down() {
    let (store, repo, point, bytes) = three_chunks();
    let (_, location) = pack_of(&repo, &point, 1);
    let offset_bytes = u64::from(location.offset) + 12_345;
    let pack = ObjectName::pack(location.pack);
    store.damage(&pack, Damage::FlippedBit { offset_bytes, bit: 7 });
    let unaware = back_up_bytes(&repo, "unaware", &bytes).unwrap();
    assert_eq!(unaware.stats.new_plain_bytes, 0, "before a scrub nobody knows");
    assert_eq!(check(&repo, ScrubLevel::Chunks).affected.len(), 2);
    let healing = back_up_bytes(&repo, "vm", &bytes).unwrap();
    assert_eq!(healing.stats.new_plain_bytes, MIB as u64, "one chunk is stored again");
    let report = check(&repo, ScrubLevel::Points);
    assert_eq!(report.affected, [], "every restore point can be read again");
    assert!(!report.is_clean(), "the damaged copy is still there");
    let good_copies = report.findings.iter().filter_map(|finding| match finding {
        Finding::DamagedChunk { good_copies, .. } => Some(*good_copies),
        _ => None,
    });
    assert_eq!(good_copies.collect::<Vec<_>>(), [1]);
    for point in [&point, &unaware, &healing] {
        assert!(read_back(&repo, &point.disks[0], false).unwrap() == bytes);
        assert!(read_back(&repo, &point.disks[0], true).unwrap() == bytes);
    }
    let next = back_up_bytes(&repo, "vm", &bytes).unwrap();
    assert_eq!(next.stats.new_plain_bytes, 0, "and it is not stored a third time");
}

#[test]
fn a_pack_that_is_missing_is_healed_too_with_its_map_nodes() {
    let (store, repo, point, bytes) = three_chunks();
    for name in store.list(Area::Packs).unwrap() {
        store.damage(&name, Damage::Missing);
    }
    for level in [ScrubLevel::List, ScrubLevel::Points] {
        let report = check(&repo, level);
        let missing = |finding: &Finding| matches!(finding, Finding::MissingPack { .. });
        assert_eq!(report.findings.iter().filter(|finding| missing(finding)).count(), 3);
        assert_eq!(report.affected.len(), 1);
        assert_eq!(only_range(&report.affected[0]), (0, 3 * MIB as u64 - 100));
    }
    let healing = back_up_bytes(&repo, "vm", &bytes).unwrap();
    assert_eq!(healing.stats.new_plain_bytes, bytes.len() as u64);
    let report = check(&repo, ScrubLevel::Points);
    assert_eq!(report.affected, []);
    assert!(read_back(&repo, &point.disks[0], false).unwrap() == bytes);
}

#[test]
fn one_of_two_copies_of_a_map_node_is_damage_that_hits_nothing() {
    let (store, repo, point, bytes) = three_chunks();
    let reader = repo.reader().unwrap();
    let copies = reader.index().locations(point.disks[0].map_root).unwrap();
    assert_eq!(copies.len(), 2);
    let offset_bytes = u64::from(copies[0].offset) + 100;
    store.damage(&ObjectName::pack(copies[0].pack), Damage::FlippedBit { offset_bytes, bit: 1 });
    let report = check(&repo, ScrubLevel::Chunks);
    assert_eq!(report.findings.len(), 2, "{report:?}");
    assert_eq!(report.affected, []);
    let offset_bytes = u64::from(copies[1].offset) + 101;
    store.damage(&ObjectName::pack(copies[1].pack), Damage::FlippedBit { offset_bytes, bit: 1 });
    let report = check(&repo, ScrubLevel::Chunks);
    assert_eq!(report.affected[0].bytes, bytes.len() as u64, "all of what the node covers");
    back_up_bytes(&repo, "vm", &bytes).unwrap();
    assert_eq!(check(&repo, ScrubLevel::Points).affected, []);
}

#[test]
fn a_pack_that_was_cut_is_found_and_what_is_left_of_it_still_counts() {
    let (store, repo, point, _) = three_chunks();
    // Workers append in the order in which they are done.
    let places = [0, 1, 2].map(|index| pack_of(&repo, &point, index).1);
    let last = places.into_iter().max_by_key(|place| place.offset).unwrap();
    let pack = ObjectName::pack(last.pack);
    store.damage(&pack, Damage::Truncated(u64::from(last.offset) + 1000));
    let mib = MIB as u64;
    for level in ScrubLevel::ALL {
        let report = check(&repo, level);
        assert_eq!(report.findings.len(), 2, "{level}: {:?}", report.findings);
        assert_eq!(report.affected.len(), 1);
        only_range(&report.affected[0]);
        let lost = u64::from(last.plain_len);
        assert_eq!(report.affected[0].bytes, lost, "two of three chunks are still there");
    }
    store.heal();
    store.damage(&pack, Damage::Truncated(0));
    for level in ScrubLevel::ALL {
        assert_eq!(check(&repo, level).affected[0].bytes, 3 * mib - 100, "{level}");
    }
}

#[test]
fn a_bad_sector_takes_only_the_chunk_that_it_lies_in() {
    let (store, repo, point, _) = three_chunks();
    let (_, first) = pack_of(&repo, &point, 0);
    let at = u64::from(first.offset) + 300_000;
    store.damage(&ObjectName::pack(first.pack), Damage::Unreadable(at..at + 4096));
    let report = check(&repo, ScrubLevel::Hash);
    assert_eq!(only_range(&report.affected[0]), (0, MIB as u64));
    assert_eq!(report.recording, Recording::Recorded { copies: 1, packs: 0 });
}

fn replace(store: &MemoryStore, name: &ObjectName, bytes: &[u8]) {
    store.delete(name).unwrap();
    published(store, name, bytes);
}

#[test]
fn packs_that_changed_places_are_found() {
    let store = MemoryStore::new();
    let repo = new_repo(Arc::new(store.clone()));
    let (a, b) = (noise(2 * MIB, 1), noise(3 * MIB, 2));
    let points = [back_up_bytes(&repo, "a", &a).unwrap(), back_up_bytes(&repo, "b", &b).unwrap()];
    let names = points.each_ref().map(|point| ObjectName::pack(pack_of(&repo, point, 0).1.pack));
    let bytes = names.each_ref().map(|name| store.read(name, 64 * MIB).unwrap());
    replace(&store, &names[0], &bytes[1]);
    replace(&store, &names[1], &bytes[0]);
    assert!(!check(&repo, ScrubLevel::List).is_clean());
    let report = check(&repo, ScrubLevel::Hash);
    let sizes: Vec<_> = report.affected.iter().map(|hit| hit.bytes).collect();
    assert_eq!(sizes, [2 * MIB as u64, 3 * MIB as u64]);
    assert!(read_back(&repo, &points[0].disks[0], false).is_err());
}

#[test]
fn an_index_that_is_gone_or_empty_is_found_and_a_restore_point_without_its_map_too() {
    let (store, repo, points) = small_repo();
    let segments = store.list(Area::Index).unwrap();
    for name in &segments {
        store.damage(name, Damage::Truncated(0));
    }
    let report = check(&repo, ScrubLevel::List);
    assert_eq!(report.findings.len(), segments.len());
    assert_eq!(report.affected.len(), 6);
    for name in &segments {
        store.inner().delete(name).unwrap();
    }
    let report = check(&repo, ScrubLevel::List);
    assert_eq!(report.affected.len(), 6, "every disk");
    assert_eq!(report.counts.unindexed_packs, store.list(Area::Packs).unwrap().len() as u64);
    assert_eq!(report.recording, Recording::NothingNew, "no pack is damaged");
    assert_eq!(read_all(&repo, &points), 12, "every disk, both ways");
}

#[test]
fn a_commit_that_is_lost_is_missed_by_the_one_that_follows_it() {
    let (store, repo, points) = small_repo();
    let name = ObjectName::commit(points[0].0.id);
    store.damage(&name, Damage::Missing);
    let report = check(&repo, ScrubLevel::List);
    assert!(report.findings.len() == 1 && is_named(&report, &name), "{report:?}");
    let tombstone = Forgotten { point: points[0].0.id, time: points[0].0.time };
    published(&**repo.store(), &ObjectName::forgotten(points[0].0.id), &tombstone.encode());
    assert!(check(&repo, ScrubLevel::List).is_clean());
}

#[test]
fn a_damaged_pack_that_nothing_refers_to_is_damage_all_the_same() {
    let (store, repo, _) = small_repo();
    published(&store, &ObjectName::pack(PackId::from_bytes([9; 32])), &noise(5000, 3));
    assert!(check(&repo, ScrubLevel::List).is_clean());
    let report = check(&repo, ScrubLevel::Hash);
    assert_eq!(report.findings.len(), 1);
    assert_eq!((report.affected.len(), report.counts.unindexed_packs), (0, 1));
}
