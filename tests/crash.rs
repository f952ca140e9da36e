//! The crash table of `docs/durability.md`: the power goes at every primitive step of a backup.

#[path = "support/repo.rs"]
mod support;

use std::sync::Arc;

use backstop::error::Result;
use backstop::format::commit::PointRecord;
use backstop::repo::Environment;
use backstop::store::testing::{MemoryStore, Omit};
use backstop::store::{DirStore, Store};

use support::{MIB, back_up_bytes, noise, read_back};

/// A world in which every backup gathers commits, and every listing reads them out of catalogues.
fn environment(seed: u64) -> Environment {
    Environment { few_commits: 0, ..support::environment(seed) }
}

/// What a history of two backups left behind in the mind of its caller.
struct Told {
    /// Backups that reported success.
    committed: Vec<(PointRecord, Vec<u8>)>,
}

fn first_disk() -> Vec<u8> {
    [noise(MIB, 1), vec![0; MIB], noise(700, 2)].concat()
}

fn second_disk() -> Vec<u8> {
    let mut disk = first_disk();
    disk[MIB + 5] = 1;
    disk
}

/// Two backups of one VM, until the power goes.
fn history(store: &MemoryStore) -> Told {
    let mut told = Told { committed: Vec::new() };
    let store: Arc<dyn Store> = Arc::new(store.clone());
    let Ok(repo) = support::open_repo(store, environment(3)) else {
        return told;
    };
    for disk in [first_disk(), second_disk()] {
        if let Ok(point) = back_up_bytes(&repo, "vm", &disk) {
            told.committed.push((point, disk));
        }
    }
    told
}

/// Every point that was told of is there and whole; every point that is there is whole.
fn check(store: &MemoryStore, told: &Told) -> Result<()> {
    let store: Arc<dyn Store> = Arc::new(store.clone());
    let repo = support::open_repo(store, environment(4))?;
    let points = repo.points()?;
    for (point, disk) in &told.committed {
        assert!(points.contains(point), "a restore point that was reported is gone");
        assert!(read_back(&repo, &point.disks[0], false)? == *disk);
    }
    for point in &points {
        let read = read_back(&repo, &point.disks[0], true)?;
        assert!(read == first_disk() || read == second_disk(), "a point that never was");
    }
    let point = back_up_bytes(&repo, "vm", &second_disk())?;
    assert!(read_back(&repo, &point.disks[0], false)? == second_disk());
    Ok(())
}

fn fresh(omit: Omit) -> MemoryStore {
    let store = MemoryStore::omitting(omit);
    support::create_repo(Arc::new(store.clone()), environment(2)).unwrap();
    store
}

fn steps_of_history() -> u64 {
    let store = fresh(Omit::Nothing);
    let before = store.steps();
    assert_eq!(history(&store).committed.len(), 2);
    store.steps() - before
}

#[test]
fn no_restore_point_is_lost_or_torn_whenever_the_power_goes() {
    let steps = steps_of_history();
    assert!(steps > 50, "a history of {steps} steps is not two backups");
    for cut in 1..=steps {
        for seed in 0..4 {
            let store = fresh(Omit::Nothing);
            store.crash_after(cut);
            let told = history(&store);
            let rebooted = store.reboot(cut * 31 + seed);
            if let Err(error) = check(&rebooted, &told) {
                panic!("power cut before step {cut}, seed {seed}: {}", error.chain());
            }
        }
    }
}

#[test]
fn a_second_power_cut_while_the_first_is_mended_loses_nothing_either() {
    let steps = steps_of_history();
    for cut in (1..=steps).step_by(3) {
        let store = fresh(Omit::Nothing);
        store.crash_after(cut);
        let told = history(&store);
        let rebooted = store.reboot(cut);
        rebooted.crash_after(1 + cut % 23);
        let mut more = history(&rebooted);
        more.committed.extend(told.committed);
        let rebooted = rebooted.reboot(cut + 1);
        if let Err(error) = check(&rebooted, &more) {
            panic!("power cuts before step {cut} and {}: {}", 1 + cut % 23, error.chain());
        }
    }
}

#[test]
fn what_a_killed_publisher_left_in_the_temporary_directory_goes_with_the_next_backup() {
    let temp = tempfile::tempdir().unwrap();
    let store = Arc::new(DirStore::create(temp.path()).unwrap());
    let repo = support::create_repo(store, environment(2)).unwrap();
    let left = temp.path().join("tmp/0123456789abcdef0123456789abcdef");
    std::fs::write(&left, noise(1000, 1)).unwrap();
    back_up_bytes(&repo, "vm", &first_disk()).unwrap();
    assert!(!left.exists());
}

/// The machine itself is tested: without a sync it must find losses.
#[test]
fn a_store_that_leaves_out_a_sync_is_caught_losing_restore_points() {
    for omit in [Omit::FileSync, Omit::DirectorySync] {
        let losses = (0..40).filter(|seed| {
            let store = fresh(omit);
            let told = history(&store);
            store.crash();
            let rebooted = store.reboot(*seed);
            let checked = std::panic::catch_unwind(|| check(&rebooted, &told));
            !matches!(checked, Ok(Ok(())))
        });
        assert!(losses.count() > 10, "{omit:?} went unnoticed");
    }
}
