//! What is shown, what it costs to look, and what becomes of restore points that are dropped.

use std::ffi::OsStr;
use std::sync::Arc;
use std::time::Duration;

use backstop::base::cancel::Cancel;
use backstop::error::ErrorKind;
use backstop::format::commit::PointRecord;
use backstop::format::layout::{Area, ObjectName};
use backstop::ingest::back_up;
use backstop::monitor::RecordingMonitor;
use backstop::prune::{PruneOptions, prune};
use backstop::repo::Repository;
use backstop::store::testing::{CountingStore, Damage, DamagingStore, MemoryStore};
use backstop::store::{Published, Store};
use backstop::vfs::{Access, FileKind, Ino, TreeOptions};

use crate::support::{MIB, back_up_bytes, disk_input, new_repo, noise, options, watched};
use crate::{names, open, read, tree, tree_with, walk};

fn forget(repo: &Repository, point: &PointRecord) {
    let tombstone = ObjectName::forgotten(point.id);
    assert_eq!(repo.store().create(&tombstone, b"dropped").unwrap(), Published::Created);
}

#[test]
fn the_tree_shows_vms_restore_points_disks_and_the_newest() {
    let repo = new_repo(Arc::new(MemoryStore::new()));
    let disks = vec![disk_input("sda", &noise(MIB, 1)), disk_input("b/../c", &vec![0; 2 * MIB])];
    let first = back_up(&repo, "web/1", disks, &options()).unwrap();
    let second = back_up_bytes(&repo, "web/1", &noise(5000, 2)).unwrap();
    back_up_bytes(&repo, "..", b"x").unwrap();
    let tree = tree(&repo);
    assert_eq!(names(&tree, ""), [".", "..", "vms"]);
    assert_eq!(names(&tree, "vms"), [".", "..", "%2E%2E", "web%2F1"]);
    let times = [&first, &second].map(|point| point.time.to_string());
    let expected = [".", "..", &times[0], &times[1], "latest"];
    assert_eq!(names(&tree, "vms/web%2F1"), expected);
    let point = format!("vms/web%2F1/{}", times[0]);
    assert_eq!(names(&tree, &point), [".", "..", "sda.raw", "b%2F..%2Fc.raw", "point.json"]);
    let vm = walk(&tree, "vms/web%2F1").unwrap();
    let link = tree.lookup(vm.ino, OsStr::new("latest")).unwrap();
    assert_eq!((link.kind, link.size_bytes), (FileKind::Link, times[1].len() as u64));
    assert_eq!(*tree.read_link(link.ino).unwrap(), *times[1]);
    for path in ["vm", "vms/web", "vms/latest", "vms/web%2F1/x", "vms/web%2F1/latest/sda.raw"] {
        assert_eq!(walk(&tree, path).unwrap_err().kind(), ErrorKind::NotFound, "{path}");
    }
}

#[test]
fn stat_tells_length_data_and_time() {
    let repo = new_repo(Arc::new(MemoryStore::new()));
    let mut bytes = noise(3 * MIB + 700, 1);
    bytes[MIB..2 * MIB].fill(0);
    let disks = vec![disk_input("a", &bytes), disk_input("zero", &vec![0; 5 * MIB])];
    let two = back_up(&repo, "two", disks, &options()).unwrap();
    back_up_bytes(&repo, "one", &bytes).unwrap();
    let tree = tree(&repo);
    let data_blocks = 2 * 2048 + 2;
    for (path, size, blocks) in [
        ("vms/one/latest/disk.raw", bytes.len(), data_blocks),
        ("vms/two/latest/a.raw", bytes.len(), data_blocks),
        ("vms/two/latest/zero.raw", 5 * MIB, 0),
    ] {
        let attr = walk(&tree, path).unwrap();
        assert_eq!((attr.size_bytes, attr.blocks), (size as u64, blocks), "{path}");
        assert_eq!((attr.mode, attr.is_final), (0o400, true));
    }
    let directory = walk(&tree, "vms/two").unwrap();
    assert_eq!((directory.time, directory.mode, directory.is_final), (two.time, 0o500, false));
    let json = open(&tree, "vms/two/latest/point.json");
    let text = read(&tree, json, 0, 1 << 20).unwrap();
    assert_eq!(text.len() as u64, walk(&tree, "vms/two/latest/point.json").unwrap().size_bytes);
    let read_back: serde_json::Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(read_back["vm"], "two");
    assert_eq!(read_back["disks"][1]["size_bytes"], 5 * MIB);
    let others = TreeOptions { is_open_to_others: true, ..TreeOptions::default() };
    let tree = backstop::vfs::Tree::new(repo, &others).unwrap();
    assert_eq!(walk(&tree, "vms/one").unwrap().mode, 0o555);
    assert_eq!(walk(&tree, "vms/one/latest/disk.raw").unwrap().mode, 0o444);
}

#[test]
fn new_restore_points_appear_and_a_dropped_one_stays_readable_while_it_is_open() {
    let repo = new_repo(Arc::new(MemoryStore::new()));
    let first = back_up_bytes(&repo, "vm", &noise(MIB, 1)).unwrap();
    let tree = tree(&repo);
    let path = format!("vms/vm/{}/disk.raw", first.time);
    let (file, ino) = (open(&tree, &path), walk(&tree, &path).unwrap().ino);
    back_up_bytes(&repo, "vm", &noise(MIB, 2)).unwrap();
    back_up_bytes(&repo, "new", &noise(MIB, 3)).unwrap();
    assert_eq!(names(&tree, "vms"), [".", "..", "new", "vm"]);
    assert_eq!(names(&tree, "vms/vm").len(), 5);
    assert_eq!(walk(&tree, &path).unwrap().ino, ino, "numbers stay");
    forget(&repo, &first);
    assert_eq!(names(&tree, "vms/vm").len(), 4);
    assert_eq!(walk(&tree, &path).unwrap_err().kind(), ErrorKind::NotFound);
    assert!(read(&tree, file, 0, MIB).unwrap() == noise(MIB, 1));
    assert_eq!(tree.attr(ino).unwrap().size_bytes, MIB as u64);
    tree.close(file);
    names(&tree, "vms");
    assert_eq!(tree.attr(ino).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(tree.open_count(), 0);
}

#[test]
fn a_link_to_the_newest_gets_a_new_number_when_it_leads_elsewhere() {
    let repo = new_repo(Arc::new(MemoryStore::new()));
    back_up_bytes(&repo, "vm", b"1").unwrap();
    let tree = tree(&repo);
    let link = |name| {
        let vm = walk(&tree, "vms/vm").unwrap().ino;
        tree.lookup(vm, OsStr::new(name)).unwrap().ino
    };
    let before = link("latest");
    assert_eq!(link("latest"), before);
    let old_target = tree.read_link(before).unwrap();
    let second = back_up_bytes(&repo, "vm", b"2").unwrap();
    assert_ne!(link("latest"), before);
    assert_eq!(*tree.read_link(link("latest")).unwrap(), second.time.to_string());
    assert_eq!(tree.read_link(before).unwrap(), old_target);
}

#[test]
fn making_a_tree_reads_nothing_and_a_look_reads_new_commits_only() {
    let store = Arc::new(CountingStore::new(MemoryStore::new()));
    let repo = new_repo(Arc::clone(&store) as Arc<dyn Store>);
    (0..20).for_each(|n| drop(back_up_bytes(&repo, &format!("vm{n}"), b"x").unwrap()));
    store.reset();
    let tree = tree(&repo);
    let counts = store.reset();
    for area in Area::ALL {
        assert_eq!((counts.of(area).reads, counts.of(area).lists), (0, 0), "{area:?}");
    }
    assert_eq!(names(&tree, "vms").len(), 22);
    assert_eq!(store.reset().of(Area::Commits).reads, 20);
    back_up_bytes(&repo, "vm0", b"y").unwrap();
    store.reset();
    assert_eq!(names(&tree, "vms/vm0").len(), 5);
    assert_eq!(store.reset().of(Area::Commits).reads, 1);
}

#[test]
fn a_directory_that_is_read_on_shows_what_it_showed_at_its_beginning() {
    let repo = new_repo(Arc::new(MemoryStore::new()));
    for vm in ["b", "c"] {
        back_up_bytes(&repo, vm, b"x").unwrap();
    }
    let tree = tree(&repo);
    let handle = tree.open_directory(walk(&tree, "vms").unwrap().ino).unwrap();
    let list = |from| {
        let entries = tree.read_directory(handle, from).unwrap();
        entries.iter().map(|entry| entry.name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(list(0), [".", "..", "b", "c"]);
    back_up_bytes(&repo, "a", b"x").unwrap();
    assert_eq!(list(3), ["c"]);
    assert_eq!(list(4), [""; 0]);
    assert_eq!(list(0), [".", "..", "a", "b", "c"]);
}

#[test]
fn a_damaged_commit_is_told_once_and_hides_only_its_own_restore_point() {
    let store = Arc::new(DamagingStore::new(MemoryStore::new()));
    let monitor = Arc::new(RecordingMonitor::default());
    let environment = watched(1, Arc::clone(&monitor) as _);
    let repo =
        crate::support::create_repo(Arc::clone(&store) as Arc<dyn Store>, environment).unwrap();
    let bad = back_up_bytes(&repo, "vm", b"1").unwrap();
    let good = back_up_bytes(&repo, "vm", b"2").unwrap();
    store.damage(&ObjectName::commit(bad.id), Damage::FlippedBit { offset_bytes: 90, bit: 3 });
    let tree = tree(&repo);
    for _ in 0..3 {
        let expected = [".", "..", &good.time.to_string(), "latest"];
        assert_eq!(names(&tree, "vms/vm"), expected);
    }
    let problems = monitor.recorded().problems;
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].contains(&bad.id.to_string()), "{problems:?}");
}

#[test]
fn a_running_tree_is_a_session_of_the_repository() {
    let repo = new_repo(Arc::new(MemoryStore::new()));
    let tree = tree(&repo);
    let sessions = repo.store().list(Area::Sessions).unwrap();
    assert_eq!(sessions.len(), 1);
    assert!(repo.store().is_held(&sessions[0]).unwrap());
    back_up_bytes(&repo, "vm", b"x").unwrap();
    assert_eq!(names(&tree, "vms"), [".", "..", "vm"]);
    drop(tree);
    assert_eq!(repo.store().list(Area::Sessions).unwrap(), []);
}

#[test]
fn what_is_no_directory_no_file_or_no_link_is_refused() {
    let repo = new_repo(Arc::new(MemoryStore::new()));
    back_up_bytes(&repo, "vm", b"x").unwrap();
    let tree = tree(&repo);
    let disk = walk(&tree, "vms/vm/latest/disk.raw").unwrap().ino;
    let invalid = |kind: ErrorKind| assert_eq!(kind, ErrorKind::Invalid);
    invalid(tree.lookup(disk, OsStr::new("x")).unwrap_err().kind());
    invalid(tree.open_directory(disk).unwrap_err().kind());
    invalid(tree.open(Ino::ROOT, Access::Read).unwrap_err().kind());
    invalid(tree.read_link(disk).unwrap_err().kind());
    assert_eq!(tree.attr(Ino(4711)).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn a_disk_that_is_open_is_not_pruned_though_its_restore_point_was_dropped() {
    let repo = new_repo(Arc::new(MemoryStore::new()));
    let disk = noise(2 * MIB, 1);
    let point = back_up_bytes(&repo, "vm", &disk).unwrap();
    back_up_bytes(&repo, "vm", b"x").unwrap();
    // No cache, so that every read goes to the packs.
    let tree = tree_with(&repo, 0, 0);
    let path = format!("vms/vm/{}/disk.raw", point.time);
    let (file, again) = (open(&tree, &path), open(&tree, &path));
    forget(&repo, &point);
    let run = || prune(&repo, &prune_options()).unwrap().deleted_packs;
    assert_eq!(run(), 0);
    tree.close(file);
    assert_eq!(run(), 0);
    assert!(read(&tree, again, 0, disk.len()).unwrap() == disk);
    tree.close(again);
    assert!(run() > 0);
}

fn prune_options() -> PruneOptions {
    PruneOptions {
        dry_run: false,
        wait: Duration::ZERO,
        live_percent: 50,
        cancel: Cancel::default(),
    }
}
