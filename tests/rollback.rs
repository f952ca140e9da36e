//! An older state of an encrypted repository is not taken for the present one.

#[path = "support/repo.rs"]
mod repo;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use backstop::base::cancel::Cancel;
use backstop::base::id::RepoId;
use backstop::crypto::Keyring;
use backstop::error::{ErrorKind, Result};
use backstop::format::commit::PointRecord;
use backstop::format::layout::{Area, ObjectName};
use backstop::prune::forget::forget;
use backstop::prune::{PruneOptions, prune};
use backstop::repo::{Environment, NewRepository, Repository, Seen, TrustStore};
use backstop::store::testing::{MemoryStore, SeededChance};
use backstop::store::{Published, Store};

use crate::repo::{back_up_bytes, environment, noise};

/// What a host remembers, in memory.
#[derive(Default)]
struct Memory {
    seen: Mutex<HashMap<RepoId, Seen>>,
    accepts: AtomicBool,
}

impl TrustStore for Memory {
    fn load(&self, repo: RepoId) -> Result<Seen> {
        Ok(self.seen.lock().unwrap().get(&repo).cloned().unwrap_or_default())
    }

    fn save(&self, repo: RepoId, seen: &Seen) -> Result<()> {
        self.seen.lock().unwrap().insert(repo, seen.clone());
        Ok(())
    }

    fn accepts_rollback(&self) -> bool {
        self.accepts.load(Ordering::Relaxed)
    }
}

/// A host with keys and a memory, and the storage that it uses.
struct Host {
    store: MemoryStore,
    keyring: Keyring,
    trust: Arc<Memory>,
}

impl Host {
    fn new() -> Self {
        let (store, keyring) = (MemoryStore::new(), Keyring::generate(&SeededChance::new(1)));
        let new = NewRepository { has_parity: false, keyring: Some(&keyring), secret: None };
        Repository::create_as(Arc::new(store.clone()), environment(1), &new).unwrap();
        Self { store, keyring, trust: Arc::default() }
    }

    /// Another host with the same keys, which has seen nothing yet.
    fn other(&self) -> Self {
        let keyring = Keyring::decode(self.keyring.encode().expose()).unwrap();
        Self { store: self.store.clone(), keyring, trust: Arc::default() }
    }

    fn open(&self) -> Result<Repository> {
        let trust: Arc<dyn TrustStore> = Arc::<Memory>::clone(&self.trust);
        let environment = Environment { trust: Some(trust), ..Environment::default() };
        Repository::unlock(Arc::new(self.store.clone()), environment, &self.keyring)
    }

    fn back_up(&self, vm: &str, seed: u64) -> PointRecord {
        back_up_bytes(&self.open().unwrap(), vm, &noise(5000, seed)).unwrap()
    }

    fn prune(&self) {
        let cancel = Cancel::default();
        let options =
            PruneOptions { dry_run: false, wait: Duration::ZERO, live_percent: 50, cancel };
        prune(&self.open().unwrap(), &options).unwrap();
    }

    fn state(&self) -> Vec<(ObjectName, Vec<u8>)> {
        let names = Area::ALL.into_iter().flat_map(|area| self.store.list(area).unwrap());
        names.map(|name| (name.clone(), self.store.read(&name, 64 << 20).unwrap())).collect()
    }

    /// The storage shows what it had at some time.
    fn bring_back(&self, state: &[(ObjectName, Vec<u8>)]) {
        for (name, _) in self.state() {
            self.store.delete(&name).unwrap();
        }
        for (name, bytes) in state {
            assert_eq!(self.store.create(name, bytes).unwrap(), Published::Created);
        }
    }

    fn is_rolled_back(&self) -> bool {
        match self.open() {
            Ok(_) => false,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Rollback, "{error}");
                true
            }
        }
    }
}

#[test]
fn an_older_state_is_refused_until_it_is_accepted() {
    let host = Host::new();
    host.back_up("web", 1);
    let old = host.state();
    host.back_up("web", 2);
    assert!(!host.is_rolled_back());
    host.bring_back(&old);
    assert!(host.is_rolled_back());
    assert!(host.is_rolled_back(), "again and again");
    assert!(!host.other().is_rolled_back(), "a host that has seen nothing cannot know");
    host.trust.accepts.store(true, Ordering::Relaxed);
    assert!(!host.is_rolled_back());
    host.trust.accepts.store(false, Ordering::Relaxed);
    assert!(!host.is_rolled_back(), "it is the present state from then on");
}

#[test]
fn the_newest_restore_point_of_a_vm_cannot_be_dropped_by_the_storage() {
    let host = Host::new();
    host.back_up("db", 1);
    let newest = host.back_up("web", 2);
    host.store.delete(&ObjectName::commit(newest.id)).unwrap();
    assert!(host.is_rolled_back());
}

#[test]
fn a_commit_under_the_right_name_with_other_bytes_is_refused() {
    let host = Host::new();
    let (first, second) = (host.back_up("web", 1), host.back_up("web", 2));
    let older = host.store.read(&ObjectName::commit(first.id), 1 << 20).unwrap();
    host.store.delete(&ObjectName::commit(second.id)).unwrap();
    let _ = host.store.create(&ObjectName::commit(second.id), &older).unwrap();
    assert!(host.is_rolled_back());
}

#[test]
fn what_was_dropped_by_somebody_with_the_keys_is_no_rollback() {
    let host = Host::new();
    let [_, second, third] = [1, 2, 3].map(|seed| host.back_up("web", seed));
    let before = host.open().unwrap();
    forget(&before, third.id).unwrap();
    assert!(!host.is_rolled_back(), "its tombstone says so");
    forget(&before, second.id).unwrap();
    host.prune();
    assert!(!host.is_rolled_back(), "tombstones stay");
    let tombstone = ObjectName::forgotten(third.id);
    let bytes = host.store.read(&tombstone, 1 << 20).unwrap();
    host.store.delete(&tombstone).unwrap();
    assert!(host.is_rolled_back());
    let _ = host.store.create(&tombstone, &bytes).unwrap();
    host.back_up("web", 4);
    assert!(!host.is_rolled_back());
}

#[test]
fn a_point_that_another_host_dropped_and_pruned_is_no_rollback() {
    let here = Host::new();
    let there = here.other();
    let first = here.back_up("web", 1);
    there.back_up("web", 2);
    forget(&there.open().unwrap(), first.id).unwrap();
    there.prune();
    assert!(!here.is_rolled_back());
}

#[test]
fn a_forged_tombstone_is_none() {
    let host = Host::new();
    let newest = host.back_up("web", 1);
    let name = ObjectName::forgotten(newest.id);
    let _ = host.store.create(&name, &host.store.read(&ObjectName::config(0), 9999).unwrap());
    host.store.delete(&ObjectName::commit(newest.id)).unwrap();
    assert!(host.is_rolled_back());
}
