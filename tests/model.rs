//! Histories of backups against the obvious model: a list of byte vectors.

#[path = "support/repo.rs"]
mod support;

use std::sync::Arc;

use backstop::format::commit::PointRecord;
use backstop::ingest::back_up;
use backstop::point::PointSelector;
use backstop::repo::Repository;
use backstop::store::Store;
use backstop::store::testing::MemoryStore;
use proptest::prelude::*;

use support::{MIB, disk_input, environment, new_repo, noise, options, read_back};

/// One change to a disk before its next backup.
#[derive(Debug, Clone)]
enum Change {
    Write { at: prop::sample::Index, len: usize, seed: u64 },
    Zero { at: prop::sample::Index, len: usize },
    Resize { len: usize },
    Copy { from: prop::sample::Index, to: prop::sample::Index, len: usize },
    Reopen,
}

fn change() -> impl Strategy<Value = Change> {
    let len = prop_oneof![1usize..5000, Just(MIB), Just(MIB / 8), 1usize..2 * MIB];
    let size = prop_oneof![
        Just(0),
        Just(512),
        Just(MIB - 512),
        Just(MIB),
        Just(MIB + 512),
        1usize..3 * MIB,
    ];
    prop_oneof![
        4 => (any::<prop::sample::Index>(), len.clone(), any::<u64>())
            .prop_map(|(at, len, seed)| Change::Write { at, len, seed }),
        2 => (any::<prop::sample::Index>(), len.clone())
            .prop_map(|(at, len)| Change::Zero { at, len }),
        1 => size.prop_map(|len| Change::Resize { len }),
        1 => (any::<prop::sample::Index>(), any::<prop::sample::Index>(), len)
            .prop_map(|(from, to, len)| Change::Copy { from, to, len }),
        1 => Just(Change::Reopen),
    ]
}

fn apply(disk: &mut Vec<u8>, change: &Change) {
    let part = |disk: &Vec<u8>, at: &prop::sample::Index, len: usize| {
        let start = at.index(disk.len().max(1)).min(disk.len());
        start..(start + len).min(disk.len())
    };
    match change {
        Change::Write { at, len, seed } => {
            let range = part(disk, at, *len);
            let bytes = noise(range.len(), *seed);
            disk[range].copy_from_slice(&bytes);
        }
        Change::Zero { at, len } => {
            let range = part(disk, at, *len);
            disk[range].fill(0);
        }
        Change::Resize { len } => disk.resize(*len, 0),
        Change::Copy { from, to, len } => {
            let from = part(disk, from, *len);
            let to = part(disk, to, from.len());
            disk.copy_within(from.start..from.start + to.len(), to.start);
        }
        Change::Reopen => {}
    }
}

fn assert_reads_back(repo: &Repository, points: &[(PointRecord, [Vec<u8>; 2])]) {
    assert_eq!(repo.points().unwrap().len(), points.len());
    for (number, (point, disks)) in points.iter().enumerate() {
        for (disk, bytes) in point.disks.iter().zip(disks) {
            let read = read_back(repo, disk, number % 2 == 0).unwrap();
            assert!(read == *bytes, "disk {} of point {number}", disk.name);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn every_restore_point_reads_back_exactly_after_any_history(
        first_len in 1usize..3 * MIB,
        history in prop::collection::vec(prop::collection::vec(change(), 0..4), 1..6),
    ) {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let mut repo = new_repo(Arc::clone(&store));
        let mut disks = [noise(first_len, 7), vec![0; MIB + 512]];
        let mut points = Vec::new();
        for (number, changes) in history.iter().enumerate() {
            for (n, change) in changes.iter().enumerate() {
                apply(&mut disks[n % 2], change);
                if matches!(change, Change::Reopen) {
                    let seed = 100 + number as u64;
                    repo = support::open_repo(Arc::clone(&store), environment(seed)).unwrap();
                }
            }
            let inputs = vec![disk_input("root", &disks[0]), disk_input("data", &disks[1])];
            let point = back_up(&repo, "vm", inputs, &options()).unwrap();
            let stats = point.stats;
            let sum = stats.zero_bytes + stats.duplicate_bytes + stats.new_plain_bytes;
            prop_assert_eq!(sum, (disks[0].len() + disks[1].len()) as u64);
            points.push((point, disks.clone()));
        }
        assert_reads_back(&repo, &points);
        let latest = repo.find_point(&"vm@latest".parse::<PointSelector>().unwrap()).unwrap();
        prop_assert_eq!(&latest, &points.last().unwrap().0);
        prop_assert_eq!(latest.sequence, points.len() as u64);
    }
}
