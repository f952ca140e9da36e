//! Disks that are written, over private overlays.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use backstop::error::ErrorKind;
use backstop::repo::Repository;
use backstop::store::testing::MemoryStore;
use backstop::vfs::{Access, HandleId, OverlayOptions, Tree, TreeOptions};
use proptest::prelude::*;
use tempfile::TempDir;

use crate::support::{MIB, back_up_bytes, new_repo, noise};
use crate::{read, walk};

const DISK: &str = "vms/vm/latest/disk.raw";
const BLOCK: usize = 4096;

/// A disk of data, a hole and a tail that is no whole block.
fn disk_bytes() -> Vec<u8> {
    [noise(MIB, 1), vec![0; MIB], noise(MIB / 2 + 5000, 2)].concat()
}

fn repo() -> Repository {
    let repo = new_repo(Arc::new(MemoryStore::new()));
    back_up_bytes(&repo, "vm", &disk_bytes()).unwrap();
    repo
}

fn options(dir: &Path, limit_bytes: Option<u64>, keep: bool) -> TreeOptions {
    TreeOptions {
        read_ahead_threads: 0,
        look_interval: Duration::ZERO,
        overlay: Some(OverlayOptions { dir: dir.to_owned(), limit_bytes, keep }),
        ..TreeOptions::default()
    }
}

fn writable(repo: &Repository, dir: &Path, limit_bytes: Option<u64>, keep: bool) -> Tree {
    Tree::new(repo.clone(), &options(dir, limit_bytes, keep)).unwrap()
}

fn open(tree: &Tree, access: Access) -> HandleId {
    tree.open(walk(tree, DISK).unwrap().ino, access).unwrap()
}

#[track_caller]
fn assert_reads(tree: &Tree, model: &[u8]) {
    let handle = open(tree, Access::Read);
    let found = read(tree, handle, 0, model.len() + 9).unwrap();
    let differs = found.iter().zip(model).position(|(found, model)| found != model);
    assert_eq!((found.len(), differs), (model.len(), None));
    tree.close(handle);
}

/// What is done to a disk.
#[derive(Debug, Clone)]
enum Change {
    Write {
        at: usize,
        len: usize,
        byte: u8,
    },
    Zero {
        at: usize,
        len: usize,
    },
    Flush,
    /// The view ends in order, and another one begins.
    Reopen,
    /// The power goes: what was not flushed is as it was, or not.
    Crash,
}

fn change() -> impl Strategy<Value = Change> {
    let size = disk_bytes().len();
    let len = prop_oneof![1usize..200, 1usize..3 * BLOCK, 1usize..MIB + BLOCK, Just(BLOCK)];
    let place = (0..size, len, any::<bool>());
    let range = place.prop_map(move |(at, len, is_aligned)| {
        let at = if is_aligned { at / BLOCK * BLOCK } else { at };
        (at, len.min(size - at))
    });
    prop_oneof![
        5 => (range.clone(), 1u8..).prop_map(|((at, len), byte)| Change::Write { at, len, byte }),
        2 => range.prop_map(|(at, len)| Change::Zero { at, len }),
        1 => Just(Change::Flush),
        1 => Just(Change::Reopen),
        1 => Just(Change::Crash),
    ]
}

/// Bytes that may be one thing or the other after a crash.
struct Model {
    bytes: Vec<u8>,
    flushed: Vec<u8>,
    /// Blocks that were changed since.
    changed: Vec<bool>,
}

impl Model {
    fn set(&mut self, at: usize, len: usize, byte: u8) {
        self.bytes[at..at + len].fill(byte);
        self.changed[at / BLOCK..(at + len).div_ceil(BLOCK)].fill(true);
    }

    fn flush(&mut self) {
        self.flushed.clone_from(&self.bytes);
        self.changed.fill(false);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn a_written_disk_reads_as_the_model_through_reopening_and_crashes(
        changes in prop::collection::vec(change(), 1..24),
    ) {
        let repo = repo();
        let place = TempDir::new().unwrap();
        // What is durable: a copy of the directory as of the last flush of the map.
        let (dir, durable) = (place.path().join("dir"), place.path().join("durable"));
        fs::create_dir(&dir).unwrap();
        fs::create_dir(&durable).unwrap();
        let bytes = disk_bytes();
        let blocks = bytes.len().div_ceil(BLOCK);
        let mut model =
            Model { flushed: bytes.clone(), bytes, changed: vec![false; blocks] };
        let mut tree = writable(&repo, &dir, None, true);
        let mut handle = open(&tree, Access::Write);
        for change in changes {
            match change {
                Change::Write { at, len, byte } => {
                    tree.write(handle, at as u64, &vec![byte; len]).unwrap();
                    model.set(at, len, byte);
                }
                Change::Zero { at, len } => {
                    tree.zero(handle, at as u64, len as u64).unwrap();
                    model.set(at, len, 0);
                }
                Change::Flush => {
                    tree.flush(handle).unwrap();
                    model.flush();
                    save_maps(&dir, &durable);
                }
                Change::Reopen => {
                    tree.flush_all().unwrap();
                    model.flush();
                    save_maps(&dir, &durable);
                    drop(tree);
                    tree = writable(&repo, &dir, None, true);
                    handle = open(&tree, Access::Write);
                }
                Change::Crash => {
                    drop(tree);
                    // The maps as they were made durable, over bytes as they are.
                    restore_maps(&dir, &durable);
                    tree = writable(&repo, &dir, None, true);
                    handle = open(&tree, Access::Write);
                    let found = read(&tree, handle, 0, model.bytes.len()).unwrap();
                    for block in (0..blocks).filter(|block| !model.changed[*block]) {
                        let range = block * BLOCK..((block + 1) * BLOCK).min(found.len());
                        prop_assert!(found[range.clone()] == model.flushed[range], "{block}");
                    }
                    model.bytes = found;
                    model.flush();
                }
            }
            assert_reads(&tree, &model.bytes);
        }
    }
}

fn maps(dir: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|end| end == "map")).collect()
}

fn save_maps(dir: &Path, durable: &Path) {
    for map in maps(dir) {
        fs::copy(&map, durable.join(map.file_name().unwrap())).unwrap();
    }
}

fn restore_maps(dir: &Path, durable: &Path) {
    for map in maps(dir) {
        let saved = durable.join(map.file_name().unwrap());
        match saved.exists() {
            true => drop(fs::copy(saved, &map).unwrap()),
            // Its header is durable before anything else.
            false => fs::File::options().write(true).open(&map).unwrap().set_len(4096).unwrap(),
        }
    }
}

#[test]
fn bytes_of_a_kept_overlay_that_are_gone_are_an_error_and_never_zeros() {
    let (repo, place) = (repo(), TempDir::new().unwrap());
    let tree = writable(&repo, place.path(), None, true);
    let handle = open(&tree, Access::Write);
    tree.write(handle, 0, &[7; BLOCK]).unwrap();
    tree.flush_all().unwrap();
    drop(tree);
    let data = maps(place.path()).remove(0).with_extension("data");
    fs::File::options().write(true).open(&data).unwrap().set_len(100).unwrap();
    for is_missing in [false, true] {
        if is_missing {
            fs::remove_file(&data).unwrap();
        }
        let tree = writable(&repo, place.path(), None, true);
        let error = tree.open(walk(&tree, DISK).unwrap().ino, Access::Write).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    }
}

#[test]
fn a_view_that_is_thrown_away_leaves_nothing_and_the_restore_point_is_as_it_was() {
    let (repo, place) = (repo(), TempDir::new().unwrap());
    let tree = writable(&repo, place.path(), None, false);
    let handle = open(&tree, Access::Write);
    tree.write(handle, 100, b"changed").unwrap();
    let mut model = disk_bytes();
    model[100..107].copy_from_slice(b"changed");
    assert_reads(&tree, &model);
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0, "files without a name");
    drop(tree);
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
    assert_reads(&writable(&repo, place.path(), None, false), &disk_bytes());
}

#[test]
fn what_goes_over_the_limit_fails_alone_and_discarding_gives_room_back() {
    let (repo, place) = (repo(), TempDir::new().unwrap());
    let tree = writable(&repo, place.path(), Some(8 * BLOCK as u64), false);
    let handle = open(&tree, Access::Write);
    tree.write(handle, 0, &[7; 8 * BLOCK]).unwrap();
    let error = tree.write(handle, MIB as u64, &[8; BLOCK]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Full);
    let mut model = disk_bytes();
    model[..8 * BLOCK].fill(7);
    assert_reads(&tree, &model);
    // What lies in the overlay already takes no more.
    tree.write(handle, 10, &[9; 20]).unwrap();
    tree.zero(handle, 0, 4 * BLOCK as u64).unwrap();
    tree.write(handle, MIB as u64, &[8; 4 * BLOCK]).unwrap();
    model[..4 * BLOCK].fill(0);
    model[MIB..MIB + 4 * BLOCK].fill(8);
    assert_reads(&tree, &model);
}

#[test]
fn a_disk_keeps_its_length_and_only_disks_are_written_and_only_by_who_opened_them_for_it() {
    let (repo, place) = (repo(), TempDir::new().unwrap());
    let tree = writable(&repo, place.path(), None, false);
    let (writer, reader) = (open(&tree, Access::Write), open(&tree, Access::Read));
    let end = disk_bytes().len() as u64;
    assert_eq!(tree.write(writer, end - 1, b"xy").unwrap_err().kind(), ErrorKind::Full);
    assert_eq!(tree.write(writer, u64::MAX, b"x").unwrap_err().kind(), ErrorKind::Full);
    assert_eq!(tree.write(reader, 0, b"x").unwrap_err().kind(), ErrorKind::Denied);
    tree.zero(writer, end - 10, 1 << 40).unwrap();
    let json = walk(&tree, "vms/vm/latest/point.json").unwrap();
    assert_eq!(tree.open(json.ino, Access::Write).unwrap_err().kind(), ErrorKind::Denied);
    assert_eq!((walk(&tree, DISK).unwrap().mode, json.mode), (0o600, 0o400));
    let plain = crate::tree(&repo);
    let disk = walk(&plain, DISK).unwrap();
    assert_eq!(plain.open(disk.ino, Access::Write).unwrap_err().kind(), ErrorKind::Denied);
}

#[test]
fn a_kept_overlay_belongs_to_one_view_at_a_time_and_to_its_own_disk() {
    let (first, place) = (repo(), TempDir::new().unwrap());
    let tree = writable(&first, place.path(), None, true);
    let handle = open(&tree, Access::Write);
    tree.write(handle, 0, b"kept").unwrap();
    let busy = Tree::new(first.clone(), &options(place.path(), None, true)).err().unwrap();
    assert_eq!(busy.kind(), ErrorKind::Busy);
    tree.flush_all().unwrap();
    drop(tree);
    let map = maps(place.path()).remove(0);
    let whole = fs::read(&map).unwrap();
    for place_of_damage in [0, 20, 4095] {
        let mut damaged = whole.clone();
        damaged[place_of_damage] ^= 1;
        fs::write(&map, damaged).unwrap();
        let tree = writable(&first, place.path(), None, true);
        let error = tree.open(walk(&tree, DISK).unwrap().ino, Access::Read).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{place_of_damage}");
    }
    let mut damaged = whole.clone();
    damaged[4096] = 0xff;
    fs::write(&map, damaged).unwrap();
    let tree = writable(&first, place.path(), None, true);
    let error = tree.open(walk(&tree, DISK).unwrap().ino, Access::Read).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    drop(tree);
    fs::write(&map, whole).unwrap();
    let tree = writable(&first, place.path(), None, true);
    let mut model = disk_bytes();
    model[..4].copy_from_slice(b"kept");
    assert_reads(&tree, &model);
}
