//! What can be done with an encrypted repository without its keys.

#[path = "support/repo.rs"]
mod repo;

use std::sync::Arc;

use backstop::base::cancel::Cancel;
use backstop::base::secret::SecretKey;
use backstop::crypto::{Keyring, SlotSecret};
use backstop::error::ErrorKind;
use backstop::format::layout::{Area, ObjectName};
use backstop::ingest::back_up;
use backstop::monitor::VoidMonitor;
use backstop::prune::forget::{forget, hold};
use backstop::repo::{Environment, NewRepository, Repository, read_config};
use backstop::scrub::{Recording, ScrubLevel, ScrubOptions, ScrubReport, scrub_without_keys};
use backstop::store::Store;
use backstop::store::testing::{Damage, DamagingStore, MemoryStore, SeededChance};

use crate::repo::{disk_input, environment, noise, options};

type Damaging = DamagingStore<MemoryStore>;

/// An encrypted repository with two restore points, of which one is held and one was dropped.
fn encrypted() -> Damaging {
    let store = DamagingStore::new(MemoryStore::new());
    let keyring = Keyring::generate(&SeededChance::new(3));
    let secret = SlotSecret::KeyFile(SecretKey::new([7; 32]));
    let new = NewRepository { has_parity: true, keyring: Some(&keyring), secret: Some(&secret) };
    let repo = Repository::create_as(Arc::new(store.clone()), environment(1), &new).unwrap();
    let points = [1, 2].map(|seed| {
        let disk = disk_input("disk", &noise(30_000, seed));
        back_up(&repo, "vm", vec![disk], &options()).unwrap()
    });
    let _ = hold(&repo, points[1].id, "a note").unwrap();
    forget(&repo, points[0].id).unwrap();
    store
}

fn check(store: &Damaging) -> ScrubReport {
    let config = read_config(store, &Environment::default()).unwrap();
    let options = ScrubOptions { level: ScrubLevel::Hash, threads: 2, cancel: Cancel::default() };
    scrub_without_keys(store, &config, &VoidMonitor, &options).unwrap()
}

fn names(store: &Damaging) -> Vec<ObjectName> {
    Area::ALL.iter().flat_map(|area| store.list(*area).unwrap()).collect()
}

#[test]
fn without_keys_a_whole_repository_is_clean_and_nothing_is_written() {
    let store = encrypted();
    let before = names(&store);
    let report = check(&store);
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(report.recording, Recording::WithoutKeys);
    assert!(report.counts.objects >= 7 && report.counts.packs >= 4, "{report:?}");
    assert_eq!(names(&store), before);
    let refused = Repository::open(Arc::new(store), environment(2)).map(drop).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Denied);
}

#[test]
fn without_keys_every_byte_that_changes_is_found() {
    let store = encrypted();
    let mut flips = 0;
    // The files of locks hold text for people, which nobody relies on.
    for name in names(&store).into_iter().filter(|name| name.area() != Area::Locks) {
        let len = store.len_bytes(&name).unwrap();
        // Long objects are under one hash, whatever byte of them it is.
        let step = if len > 8000 { len as usize / 97 } else { 1 };
        for offset_bytes in (0..len).step_by(step) {
            let bit = (offset_bytes % 8) as u8;
            store.damage(&name, Damage::FlippedBit { offset_bytes, bit });
            assert!(!check(&store).is_clean(), "bit {bit} of byte {offset_bytes} of {name}");
            store.heal();
            flips += 1;
        }
        store.damage(&name, Damage::Truncated(len / 2));
        assert!(!check(&store).is_clean(), "{name} was cut");
        store.heal();
    }
    assert!(flips > 3000, "{flips} are few");
    assert!(check(&store).is_clean());
}
