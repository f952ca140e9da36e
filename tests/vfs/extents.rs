//! Where disks have data and holes, and reads whose bytes stay where they lie.

use std::sync::Arc;

use backstop::error::ErrorKind;
use backstop::repo::Repository;
use backstop::store::testing::MemoryStore;
use backstop::vfs::{Access, Extent, HandleId, OverlayOptions, ReadPiece, SeekKind, Tree};
use backstop::vfs::{Ino, TreeOptions};

use crate::support::{MIB, back_up_bytes, new_repo, noise};

/// Which chunks of the disk hold data; the last one is short.
const SHAPE: [bool; 9] = [true, true, false, false, false, true, false, true, true];
const TAIL: usize = 5000;

fn disk_bytes() -> Vec<u8> {
    let mut bytes = noise(SHAPE.len() * MIB, 5);
    for (chunk, _) in SHAPE.iter().enumerate().filter(|(_, is_data)| !**is_data) {
        bytes[chunk * MIB..(chunk + 1) * MIB].fill(0);
    }
    bytes.truncate((SHAPE.len() - 1) * MIB + TAIL);
    bytes
}

fn open(repo: &Repository, options: &TreeOptions, access: Access) -> (Tree, HandleId) {
    let tree = Tree::new(repo.clone(), options).unwrap();
    let point = repo.points().unwrap().pop().unwrap();
    let handle = tree.open(tree.disk(point.id, "disk").unwrap(), access).unwrap();
    (tree, handle)
}

fn repo() -> Repository {
    let repo = new_repo(Arc::new(MemoryStore::new()));
    back_up_bytes(&repo, "vm", &disk_bytes()).unwrap();
    repo
}

/// Every stretch from `from` on, as `extent` tells them one after the other.
fn extents(tree: &Tree, handle: HandleId, from: u64, end: u64) -> Vec<Extent> {
    let mut at = from;
    let mut found = Vec::new();
    while let Some(extent) = tree.extent(handle, at, end).unwrap() {
        assert!(extent.end > at && extent.end <= end);
        at = extent.end;
        found.push(extent);
    }
    found
}

fn shape(shape: &[bool], len: u64) -> Vec<Extent> {
    let mut expected: Vec<Extent> = Vec::new();
    for (chunk, is_data) in shape.iter().enumerate() {
        let kind = if *is_data { SeekKind::Data } else { SeekKind::Hole };
        let end = ((chunk + 1) * MIB) as u64;
        match expected.last_mut() {
            Some(last) if last.kind == kind => last.end = end.min(len),
            _ => expected.push(Extent { kind, end: end.min(len) }),
        }
    }
    expected
}

#[test]
fn extents_are_those_of_the_map_and_end_where_they_are_told_to() {
    let (tree, handle) = open(&repo(), &TreeOptions::default(), Access::Read);
    let len = disk_bytes().len() as u64;
    assert_eq!(extents(&tree, handle, 0, len), shape(&SHAPE, len));
    let middle = extents(&tree, handle, MIB as u64 + 7, 3 * MIB as u64 + 9);
    let data = Extent { kind: SeekKind::Data, end: 2 * MIB as u64 };
    let hole = Extent { kind: SeekKind::Hole, end: 3 * MIB as u64 + 9 };
    assert_eq!(middle, [data, hole]);
    assert_eq!(tree.extent(handle, len, u64::MAX).unwrap(), None);
    assert_eq!(tree.extent(handle, 9, 9).unwrap(), None);
}

#[test]
fn extents_of_a_written_disk_are_merged_over_what_was_written_and_zeroed() {
    let dir = tempfile::tempdir().unwrap();
    let overlay = OverlayOptions { dir: dir.path().to_owned(), limit_bytes: None, keep: false };
    let options = TreeOptions { overlay: Some(overlay), ..TreeOptions::default() };
    let (tree, handle) = open(&repo(), &options, Access::Write);
    tree.write(handle, 3 * MIB as u64 + 100, b"bytes in a hole").unwrap();
    tree.zero(handle, 7 * MIB as u64, MIB as u64).unwrap();
    let mut expected = SHAPE;
    expected[3] = true;
    expected[7] = false;
    let len = disk_bytes().len() as u64;
    assert_eq!(extents(&tree, handle, 0, len), shape(&expected, len));
}

#[test]
fn pieces_are_the_bytes_that_a_read_gives_and_holes_are_told_as_such() {
    let (tree, handle) = open(&repo(), &TreeOptions::default(), Access::Read);
    let (from, size) = (MIB + 9, 5 * MIB);
    let (bytes, zeros) = tree
        .read_pieces(handle, from as u64, size, |pieces| {
            let mut bytes = Vec::new();
            let mut zeros = 0;
            for piece in pieces {
                match piece {
                    ReadPiece::Zeros(len) => {
                        zeros += len;
                        bytes.resize(bytes.len() + len, 0);
                    }
                    ReadPiece::Bytes(part) => bytes.extend_from_slice(part),
                }
            }
            (bytes, zeros)
        })
        .unwrap();
    assert!(bytes == disk_bytes()[from..from + size]);
    assert_eq!(zeros, 3 * MIB + 9, "the chunks 2 to 4, and the beginning of 6");
}

#[test]
fn a_disk_is_found_by_its_restore_point_and_its_name() {
    let repo = repo();
    let tree = Tree::new(repo.clone(), &TreeOptions::default()).unwrap();
    let point = repo.points().unwrap().pop().unwrap();
    let ino = tree.disk(point.id, "disk").unwrap();
    assert_eq!(tree.attr(ino).unwrap().size_bytes, disk_bytes().len() as u64);
    assert_eq!(tree.disk(point.id, "other").unwrap_err().kind(), ErrorKind::NotFound);
    let directory = tree.open_directory(Ino::ROOT).unwrap();
    assert_eq!(tree.extent(directory, 0, 1).unwrap_err().kind(), ErrorKind::Invalid);
}
