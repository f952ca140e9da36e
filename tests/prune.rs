//! What a prune keeps, what it gives back, and what it stops at.

#[path = "prune/size.rs"]
mod size;
#[path = "support/repo.rs"]
mod support;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use backstop::base::cancel::Cancel;
use backstop::base::id::{ChunkId, PackId, SessionId};
use backstop::base::units::ChunkIndex;
use backstop::chunk::{ChunkEncoder, CompressionLevel};
use backstop::error::{ErrorKind, Result};
use backstop::format::commit::PointRecord;
use backstop::format::layout::{Area, ObjectName};
use backstop::format::lists::Condemned;
use backstop::format::session::SessionKind;
use backstop::prune::forget::{forget, hold, release, undo};
use backstop::prune::{PruneOptions, PruneReport, prune};
use backstop::repo::{
    BackupSession, Registration, Repository, RestoreSession, condemned_lists, rebuild_index,
};
use backstop::store::Store;
use backstop::store::testing::{Damage, DamagingStore, MemoryStore};

use support::{MIB, back_up_bytes, environment, new_repo, noise, read_back};

fn options() -> PruneOptions {
    PruneOptions {
        dry_run: false,
        wait: Duration::ZERO,
        live_percent: 50,
        cancel: Cancel::default(),
    }
}

fn run(repo: &Repository) -> PruneReport {
    prune(repo, &options()).unwrap()
}

fn packs(repo: &Repository) -> HashSet<PackId> {
    repo.store().list(Area::Packs).unwrap().iter().filter_map(ObjectName::pack_id).collect()
}

fn names(repo: &Repository, area: Area) -> Vec<ObjectName> {
    repo.store().list(area).unwrap()
}

fn pack_bytes(repo: &Repository) -> u64 {
    let len = |name: &ObjectName| repo.store().len_bytes(name).unwrap();
    names(repo, Area::Packs).iter().map(len).sum()
}

fn assert_reads(repo: &Repository, points: &[(PointRecord, Vec<u8>)]) {
    for (point, disk) in points {
        assert!(read_back(repo, &point.disks[0], false).unwrap() == *disk, "{}", point.id);
    }
}

/// Chunks and nodes that the restore points of a repository need.
fn needed(repo: &Repository) -> HashSet<ChunkId> {
    let reader = repo.reader().unwrap();
    let mut needed = HashSet::new();
    for point in repo.points().unwrap() {
        for disk in &point.disks {
            let map = repo.disk_map(&reader, disk);
            needed.insert(map.root());
            needed.extend(map.leaves(ChunkIndex(0)).map(|leaf| leaf.unwrap().1));
        }
    }
    needed
}

/// The packs that have parity.
fn protected(repo: &Repository) -> HashSet<PackId> {
    names(repo, Area::Parity).iter().filter_map(ObjectName::protected_pack).collect()
}

/// Every entry of every pack, as the packs tell themselves.
fn stored(repo: &Repository) -> Vec<ChunkId> {
    let rows =
        |pack| backstop::pack::read_pack(&**repo.store(), repo.sealing(), pack).unwrap().rows;
    packs(repo).into_iter().flat_map(rows).map(|row| row.chunk).collect()
}

#[test]
fn what_only_a_dropped_point_needs_goes_and_everything_else_stays() {
    let repo = new_repo(Arc::new(MemoryStore::new()));
    let shared = noise(2 * MIB, 1);
    let disks = [2, 3, 4].map(|seed| [shared.clone(), noise(3 * MIB, seed)].concat());
    let mut points: Vec<_> =
        disks.map(|disk| (back_up_bytes(&repo, "vm", &disk).unwrap(), disk)).into();
    assert_eq!(run(&repo).deleted_packs, 0, "nothing was dropped");
    let before = pack_bytes(&repo);
    let (gone, _) = points.remove(1);
    forget(&repo, gone.id).unwrap();
    assert_eq!(run(&repo).dropped_points, 1);
    assert_reads(&repo, &points);
    assert!(before - pack_bytes(&repo) >= 3 * MIB as u64);
    let stored: HashSet<_> = stored(&repo).into_iter().collect();
    assert_eq!(stored, needed(&repo));
    assert_eq!(undo(&repo, gone.id).unwrap_err().kind(), ErrorKind::NotFound);
    for area in [Area::Condemned, Area::Sessions] {
        assert_eq!(names(&repo, area), []);
    }
    assert_eq!(names(&repo, Area::Forgotten).len(), 1, "a tombstone stays");
    let again = run(&repo);
    assert_eq!((again.deleted_packs, again.dropped_points), (0, 0));
}

#[test]
fn a_pack_with_little_that_is_needed_is_written_anew() {
    let repo = new_repo(Arc::new(MemoryStore::new()));
    let wide = noise(10 * MIB, 1);
    let first = back_up_bytes(&repo, "vm", &wide).unwrap();
    let narrow = wide[..2 * MIB].to_vec();
    let second = back_up_bytes(&repo, "vm", &narrow).unwrap();
    forget(&repo, first.id).unwrap();
    let planned = prune(&repo, &PruneOptions { dry_run: true, ..options() }).unwrap();
    assert!(planned.compacted_packs >= 1, "{planned:?}");
    assert_eq!(repo.points().unwrap(), std::slice::from_ref(&second));
    let report = run(&repo);
    assert_eq!(report.deleted_packs, planned.deleted_packs);
    assert_reads(&repo, &[(second, narrow)]);
    assert!(pack_bytes(&repo) < 3 * MIB as u64, "{} bytes", pack_bytes(&repo));
    assert_eq!(run(&repo).deleted_packs, 0, "a second prune has nothing to do");
}

#[test]
fn a_dry_run_writes_nothing() {
    let store = MemoryStore::new();
    let repo = new_repo(Arc::new(store.clone()));
    let point = back_up_bytes(&repo, "vm", &noise(MIB, 1)).unwrap();
    back_up_bytes(&repo, "vm", &noise(MIB, 2)).unwrap();
    forget(&repo, point.id).unwrap();
    let steps = store.steps();
    let report = prune(&repo, &PruneOptions { dry_run: true, ..options() }).unwrap();
    assert!(report.deleted_packs > 0);
    assert_eq!(store.steps(), steps);
}

#[test]
fn a_point_that_is_held_or_read_is_kept_though_it_was_dropped() {
    let repo = new_repo(Arc::new(MemoryStore::new()));
    let disk = noise(MIB, 1);
    let point = back_up_bytes(&repo, "vm", &disk).unwrap();
    back_up_bytes(&repo, "vm", &noise(MIB, 2)).unwrap();
    forget(&repo, point.id).unwrap();
    let reader = Registration::begin(&repo, SessionKind::Mount, Some(point.id)).unwrap();
    assert_eq!(run(&repo).deleted_packs, 0);
    assert_reads(&repo, &[(point.clone(), disk.clone())]);
    undo(&repo, point.id).unwrap();
    let _created = hold(&repo, point.id, "audit").unwrap();
    assert_eq!(forget(&repo, point.id).unwrap_err().kind(), ErrorKind::Refused);
    drop(reader);
    let restore = RestoreSession::begin(&repo, "elsewhere", point.id).unwrap();
    release(&repo, point.id).unwrap();
    forget(&repo, point.id).unwrap();
    assert_eq!(run(&repo).deleted_packs, 0);
    drop(restore);
    let late = RestoreSession::begin(&repo, "elsewhere", point.id).err().unwrap();
    assert_eq!(late.kind(), ErrorKind::NotFound);
    assert_eq!(names(&repo, Area::Sessions), []);
    assert!(run(&repo).deleted_packs > 0);
}

/// What nothing leads to any more would otherwise stay for ever.
#[test]
fn parity_goes_with_its_pack_and_so_does_parity_whose_pack_is_gone() {
    let store = MemoryStore::new();
    let repo = support::create_repo_with_parity(Arc::new(store.clone()), environment(1)).unwrap();
    let kept = back_up_bytes(&repo, "vm", &noise(MIB, 1)).unwrap();
    let point = back_up_bytes(&repo, "vm", &noise(MIB, 2)).unwrap();
    forget(&repo, point.id).unwrap();
    let orphan = ObjectName::parity(PackId::from_bytes([7; 32]));
    let _created = store.create(&orphan, b"parity of a pack that is gone").unwrap();
    assert!(run(&repo).deleted_packs > 0);
    assert_eq!(protected(&repo), packs(&repo));
    assert_reads(&repo, &[(kept, noise(MIB, 1))]);
}

#[test]
fn a_pack_that_cannot_be_read_stays_and_is_told_of() {
    let store = Arc::new(DamagingStore::new(MemoryStore::new()));
    let repo = new_repo(Arc::<DamagingStore<_>>::clone(&store));
    let wide = noise(10 * MIB, 1);
    let first = back_up_bytes(&repo, "vm", &wide).unwrap();
    let narrow = wide[..2 * MIB].to_vec();
    let second = back_up_bytes(&repo, "vm", &narrow).unwrap();
    forget(&repo, first.id).unwrap();
    let reader = repo.reader().unwrap();
    let map = repo.disk_map(&reader, &second.disks[0]);
    let (_, chunk) = map.next_data(ChunkIndex(0)).unwrap().unwrap();
    let copy = reader.index().locations(chunk).unwrap()[0];
    let middle = u64::from(copy.offset) + u64::from(copy.entry_len) / 2;
    store.damage(&ObjectName::pack(copy.pack), Damage::Unreadable(middle..middle + 1));
    let report = run(&repo);
    assert!(packs(&repo).contains(&copy.pack), "{report:?}");
    store.heal();
    assert_reads(&repo, &[(second, narrow)]);
}

/// A backup that began before the prune refers to chunks that nothing else needs.
#[test]
fn a_running_backup_is_waited_for_and_a_later_prune_finishes() {
    let repo = new_repo(Arc::new(MemoryStore::new()));
    let chunk = noise(MIB, 1);
    let old = back_up_bytes(&repo, "old", &[chunk.clone(), noise(5 * MIB, 2)].concat()).unwrap();
    let dead = back_up_bytes(&repo, "dead", &noise(3 * MIB, 3)).unwrap();
    let session = BackupSession::begin(&repo, "new").unwrap();
    forget(&repo, old.id).unwrap();
    forget(&repo, dead.id).unwrap();
    let before = packs(&repo);
    let report = run(&repo);
    assert_eq!(report.waits_for, [session.id()]);
    assert_eq!(report.deleted_packs, 0);
    assert_eq!(packs(&repo), before);
    assert_eq!(undo(&repo, old.id).unwrap_err().kind(), ErrorKind::Busy, "it is condemned");
    // A list that says for whom is waited came beside the first. Were it to take its place, whoever
    // listed before the one and read after the other's end would know of neither.
    let lists = condemned_lists(&**repo.store()).unwrap();
    let named_by = |waits_for: Option<Vec<SessionId>>| {
        let mut lists: Vec<_> = lists.iter().map(|list| list.condemned.clone()).collect();
        lists.retain(|list| list.waits_for == waits_for);
        let packs: Vec<_> = lists.iter().flat_map(|list| list.packs.clone()).collect();
        (packs, lists.iter().flat_map(|list| list.points.clone()).collect::<Vec<_>>())
    };
    assert_eq!(named_by(None), named_by(Some(vec![session.id()])));
    assert!(!named_by(None).0.is_empty() && !named_by(None).1.is_empty());
    // Another backup comes, and must not keep the prune from its end.
    let later = BackupSession::begin(&repo, "later").unwrap();
    let mut encoder = ChunkEncoder::new(CompressionLevel::default(), repo.sealing()).unwrap();
    let (_, stored) = session.put_chunk(&mut encoder, &chunk).unwrap();
    assert_eq!(stored, backstop::repo::Stored::Duplicate);
    session.abort().unwrap();
    let report = run(&repo);
    assert!(report.deleted_packs > 0, "{report:?}");
    assert_eq!(names(&repo, Area::Condemned), []);
    later.abort().unwrap();
    rebuild_index(&repo, &Cancel::default()).unwrap();
}

#[test]
fn a_backup_that_commits_during_the_wait_keeps_what_it_refers_to() {
    let repo = new_repo(Arc::new(MemoryStore::new()));
    let disk = noise(2 * MIB, 1);
    let old = back_up_bytes(&repo, "old", &disk).unwrap();
    let session = BackupSession::begin(&repo, "new").unwrap();
    forget(&repo, old.id).unwrap();
    let pruner = repo.clone();
    let waiting = std::thread::spawn(move || {
        prune(&pruner, &PruneOptions { wait: Duration::from_secs(60), ..options() })
    });
    while names(&repo, Area::Condemned).is_empty() {
        std::thread::sleep(Duration::from_millis(2));
    }
    let mut encoder = ChunkEncoder::new(CompressionLevel::default(), repo.sealing()).unwrap();
    let mut builder = backstop::diskmap::MapBuilder::default();
    for (place, plain) in disk.chunks(MIB).enumerate() {
        let (id, stored) = session.put_chunk(&mut encoder, plain).unwrap();
        assert_eq!(stored, backstop::repo::Stored::Duplicate);
        builder.set(ChunkIndex(place as u64), id);
    }
    let grid = backstop::base::units::ChunkGrid::new(disk.len() as u64);
    let map_root = builder.finish(grid, &session).unwrap();
    let mut record = old.disks[0].clone();
    record.map_root = map_root;
    let contents = backstop::repo::PointContents { disks: vec![record], ..Default::default() };
    let point = session.commit(contents, |_| old.stats).unwrap();
    let report = waiting.join().unwrap().unwrap();
    assert!(report.kept_packs > 0, "{report:?}");
    assert_reads(&repo, &[(point, disk)]);
}

#[test]
fn the_list_of_a_dead_prune_is_taken_over() {
    let repo = new_repo(Arc::new(MemoryStore::new()));
    let disk = noise(2 * MIB, 1);
    let point = back_up_bytes(&repo, "vm", &disk).unwrap();
    // All packs, needed or not: the prune that condemned them is gone.
    let list = Condemned { packs: packs(&repo).into_iter().collect(), ..Condemned::default() };
    let name = ObjectName::condemned(SessionId::from_bytes([9; 16]));
    let _created = repo.store().create(&name, &list.encode()).unwrap();
    let before = packs(&repo);
    let report = run(&repo);
    assert_eq!(report.deleted_packs as usize, before.len(), "{report:?}");
    assert_eq!(names(&repo, Area::Condemned), []);
    assert!(packs(&repo).is_disjoint(&before));
    assert_reads(&repo, &[(point, disk)]);
}

#[test]
fn two_prunes_exclude_each_other() {
    let repo = new_repo(Arc::new(MemoryStore::new()));
    let held = repo.store().lock(&ObjectName::prune_lock(), &[]).unwrap();
    assert_eq!(prune(&repo, &options()).unwrap_err().kind(), ErrorKind::Busy);
    let look = || prune(&repo, &PruneOptions { dry_run: true, ..options() });
    assert!(look().is_ok(), "one that only looks goes beside it");
    // The other one has deleted a pack since this one read the index.
    back_up_bytes(&repo, "vm", &noise(MIB, 1)).unwrap();
    let pack = *packs(&repo).iter().min().unwrap();
    repo.store().delete(&ObjectName::pack(pack)).unwrap();
    assert_eq!(look().unwrap_err().kind(), ErrorKind::Busy);
    drop(held);
    assert_eq!(look().unwrap_err().kind(), ErrorKind::Corrupt);
}

/// A disk whose last chunk has the bytes of a map node: marking it must not hide what is under it.
#[test]
fn a_chunk_with_the_bytes_of_a_map_node_does_not_hide_the_node() {
    let repo = new_repo(Arc::new(MemoryStore::new()));
    let disk = noise(3 * MIB, 1);
    let first = back_up_bytes(&repo, "b", &disk).unwrap();
    let reader = repo.reader().unwrap();
    let node = reader.chunk(first.disks[0].map_root, Vec::new()).unwrap().bytes().to_vec();
    let second = back_up_bytes(&repo, "a", &node).unwrap();
    let dropped = back_up_bytes(&repo, "c", &noise(MIB, 9)).unwrap();
    forget(&repo, dropped.id).unwrap();
    run(&repo);
    assert_reads(&repo, &[(first, disk), (second, node)]);
}

/// What a prune must stop at, each with the change that makes it stop.
#[test]
fn anything_missing_or_damaged_stops_it_before_anything_is_deleted() {
    type Change = fn(&Repository, &[PointRecord]);
    let changes: &[(&str, Change)] = &[
        ("a pack is gone", |repo, _| {
            repo.store().delete(&ObjectName::pack(*packs(repo).iter().min().unwrap())).unwrap();
        }),
        ("the index is gone", |repo, _| {
            names(repo, Area::Index).iter().for_each(|name| repo.store().delete(name).unwrap());
        }),
        ("an index segment is damaged", |repo, _| {
            let name = ObjectName::segment(backstop::base::id::SegmentId::from_bytes([3; 32]));
            let _created = repo.store().create(&name, b"rubbish").unwrap();
        }),
        ("a pack is gone that is needed and was condemned", |repo, points| {
            let reader = repo.reader().unwrap();
            let map = repo.disk_map(&reader, &points[0].disks[0]);
            let (_, chunk) = map.next_data(ChunkIndex(0)).unwrap().unwrap();
            let pack = reader.index().locations(chunk).unwrap()[0].pack;
            let list = Condemned { packs: vec![pack], ..Condemned::default() };
            let name = ObjectName::condemned(SessionId::from_bytes([3; 16]));
            let _created = repo.store().create(&name, &list.encode()).unwrap();
            repo.store().delete(&ObjectName::pack(pack)).unwrap();
        }),
        ("all commits and tombstones are elsewhere", |repo, _| {
            for area in [Area::Commits, Area::Forgotten] {
                names(repo, area).iter().for_each(|name| repo.store().delete(name).unwrap());
            }
        }),
        ("a commit is gone", |repo, points| {
            repo.store().delete(&ObjectName::commit(points[0].id)).unwrap();
        }),
        ("a commit is damaged", |repo, _| {
            let name = ObjectName::commit(SessionId::from_bytes([3; 16]));
            let _created = repo.store().create(&name, b"rubbish").unwrap();
        }),
        ("a condemned list is damaged", |repo, _| {
            let name = ObjectName::condemned(SessionId::from_bytes([3; 16]));
            let _created = repo.store().create(&name, b"rubbish").unwrap();
        }),
        ("a list of damage is damaged", |repo, _| {
            let name = ObjectName::damaged(SessionId::from_bytes([3; 16]));
            let _created = repo.store().create(&name, b"rubbish").unwrap();
        }),
    ];
    for (what, change) in changes {
        let repo = new_repo(Arc::new(MemoryStore::new()));
        let points: Vec<_> =
            (0..3).map(|seed| back_up_bytes(&repo, "vm", &noise(2 * MIB, seed)).unwrap()).collect();
        let other = back_up_bytes(&repo, "other", &noise(2 * MIB, 9)).unwrap();
        forget(&repo, other.id).unwrap();
        change(&repo, &points);
        let before = packs(&repo);
        let result = prune(&repo, &options());
        assert!(result.is_err(), "{what}: {result:?}");
        assert_eq!(packs(&repo), before, "{what}");
        assert_eq!(names(&repo, Area::Sessions), [], "{what}");
    }
}

/// A history that ends in a prune, until the power goes.
struct Told {
    kept: Vec<(PointRecord, Vec<u8>)>,
    forgotten: Vec<PointRecord>,
}

fn disk(number: u64) -> Vec<u8> {
    [noise(MIB, 1), noise(MIB, 10 + number), noise(700, 20 + number)].concat()
}

fn history(store: &MemoryStore) -> Result<Told> {
    let repo = support::open_repo(Arc::new(store.clone()), environment(3))?;
    let mut told = Told { kept: Vec::new(), forgotten: Vec::new() };
    for number in 0..4 {
        let point = back_up_bytes(&repo, "vm", &disk(number))?;
        told.kept.push((point, disk(number)));
    }
    let (first, _) = told.kept.remove(0);
    forget(&repo, first.id)?;
    let (third, _) = told.kept.remove(1);
    forget(&repo, third.id)?;
    told.forgotten = vec![first, third];
    Ok(told)
}

/// After the crash: what was kept is there and whole, and a backup, an undo and a prune work.
fn check(store: &MemoryStore, told: &Told, seed: u64) -> Result<()> {
    let repo = support::open_repo(Arc::new(store.clone()), environment(4))?;
    for (point, disk) in &told.kept {
        assert!(repo.points()?.contains(point), "a restore point is gone");
        assert!(read_back(&repo, &point.disks[0], false)? == *disk);
    }
    for point in repo.points()? {
        read_back(&repo, &point.disks[0], true)?;
    }
    // Brought back whole, or not at all.
    for point in &told.forgotten {
        if seed.is_multiple_of(2) && undo(&repo, point.id).is_ok() {
            read_back(&repo, &point.disks[0], false)?;
        }
    }
    let point = back_up_bytes(&repo, "vm", &disk(0))?;
    assert!(read_back(&repo, &point.disks[0], false)? == disk(0));
    prune(&repo, &PruneOptions { live_percent: 90, ..options() })?;
    assert_eq!(repo.store().list(Area::Condemned)?, []);
    if repo.config().has_parity() {
        assert_eq!(protected(&repo), packs(&repo));
    }
    for (point, disk) in &told.kept {
        assert!(read_back(&repo, &point.disks[0], false)? == *disk);
    }
    assert!(read_back(&repo, &point.disks[0], false)? == disk(0));
    Ok(())
}

#[test]
fn no_restore_point_is_lost_whenever_the_power_goes_in_a_prune() {
    let fresh = |has_parity| {
        let store = MemoryStore::new();
        let shared = Arc::new(store.clone());
        match has_parity {
            false => support::create_repo(shared, environment(2)),
            true => support::create_repo_with_parity(shared, environment(2)),
        }
        .unwrap();
        let told = history(&store).unwrap();
        (store, told)
    };
    let pruned = |store: &MemoryStore| {
        let repo = support::open_repo(Arc::new(store.clone()), environment(5))?;
        prune(&repo, &PruneOptions { live_percent: 90, ..options() })
    };
    for (has_parity, seeds) in [(false, 0..2), (true, 1..2)] {
        let (store, _) = fresh(has_parity);
        let before = store.steps();
        let report = pruned(&store).unwrap();
        assert!(report.dead_packs > 0 && report.compacted_packs > 0, "{report:?}");
        let steps = store.steps() - before;
        assert!(steps > 30, "{steps} steps are no prune");
        for (cut, seed) in (1..=steps).flat_map(|cut| seeds.clone().map(move |seed| (cut, seed))) {
            let (store, told) = fresh(has_parity);
            store.crash_after(cut);
            let _cut_off = pruned(&store);
            let rebooted = store.reboot(cut * 31 + seed);
            if let Err(error) = check(&rebooted, &told, seed) {
                panic!("power cut before step {cut} of {steps}, seed {seed}: {}", error.chain());
            }
        }
    }
}
