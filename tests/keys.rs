//! Key slots: whatever happens while they are changed, and whatever becomes of them, somebody who
//! had a secret reads the repository.

#[path = "support/repo.rs"]
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use backstop::base::id::SlotId;
use backstop::base::secret::{Secret, SecretKey};
use backstop::crypto::{Keyring, SlotSecret};
use backstop::error::{ErrorKind, Result};
use backstop::format::key_slot::KeySlot;
use backstop::format::layout::{Area, ObjectName};
use backstop::repair::{RepairOptions, repair};
use backstop::repo::{
    KeyChange, KeySlots, NewRepository, Repository, Unlocked, read_config, unlock,
};
use backstop::scrub::{ScrubLevel, ScrubOptions, scrub};
use backstop::store::Store;
use backstop::store::testing::{MemoryStore, Omit, SeededChance};

use support::{back_up_bytes, environment, noise, read_back};

/// A secret that costs nothing to try.
fn key(byte: u8) -> SlotSecret {
    SlotSecret::KeyFile(SecretKey::new([byte; 32]))
}

/// An encrypted repository that key 1 opens.
fn new_store() -> MemoryStore {
    let store = MemoryStore::new();
    let (keyring, secret) = (Keyring::generate(&SeededChance::new(5)), key(1));
    let new = NewRepository { has_parity: false, keyring: Some(&keyring), secret: Some(&secret) };
    Repository::create_as(Arc::new(store.clone()), environment(2), &new).unwrap();
    store
}

fn open_with(store: &MemoryStore, secrets: Vec<SlotSecret>) -> Result<(Repository, Unlocked)> {
    // No two runs draw the same names.
    static RUNS: AtomicU64 = AtomicU64::new(100);
    let environment = environment(RUNS.fetch_add(1, Ordering::Relaxed));
    let store = Arc::new(store.clone());
    let config = read_config(&*store, &environment)?;
    let unlocked = unlock(&*store, &environment, &config, secrets)?;
    let repo = Repository::unlock(store, environment, &unlocked.keyring)?;
    Ok((repo, unlocked))
}

fn opens(store: &MemoryStore, byte: u8) -> bool {
    open_with(store, vec![key(byte)]).is_ok()
}

fn error_of<T>(result: Result<T>) -> ErrorKind {
    match result {
        Ok(_) => panic!("it should fail"),
        Err(error) => error.kind(),
    }
}

fn slot_ids(store: &MemoryStore, repo: &Repository) -> Vec<SlotId> {
    KeySlots::read(store, repo.id()).unwrap().ids.into_iter().collect()
}

/// A change of keys, begun with key 1; key 2 opens another slot, if it was added before.
type Change = fn(&KeyChange<'_>, Option<SlotId>) -> Result<()>;

const ADD: Change = |change, _| change.add(&key(3), "third").map(drop);
const REMOVE: Change = |change, second| change.remove(second.unwrap());
const REPLACE: Change = |change, _| change.replace(&key(3)).map(drop);
const ROTATE: Change = |change, _| change.rotate().map(drop);

/// A repository with a restore point that keys 1 and 2 open.
fn prepared() -> (MemoryStore, SlotId) {
    let store = new_store();
    let (repo, unlocked) = open_with(&store, vec![key(1)]).unwrap();
    back_up_bytes(&repo, "vm", &noise(5000, 1)).unwrap();
    let second = KeyChange::begin(&repo, &unlocked).unwrap().add(&key(2), "second").unwrap();
    (store, second.slot)
}

fn apply(store: &MemoryStore, second: SlotId, change: Change) -> Result<()> {
    let (repo, unlocked) = open_with(store, vec![key(1)])?;
    change(&KeyChange::begin(&repo, &unlocked)?, Some(second))
}

/// Cuts the power at every step of a change. Which keys open what is there after each: those of
/// before, those of after the change, or both; and each that opens reads the restore point.
fn crash(omit: Omit, change: Change, before: &[u8], after: &[u8]) -> Option<String> {
    for step in 1.. {
        let (store, second) = prepared();
        store.omit(omit);
        store.crash_after(step);
        let done = apply(&store, second, change).is_ok();
        let is_over = done && !store.is_crashed();
        for seed in 0..16 {
            let found = store.reboot(seed);
            let all = |keys: &[u8]| keys.iter().all(|byte| opens(&found, *byte));
            if !all(after) && (done || !all(before)) {
                return Some(format!("step {step}, seed {seed}, done: {done}"));
            }
            let (repo, _) = open_with(&found, vec![key(1), key(2), key(3)]).unwrap();
            let points = repo.points().unwrap();
            let read = read_back(&repo, &points[0].disks[0], false).unwrap();
            assert!(read == noise(5000, 1));
        }
        if is_over {
            return None;
        }
    }
    unreachable!("every change ends");
}

#[test]
fn whenever_the_power_goes_the_keys_of_before_or_after_a_change_open_the_repository() {
    // A rotation removes other slots one by one.
    for (change, before, after) in [
        (ADD, &[1, 2][..], &[1, 2, 3][..]),
        (REMOVE, &[1, 2], &[1]),
        (REPLACE, &[1, 2], &[2, 3]),
        (ROTATE, &[1], &[1]),
    ] {
        assert_eq!(crash(Omit::Nothing, change, before, after), None);
    }
}

#[test]
fn a_store_that_does_not_sync_is_noticed() {
    assert!(crash(Omit::DirectorySync, REPLACE, &[1, 2], &[2, 3]).is_some());
}

#[test]
fn what_was_removed_opens_nothing_and_the_others_do() {
    for (change, opened) in
        [(ADD, [true, true, true]), (REMOVE, [true, false, false]), (REPLACE, [false, true, true])]
    {
        let (store, second) = prepared();
        apply(&store, second, change).unwrap();
        assert_eq!([1, 2, 3].map(|byte| opens(&store, byte)), opened);
    }
}

#[test]
fn the_slot_that_opened_the_repository_cannot_be_removed() {
    let (store, second) = prepared();
    let (repo, unlocked) = open_with(&store, vec![key(1)]).unwrap();
    let change = KeyChange::begin(&repo, &unlocked).unwrap();
    assert_eq!(error_of(change.remove(unlocked.slot.slot)), ErrorKind::Denied);
    change.remove(second).unwrap();
    drop(change);
    let change = KeyChange::begin(&repo, &unlocked).unwrap();
    let error = change.remove(unlocked.slot.slot).unwrap_err();
    assert!(error.to_string().contains("the last key slot"), "{error}");
    assert!(opens(&store, 1));
}

#[test]
fn a_rotation_leaves_one_slot_and_its_keys_read_what_is_old_and_what_is_new() {
    let (store, second) = prepared();
    let (old_repo, _) = open_with(&store, vec![key(2)]).unwrap();
    apply(&store, second, ROTATE).unwrap();
    assert!(!opens(&store, 2));
    let (repo, unlocked) = open_with(&store, vec![key(1)]).unwrap();
    assert_eq!(unlocked.slot.epoch, 2);
    back_up_bytes(&repo, "vm", &noise(5000, 2)).unwrap();
    let points = repo.points().unwrap();
    for (point, seed) in points.iter().zip([1, 2]) {
        assert!(read_back(&repo, &point.disks[0], true).unwrap() == noise(5000, seed));
    }
    // Whoever kept the old keys reads nothing that is new.
    let seen = old_repo.points().unwrap();
    assert_eq!(seen.len(), 1, "{seen:?}");
}

#[test]
fn a_secret_of_an_interrupted_rotation_opens_the_newest_keys() {
    let (store, _) = prepared();
    let (repo, unlocked) = open_with(&store, vec![key(1)]).unwrap();
    let kept = [0, 1].map(|copy| {
        let name = ObjectName::key_slot(unlocked.slot.slot, copy);
        (name.clone(), store.read(&name, 1 << 20).unwrap())
    });
    KeyChange::begin(&repo, &unlocked).unwrap().rotate().unwrap();
    for (name, bytes) in &kept {
        let _created = store.create(name, bytes).unwrap();
    }
    assert_eq!(open_with(&store, vec![key(1)]).unwrap().1.slot.epoch, 2);
    let begun = KeyChange::begin(&repo, &unlocked);
    assert_eq!(error_of(begun), ErrorKind::Denied, "old keys are wrapped for nobody");
}

#[test]
fn of_two_who_change_keys_at_once_one_waits() {
    let (store, _) = prepared();
    let (repo, unlocked) = open_with(&store, vec![key(1)]).unwrap();
    let first = KeyChange::begin(&repo, &unlocked).unwrap();
    assert_eq!(error_of(KeyChange::begin(&repo, &unlocked)), ErrorKind::Busy);
    drop(first);
    KeyChange::begin(&repo, &unlocked).unwrap();
}

#[test]
fn one_damaged_copy_hurts_nobody_and_a_repair_writes_it_again_without_its_secret() {
    let (store, second) = prepared();
    let name = ObjectName::key_slot(second, 0);
    let good = store.read(&name, 1 << 20).unwrap();
    let mut bad = good.clone();
    bad[100] ^= 1;
    store.replace(&name, &bad).unwrap();
    let other = ObjectName::key_slot(slot_of(&store, 1), 1);
    store.delete(&other).unwrap();
    assert!(opens(&store, 1) && opens(&store, 2));
    let (repo, _) = open_with(&store, vec![key(1)]).unwrap();
    let cancel = backstop::base::cancel::Cancel::default();
    let options = ScrubOptions { level: ScrubLevel::List, threads: 1, cancel: cancel.clone() };
    assert_eq!(scrub(&repo, &options).unwrap().findings.len(), 2);
    let options = RepairOptions { apply: true, threads: 1, cancel: cancel.clone() };
    assert!(repair(&repo, &options).unwrap().is_whole());
    assert_eq!(store.read(&name, 1 << 20).unwrap(), good);
    let options = ScrubOptions { level: ScrubLevel::List, threads: 1, cancel };
    assert!(scrub(&repo, &options).unwrap().is_clean());
}

fn slot_of(store: &MemoryStore, byte: u8) -> SlotId {
    open_with(store, vec![key(byte)]).unwrap().1.slot.slot
}

#[test]
fn a_wrong_secret_is_another_error_than_a_damaged_slot() {
    let (store, second) = prepared();
    assert_eq!(error_of(open_with(&store, vec![key(7)])), ErrorKind::Denied);
    let password = || vec![SlotSecret::Password(Secret::from("s3cret"))];
    assert_eq!(error_of(open_with(&store, password())), ErrorKind::Denied);
    for copy in [0, 1] {
        store.replace(&ObjectName::key_slot(second, copy), b"torn").unwrap();
    }
    assert_eq!(error_of(open_with(&store, vec![key(2)])), ErrorKind::Corrupt);
    assert!(opens(&store, 1));
}

#[test]
fn a_slot_of_another_repository_or_under_another_name_is_refused() {
    let (store, second) = prepared();
    let (repo, _) = open_with(&store, vec![key(1)]).unwrap();
    let bytes = store.read(&ObjectName::key_slot(second, 0), 1 << 20).unwrap();
    let mut foreign = KeySlot::decode(&bytes).unwrap();
    foreign.header.slot = SlotId::from_bytes([9; 16]);
    foreign.header.repo = backstop::base::id::RepoId::from_bytes([9; 16]);
    let elsewhere = SlotId::from_bytes([8; 16]);
    for (id, bytes) in [(foreign.header.slot, foreign.encode()), (elsewhere, bytes)] {
        let _created = store.create(&ObjectName::key_slot(id, 0), &bytes).unwrap();
    }
    let found = KeySlots::read(&store, repo.id()).unwrap();
    assert_eq!((found.slots.len(), found.ids.len()), (2, 4));
    assert_eq!(found.problems.len(), 4, "{:?}", found.problems);
}

#[test]
fn more_slots_than_any_release_makes_are_not_tried() {
    let (store, second) = prepared();
    let bytes = store.read(&ObjectName::key_slot(second, 0), 1 << 20).unwrap();
    for number in 0..70 {
        let id = SlotId::from_bytes([number; 16]);
        let _created = store.create(&ObjectName::key_slot(id, 0), &bytes).unwrap();
    }
    assert_eq!(error_of(open_with(&store, vec![key(1)])), ErrorKind::Corrupt);
}

#[test]
fn a_making_that_is_interrupted_at_any_step_can_be_done_again_and_leaves_no_foreign_slot() {
    let make = |store: &MemoryStore, seed| {
        let (keyring, secret) = (Keyring::generate(&SeededChance::new(seed)), key(1));
        let new =
            NewRepository { has_parity: false, keyring: Some(&keyring), secret: Some(&secret) };
        Repository::create_as(Arc::new(store.clone()), environment(seed), &new).map(drop)
    };
    for step in 1.. {
        let store = MemoryStore::new();
        store.crash_after(step);
        let done = make(&store, 3).is_ok() && !store.is_crashed();
        let store = store.reboot(step);
        match make(&store, 4) {
            Ok(()) => {}
            Err(error) => assert_eq!(error.kind(), ErrorKind::AlreadyExists, "step {step}"),
        }
        let (repo, _) = open_with(&store, vec![key(1)]).unwrap();
        assert_eq!(slot_ids(&store, &repo).len(), 1, "step {step}");
        assert_eq!(store.list(Area::Keys).unwrap().len(), 2, "step {step}");
        if done {
            return;
        }
    }
}
