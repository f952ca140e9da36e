//! A storage that lies: whatever it does to an encrypted repository without the keys is refused.
//!
//! What it can do all the same, deleting and showing an old state, is in `docs/threat-model.md`.

#[path = "adversary/canaries.rs"]
mod canaries;
#[path = "adversary/pieces.rs"]
mod pieces;
#[path = "support/repo.rs"]
mod repo;

use std::sync::Arc;

use backstop::base::cancel::Cancel;
use backstop::base::id::SessionId;
use backstop::base::limits::SMALL_OBJECT_BYTES_MAX;
use backstop::crypto::Keyring;
use backstop::error::ErrorKind;
use backstop::format::commit::PointRecord;
use backstop::format::config::{CONFIG_COPIES, Config};
use backstop::format::epoch::KeyEpoch;
use backstop::format::layout::{Area, ObjectName};
use backstop::format::lists::{Forgotten, Hold};
use backstop::format::sealed::SealedObject;
use backstop::ingest::back_up;
use backstop::prune::forget::{forget, hold};
use backstop::repo::{NewRepository, Repository};
use backstop::scrub::{ScrubLevel, ScrubOptions, scrub};
use backstop::store::testing::{MemoryStore, SeededChance};
use backstop::store::{Published, Store};

use crate::repo::{back_up_bytes, disk_input, environment, noise, options};

/// An encrypted repository, and the storage under it.
struct Victim {
    store: MemoryStore,
    repo: Repository,
    keyring: Keyring,
}

impl Victim {
    /// One with keys from `key_seed`: two points of `web`, the first held and the second dropped,
    /// and one of `db`.
    fn new(key_seed: u64, seed: u64) -> (Self, Vec<PointRecord>) {
        let store = MemoryStore::new();
        let keyring = Keyring::generate(&SeededChance::new(key_seed));
        let new = NewRepository { has_parity: false, keyring: Some(&keyring), secret: None };
        let shared = Arc::new(store.clone());
        let repo = Repository::create_as(shared, environment(seed), &new).unwrap();
        let back_up = |vm: &str, seed| {
            let disk = disk_input("disk", &noise(300_000, seed));
            back_up(&repo, vm, vec![disk], &options()).unwrap()
        };
        let points = vec![back_up("web", 1), back_up("web", 2), back_up("db", 3)];
        let _ = hold(&repo, points[0].id, "kept").unwrap();
        forget(&repo, points[1].id).unwrap();
        (Self { store, repo, keyring }, points)
    }

    /// What the storage has under a name.
    fn stored(&self, name: &ObjectName) -> Vec<u8> {
        self.store.read(name, 64 << 20).unwrap()
    }

    /// Puts other bytes under a name.
    fn put(&self, name: &ObjectName, bytes: &[u8]) {
        self.store.delete(name).unwrap();
        assert_eq!(self.store.create(name, bytes).unwrap(), Published::Created);
    }

    fn names(&self, areas: &[Area]) -> Vec<ObjectName> {
        areas.iter().flat_map(|area| self.store.list(*area).unwrap()).collect()
    }

    /// Whoever has the keys is refused when reading a small object.
    fn is_refused(&self, name: &ObjectName) -> bool {
        let read = self.repo.store().read(name, SMALL_OBJECT_BYTES_MAX);
        read.is_err_and(|error| error.kind() == ErrorKind::Corrupt)
    }

    fn unlocked(&self) -> backstop::error::Result<Repository> {
        Repository::unlock(Arc::new(self.store.clone()), environment(9), &self.keyring)
    }
}

const SMALL: [Area; 4] = [Area::Commits, Area::Forgotten, Area::Holds, Area::Sessions];

#[test]
fn no_small_object_opens_under_the_name_of_another() {
    let (victim, points) = Victim::new(1, 1);
    let names = victim.names(&SMALL);
    assert!(names.len() >= 5, "{names:?}");
    let id = points[0].id;
    let free = [ObjectName::session(id), ObjectName::forgotten(id), ObjectName::damaged(id)];
    let mut tried = 0;
    for from in &names {
        let bytes = victim.stored(from);
        for to in names.iter().chain(&free).filter(|to| *to != from) {
            let before = victim.store.read(to, 1 << 20).ok();
            victim.put(to, &bytes);
            assert!(victim.is_refused(to), "{from} under the name {to}");
            match before {
                Some(before) => victim.put(to, &before),
                None => victim.store.delete(to).unwrap(),
            }
            tried += 1;
        }
        assert!(!victim.is_refused(from), "the right bytes under the right name");
    }
    assert!(tried > 20);
}

#[test]
fn no_object_of_another_repository_opens_with_the_same_keys_or_with_others() {
    let (victim, _) = Victim::new(1, 1);
    for other in [Victim::new(1, 2).0, Victim::new(2, 3).0] {
        assert_ne!(victim.repo.id(), other.repo.id());
        for name in other.names(&SMALL) {
            victim.put(&name, &other.stored(&name));
            assert!(victim.is_refused(&name), "{name}");
            victim.store.delete(&name).unwrap();
        }
    }
}

#[test]
fn a_plain_object_is_not_taken_for_a_sealed_one() {
    let (victim, points) = Victim::new(1, 1);
    let (id, time) = (SessionId::from_bytes([7; 16]), points[0].time);
    for (name, bytes) in [
        (ObjectName::hold(id), Hold { point: id, time, note: String::new() }.encode()),
        (ObjectName::forgotten(points[0].id), Forgotten { point: points[0].id, time }.encode()),
    ] {
        victim.put(&name, &bytes);
        assert!(victim.is_refused(&name), "{name}");
    }
}

#[test]
fn the_frame_of_a_sealed_object_cannot_be_changed_though_its_checksum_is_made_right() {
    let (victim, points) = Victim::new(1, 1);
    let name = ObjectName::commit(points[0].id);
    let bytes = victim.stored(&name);
    let sealed = SealedObject::decode(&bytes).unwrap();
    let mut salt = sealed.salt;
    salt[3] ^= 1;
    let mut text = sealed.text.to_vec();
    text[5] ^= 1;
    for other in [
        SealedObject { salt, ..sealed },
        SealedObject { text: &text, ..sealed },
        SealedObject { text: &sealed.text[..sealed.text.len() - 1], ..sealed },
    ] {
        victim.put(&name, &other.encode());
        assert!(victim.is_refused(&name), "{other:?}");
    }
    let newer = SealedObject { epoch: KeyEpoch::nth(1), ..sealed };
    victim.put(&name, &newer.encode());
    let error = victim.repo.store().read(&name, SMALL_OBJECT_BYTES_MAX).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "an epoch that nobody has: {error}");
}

#[test]
fn a_plain_configuration_in_the_place_of_an_encrypted_one_is_refused_to_who_has_keys() {
    let (victim, _) = Victim::new(1, 1);
    assert!(victim.unlocked().is_ok());
    let config = victim.repo.config();
    let plain = Config { required_features: Vec::new(), ..config.clone() };
    for copy in 0..CONFIG_COPIES {
        victim.put(&ObjectName::config(copy), &plain.encode());
    }
    let error = victim.unlocked().map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
}

#[test]
fn a_configuration_with_the_id_of_another_repository_opens_nothing() {
    let (victim, _) = Victim::new(1, 1);
    let (other, _) = Victim::new(1, 2);
    for copy in 0..CONFIG_COPIES {
        victim.put(&ObjectName::config(copy), &other.stored(&ObjectName::config(copy)));
    }
    let opened = victim.unlocked().unwrap();
    assert_eq!(opened.points().unwrap(), [], "no commit opens");
    let cancel = Cancel::default();
    let options = ScrubOptions { level: ScrubLevel::List, threads: 1, cancel };
    assert!(!scrub(&opened, &options).unwrap().is_clean());
}

#[test]
fn a_restore_point_that_was_hidden_is_missed_by_the_one_after_it() {
    let (victim, points) = Victim::new(1, 1);
    back_up_bytes(&victim.repo, "web", &noise(300_000, 4)).unwrap();
    let is_clean = || {
        let cancel = Cancel::default();
        let options = ScrubOptions { level: ScrubLevel::List, threads: 1, cancel };
        scrub(&victim.repo, &options).unwrap().is_clean()
    };
    assert!(is_clean());
    victim.store.delete(&ObjectName::commit(points[0].id)).unwrap();
    assert!(!is_clean());
}
