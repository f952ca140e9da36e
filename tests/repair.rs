//! A repair heals what can be healed, deletes nothing, and may be killed at any moment.

#[path = "repair/parity.rs"]
mod parity;
#[path = "support/repo.rs"]
mod repo;
#[path = "support/scrub.rs"]
mod scrub;

use std::collections::BTreeSet;
use std::sync::Arc;

use backstop::base::cancel::Cancel;
use backstop::base::id::{ChunkId, PackId};
use backstop::error::{ErrorKind, Result};
use backstop::format::commit::PointRecord;
use backstop::format::entry::EntryKind;
use backstop::format::layout::{Area, ObjectName};
use backstop::format::lists::Condemned;
use backstop::index::lookup::Index;
use backstop::ingest::back_up;
use backstop::pack::read_pack;
use backstop::repair::{Action, RepairOptions, RepairReport, repair};
use backstop::repo::{Alone, BackupSession, Repository, rebuild_index};
use backstop::scrub::{Finding, ScrubLevel};
use backstop::store::testing::{MemoryStore, SeededChance};
use backstop::store::{DirStore, Published, Store};

use crate::repo::{
    MIB, back_up_bytes, disk_input, environment, new_repo, noise, options, read_back,
};
use crate::scrub::check;

type Stored = (PointRecord, Vec<Vec<u8>>);

fn run(repo: &Repository, apply: bool) -> Result<RepairReport> {
    repair(repo, &RepairOptions { apply, threads: 2, cancel: Cancel::default() })
}

fn apply(repo: &Repository) -> RepairReport {
    run(repo, true).unwrap()
}

/// Two restore points of three small disks each.
fn small_repo() -> (MemoryStore, Repository, Vec<Stored>) {
    let store = MemoryStore::new();
    let repo = new_repo(Arc::new(store.clone()));
    let mut points = Vec::new();
    for round in 0..2 {
        let disks = vec![
            [noise(2000, 10 + round), b"text ".repeat(9000)].concat(),
            noise(3000, 1),
            [noise(MIB, 5), noise(700, 20 + round)].concat(),
        ];
        let inputs = disks.iter().enumerate().map(|(n, disk)| disk_input(&n.to_string(), disk));
        points.push((back_up(&repo, "vm", inputs.collect(), &options()).unwrap(), disks));
    }
    (store, repo, points)
}

/// Replaces the bytes of an object, for good.
fn overwrite(store: &dyn Store, name: &ObjectName, bytes: &[u8]) {
    store.delete(name).unwrap();
    assert_eq!(store.create(name, bytes).unwrap(), Published::Created);
}

fn bytes_of(store: &dyn Store, name: &ObjectName) -> Vec<u8> {
    store.read(name, 1 << 30).unwrap()
}

fn flip(store: &dyn Store, name: &ObjectName, at: usize) {
    let mut bytes = bytes_of(store, name);
    bytes[at] ^= 0x40;
    overwrite(store, name, &bytes);
}

/// All ids that somebody may want, from before anything was damaged.
fn ids(repo: &Repository) -> BTreeSet<ChunkId> {
    let index = Index::load(&**repo.store(), repo.sealing(), repo.monitor()).unwrap();
    index.entries().map(|entry| entry.unwrap().0).collect()
}

/// Those of `ids` that can be read, with the index made anew where that finds more.
fn restorable(repo: &Repository, ids: &BTreeSet<ChunkId>) -> BTreeSet<ChunkId> {
    let reader = repo.reader().unwrap();
    ids.iter().filter(|id| reader.chunk(**id, Vec::new()).is_ok()).copied().collect()
}

fn assert_reads_back(repo: &Repository, points: &[Stored]) {
    for (point, disks) in points {
        for (disk, expected) in point.disks.iter().zip(disks) {
            assert!(read_back(repo, disk, true).unwrap() == *expected, "{}", disk.name);
        }
    }
}

fn packs_of_kind(repo: &Repository, kind: EntryKind) -> Vec<PackId> {
    let store = repo.store();
    let names = store.list(Area::Packs).unwrap();
    let ids = names.iter().filter_map(ObjectName::pack_id);
    ids.filter(|id| read_pack(&**store, repo.sealing(), *id).unwrap().header.kind == kind).collect()
}

/// The repository is whole, scrubs clean, and there is nothing left to do.
fn assert_healed(repo: &Repository, points: &[Stored]) {
    assert_reads_back(repo, points);
    let report = check(repo, ScrubLevel::Points);
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(report.counts.unindexed_packs, 0);
    let again = apply(repo);
    assert!(again.actions.list.is_empty() && again.is_whole(), "{again:?}");
}

fn all_names(store: &dyn Store) -> BTreeSet<ObjectName> {
    Area::ALL.iter().flat_map(|area| store.list(*area).unwrap()).collect()
}

#[test]
fn a_sound_repository_is_left_alone() {
    let (store, repo, points) = small_repo();
    for is_applied in [false, true] {
        let before = (all_names(&store), store.steps());
        let report = run(&repo, is_applied).unwrap();
        assert!(report.actions.list.is_empty() && report.is_whole(), "{report:?}");
        let mut after = all_names(&store);
        after.remove(&ObjectName::exclusive_lock());
        after.remove(&ObjectName::keys_lock());
        assert_eq!((after, store.steps()), before, "nothing was written");
    }
    assert_healed(&repo, &points);
}

#[test]
fn a_dry_run_says_what_the_real_one_does_and_writes_nothing() {
    let (store, repo, points) = small_repo();
    let pack = packs_of_kind(&repo, EntryKind::Data)[0];
    flip(&store, &ObjectName::pack(pack), 1000);
    flip(&store, &ObjectName::config(1), 30);
    overwrite(&store, &store.list(Area::Index).unwrap()[0].clone(), b"no segment");
    let before = (all_names(&store), store.steps());
    let plan = run(&repo, false).unwrap();
    assert_eq!((all_names(&store), store.steps()), before);
    assert_eq!(plan.affected, None, "the index does not tell");
    let done = apply(&repo);
    assert_eq!(plan.actions, done.actions);
    assert!(plan.actions.list.len() >= 3 && !plan.is_applied && done.is_applied);
    let again = apply(&repo);
    assert!(again.actions.list.is_empty(), "{again:?}");
    drop(points);
}

#[test]
fn one_or_two_copies_of_the_configuration_come_back_from_the_others() {
    for hurt in [vec![0], vec![2], vec![0, 1], vec![1, 2]] {
        let (store, repo, points) = small_repo();
        let config = bytes_of(&store, &ObjectName::config(0));
        for copy in &hurt {
            flip(&store, &ObjectName::config(*copy), 60);
        }
        store.delete(&ObjectName::config(hurt[0])).unwrap();
        let reopened = repo::open_repo(Arc::new(store.clone()), environment(9)).unwrap();
        let report = apply(&reopened);
        assert_eq!(report.actions.list.len(), hurt.len(), "{report:?}");
        assert!(report.is_whole());
        for copy in 0..3 {
            assert_eq!(bytes_of(&store, &ObjectName::config(copy)), config);
        }
        assert_healed(&repo, &points);
    }
}

#[test]
fn an_init_that_was_cut_off_is_completed() {
    let (store, repo, points) = small_repo();
    store.delete(&ObjectName::config(1)).unwrap();
    store.delete(&ObjectName::config(2)).unwrap();
    assert_eq!(apply(&repo).actions.list.len(), 2);
    assert_healed(&repo, &points);
}

#[test]
fn a_damaged_or_lost_index_is_made_anew_and_the_old_one_is_kept_in_the_quarantine() {
    for is_lost in [false, true] {
        let (store, repo, points) = small_repo();
        let segments = store.list(Area::Index).unwrap();
        match is_lost {
            true => segments.iter().for_each(|segment| store.delete(segment).unwrap()),
            false => flip(&store, &segments[0], 5000),
        }
        let report = apply(&repo);
        assert!(matches!(report.actions.list[..], [Action::RebuildIndex { .. }]), "{report:?}");
        let kept = store.list(Area::Quarantine).unwrap().len();
        assert_eq!(kept, if is_lost { 0 } else { segments.len() });
        assert_healed(&repo, &points);
    }
}

#[test]
fn what_is_good_in_a_damaged_pack_is_read_from_a_new_one() {
    let (store, repo, points) = small_repo();
    let data = packs_of_kind(&repo, EntryKind::Data)[0];
    let contents = read_pack(&store, repo.sealing(), data).unwrap();
    assert!(contents.rows.len() > 1);
    let first = contents.rows[0];
    let before = bytes_of(&store, &ObjectName::pack(data));
    flip(&store, &ObjectName::pack(data), (first.offset + first.entry_len - 1) as usize);
    let report = apply(&repo);
    let [Finding::DamagedChunk { copy, .. }] = report.lost.list[..] else { panic!("{report:?}") };
    assert_eq!((copy.pack, copy.chunk), (data, first.chunk));
    let affected = report.affected.clone().unwrap().list;
    assert!(!affected.is_empty() && affected.iter().all(|disk| disk.vm == "vm" && disk.bytes > 0));
    assert!(!report.is_whole());
    let aside = ObjectName::quarantined(&ObjectName::pack(data), 0);
    assert_eq!(bytes_of(&store, &aside).len(), before.len());
    let scrubbed = check(&repo, ScrubLevel::Points);
    assert_eq!((scrubbed.findings.len(), &scrubbed.affected), (0, &affected));
    let again = apply(&repo);
    assert!(again.actions.list.is_empty() && again.lost.list.is_empty(), "{again:?}");
    assert_eq!(again.affected.unwrap().list, affected, "it is not forgotten");
    for (number, (_, disks)) in points.iter().enumerate() {
        let inputs = disks.iter().enumerate().map(|(n, disk)| disk_input(&n.to_string(), disk));
        back_up(&repo, &format!("again {number}"), inputs.collect(), &options()).unwrap();
    }
    assert_healed(&repo, &points);
}

#[test]
fn a_pack_that_lost_its_table_loses_nothing() {
    let (store, repo, points) = small_repo();
    for pack in store.list(Area::Packs).unwrap() {
        let bytes = bytes_of(&store, &pack);
        overwrite(&store, &pack, &bytes[..bytes.len() - 60]);
    }
    let report = apply(&repo);
    assert!(report.is_whole(), "{report:?}");
    assert_healed(&repo, &points);
}

#[test]
fn map_nodes_come_back_from_their_second_copy_and_are_stored_twice_again() {
    let (store, repo, points) = small_repo();
    let packs = packs_of_kind(&repo, EntryKind::MapNode);
    // Of each pair one goes, at times by damage and at times by loss.
    let rows = |pack: PackId| read_pack(&store, repo.sealing(), pack).unwrap().rows;
    let mut seen = BTreeSet::new();
    for (number, pack) in packs.into_iter().enumerate() {
        let chunks: Vec<_> = rows(pack).iter().map(|row| row.chunk).collect();
        if !seen.insert(chunks) {
            match number % 2 {
                0 => store.delete(&ObjectName::pack(pack)).unwrap(),
                _ => flip(&store, &ObjectName::pack(pack), 200),
            }
        }
    }
    let report = apply(&repo);
    assert!(report.is_whole(), "{report:?}");
    let is_copy = |action: &Action| matches!(action, Action::CopyNodes { nodes } if *nodes > 0);
    assert!(report.actions.list.iter().any(is_copy), "{report:?}");
    assert_healed(&repo, &points);
    for pack in packs_of_kind(&repo, EntryKind::MapNode) {
        for row in rows(pack) {
            let copies = repo.reader().unwrap().index().locations(row.chunk).unwrap();
            assert!(copies.len() >= 2, "{row:?}");
        }
    }
}

#[test]
fn a_pack_that_is_gone_is_named_and_the_next_backup_heals_it() {
    let (store, repo, points) = small_repo();
    let data = packs_of_kind(&repo, EntryKind::Data)[0];
    store.delete(&ObjectName::pack(data)).unwrap();
    let report = apply(&repo);
    assert!(!report.lost.list.is_empty() && !report.affected.unwrap().list.is_empty());
    let scrubbed = check(&repo, ScrubLevel::Points);
    assert!(scrubbed.findings.is_empty(), "{:?}", scrubbed.findings);
    for (_, disks) in &points {
        let inputs = disks.iter().enumerate().map(|(n, disk)| disk_input(&n.to_string(), disk));
        back_up(&repo, "vm", inputs.collect(), &options()).unwrap();
    }
    assert_healed(&repo, &points);
}

#[test]
fn lists_that_are_of_no_use_any_more_leave_the_way_to_backups_free() {
    let (store, repo, points) = small_repo();
    let list = ObjectName::condemned(points[0].0.id);
    let mut bytes = Condemned::default().encode();
    bytes[30] ^= 1;
    assert_eq!(store.create(&list, &bytes).unwrap(), Published::Created);
    assert!(back_up_bytes(&repo, "other", &noise(900, 3)).is_err());
    let report = apply(&repo);
    assert!(report.is_whole(), "{report:?}");
    back_up_bytes(&repo, "other", &noise(900, 3)).unwrap();
    assert_healed(&repo, &points);
}

#[test]
fn a_damaged_commit_is_named_and_stays_where_it_is() {
    let (store, repo, points) = small_repo();
    let name = ObjectName::commit(points[1].0.id);
    flip(&store, &name, 100);
    let report = apply(&repo);
    assert!(report.actions.list.is_empty(), "{report:?}");
    let [Finding::Object { name: named, .. }] = &report.unhealed.list[..] else { panic!() };
    assert_eq!(*named, name.to_string());
    assert!(store.len_bytes(&name).is_ok());
}

#[test]
fn a_repair_goes_beside_no_session_but_a_mount() {
    let (store, repo, _points) = small_repo();
    let session = BackupSession::begin(&repo, "other").unwrap();
    assert_eq!(run(&repo, true).unwrap_err().kind(), ErrorKind::Busy);
    assert!(run(&repo, false).is_ok(), "looking is allowed");
    session.abort().unwrap();
    let alone = Alone::begin(&repo).unwrap();
    assert_eq!(run(&repo, true).unwrap_err().kind(), ErrorKind::Busy);
    assert_eq!(BackupSession::begin(&repo, "vm").err().unwrap().kind(), ErrorKind::Busy);
    let rebuilt = rebuild_index(&repo, &Cancel::default());
    assert_eq!(rebuilt.unwrap_err().kind(), ErrorKind::Busy);
    assert_eq!(store.list(Area::Sessions).unwrap(), [], "a session that was refused is left");
    drop(alone);
    BackupSession::begin(&repo, "vm").unwrap().abort().unwrap();
}

#[test]
fn a_reader_goes_on_through_a_repair() {
    let (store, repo, points) = small_repo();
    for pack in packs_of_kind(&repo, EntryKind::Data) {
        let bytes = bytes_of(&store, &ObjectName::pack(pack));
        overwrite(&store, &ObjectName::pack(pack), &bytes[..bytes.len() - 60]);
    }
    let wanted = ids(&repo);
    let reader = repo.reader().unwrap();
    for chunk in wanted.iter().take(1) {
        reader.chunk(*chunk, Vec::new()).unwrap();
    }
    apply(&repo);
    for chunk in &wanted {
        reader.chunk(*chunk, Vec::new()).unwrap();
    }
    assert_healed(&repo, &points);
}

/// Damages a random object in a random way.
fn hurt(store: &MemoryStore, dice: &SeededChance) {
    let areas = [Area::Packs, Area::Packs, Area::Packs, Area::Index, Area::Config, Area::Commits];
    let names = store.list(areas[dice.below(areas.len())]).unwrap();
    if names.is_empty() {
        return;
    }
    let name = &names[dice.below(names.len())];
    let mut bytes = bytes_of(store, name);
    let at = dice.below(bytes.len().max(1));
    let is_config = name.area() == Area::Config;
    match dice.below(6) {
        0 if !is_config => return store.delete(name).unwrap(),
        1 => bytes.truncate(at),
        2 => bytes[at..].iter_mut().take(5000).for_each(|byte| *byte = 0),
        3 => bytes.extend_from_slice(&noise(100, 3)),
        4 => {
            let other = bytes_of(store, &names[dice.below(names.len())]);
            bytes = if is_config { bytes } else { other };
        }
        _ if !bytes.is_empty() => bytes[at] ^= 1 << dice.below(8),
        _ => {}
    }
    overwrite(store, name, &bytes);
}

/// A repository with random damage, of which at least one copy of the configuration is good.
fn hurt_repo(seed: u64) -> (MemoryStore, Repository, BTreeSet<ChunkId>) {
    let (store, repo, _points) = small_repo();
    let wanted = ids(&repo);
    let dice = SeededChance::new(seed);
    let config = bytes_of(&store, &ObjectName::config(2));
    (0..=dice.below(5)).for_each(|_| hurt(&store, &dice));
    overwrite(&store, &ObjectName::config(2), &config);
    (store, repo, wanted)
}

#[test]
fn random_damage_is_healed_without_losing_a_chunk_that_can_be_read() {
    for seed in 0..300 {
        let (store, repo, wanted) = hurt_repo(seed);
        let before = restorable(&repo, &wanted);
        let names = all_names(&store);
        let report = match run(&repo, true) {
            Ok(report) => report,
            Err(error) => panic!("seed {seed}: {}", error.chain()),
        };
        let after = restorable(&repo, &wanted);
        assert!(before.is_subset(&after), "seed {seed}: {report:?}");
        let left = all_names(&store);
        for name in names.difference(&left) {
            let aside = ObjectName::quarantined(name, 0);
            assert!(left.contains(&aside), "seed {seed}: {name} is gone");
        }
        let scrubbed = check(&repo, ScrubLevel::Points);
        let unhealed = &report.unhealed.list;
        assert!(scrubbed.findings.iter().all(|left| unhealed.contains(left)), "seed {seed}");
        assert_eq!(scrubbed.affected, report.affected.unwrap().list, "seed {seed}");
        let again = apply(&repo);
        assert!(again.actions.list.is_empty(), "seed {seed}: {again:?}");
    }
}

#[test]
fn a_repair_that_is_killed_loses_nothing_and_can_be_run_again() {
    let mut cuts = 0;
    for seed in 0..40 {
        for cut in (1..).step_by(3) {
            let (store, repo, wanted) = hurt_repo(seed);
            let before = restorable(&repo, &wanted);
            store.crash_after(cut + seed % 3);
            let is_done = run(&repo, true).is_ok();
            let store = store.reboot(cut + seed);
            let repo = repo::open_repo(Arc::new(store.clone()), environment(77)).unwrap();
            let after = restorable(&repo, &wanted);
            assert!(before.is_subset(&after), "seed {seed}, cut {cut}");
            if let Err(error) = run(&repo, true) {
                panic!("seed {seed}, cut {cut}: {}", error.chain());
            }
            assert!(before.is_subset(&restorable(&repo, &wanted)), "seed {seed}, cut {cut}");
            let again = apply(&repo);
            assert!(again.actions.list.is_empty(), "seed {seed}, cut {cut}: {again:?}");
            cuts += 1;
            if is_done {
                break;
            }
        }
    }
    assert!(cuts > 200, "{cuts} cuts");
}

#[test]
fn a_copy_without_empty_directories_gets_them_back_and_one_without_packs_does_not() {
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path().join("repo");
    let store = Arc::new(DirStore::create(&root).unwrap());
    let repo = repo::create_repo(Arc::<DirStore>::clone(&store), environment(1)).unwrap();
    let bytes = noise(3000, 1);
    let point = back_up_bytes(&repo, "vm", &bytes).unwrap();
    for entry in ["sessions", "forget", "gc", "damaged", "locks", "tmp", "quarantine"] {
        let _ = std::fs::remove_dir_all(root.join(entry));
    }
    for hh in 0..=255u8 {
        // Those that are not empty stay.
        let _ = std::fs::remove_dir(root.join(format!("packs/{hh:02x}")));
    }
    assert!(back_up_bytes(&repo, "vm", &bytes).is_err());
    let plan = run(&repo, false).unwrap();
    assert!(plan.actions.list.len() > 200, "{plan:?}");
    assert!(!root.join("locks").exists());
    apply(&repo);
    assert_healed(&repo, &[(point, vec![bytes.clone()])]);
    back_up_bytes(&repo, "vm", &bytes).unwrap();
    std::fs::remove_dir_all(root.join("packs")).unwrap();
    assert_eq!(run(&repo, true).unwrap_err().kind(), ErrorKind::Corrupt);
    assert!(!root.join("packs").exists(), "it may only be not mounted");
}
