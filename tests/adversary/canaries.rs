//! Nothing that a repository keeps secret occurs anywhere in it.

use std::sync::Arc;

use backstop::crypto::Keyring;
use backstop::format::journal::{EngineNote, EngineThing};
use backstop::format::layout::Area;
use backstop::ingest::back_up;
use backstop::prune::forget::{forget, hold};
use backstop::repo::{EngineJournal, NewRepository, Repository, RestoreSession};
use backstop::store::Store;
use backstop::store::testing::{MemoryStore, SeededChance};

use crate::repo::{back_up_configured, configuration, disk_input, environment, noise, options};

const VM: &str = "canary-vm-payroll";
const DISK: &str = "canary-disk-ledger";
const DATA: &[u8] = b"canary-data-0815-4711-canary";
const NOTE: &str = "canary-note-before-the-audit";
const MEMBER: &str = "canary-member-description";
const URL: &str = "https://canary-engine.example.test";
/// A length whose digits and bytes occur nowhere by chance.
const SIZE: usize = 1_234_567;

fn canaries() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("the name of a VM", VM.into()),
        ("the name of a disk", DISK.into()),
        ("data of a disk", DATA.into()),
        ("a note", NOTE.into()),
        ("a configuration", MEMBER.into()),
        ("the address of an engine", URL.into()),
        ("the length of a disk in digits", SIZE.to_string().into()),
        ("the hash of a VM's name", lock_of(VM)),
    ]
}

/// The name that the lock of a VM has in a plain repository.
fn lock_of(vm: &str) -> Vec<u8> {
    backstop::format::layout::ObjectName::vm_lock(vm).leaf().into()
}

/// Writes every kind of object with canaries in it; all bytes and names of the repository.
fn everything(keyring: Option<&Keyring>) -> Vec<u8> {
    let store = MemoryStore::new();
    let new = NewRepository { has_parity: true, keyring, secret: None };
    let repo = Repository::create_as(Arc::new(store.clone()), environment(1), &new).unwrap();
    let mut disk = noise(SIZE, 1);
    // Once among bytes that do not compress, once among such that do.
    disk[5000..5000 + DATA.len()].copy_from_slice(DATA);
    disk[900_000..].fill(b' ');
    disk[1_000_000..1_000_000 + DATA.len()].copy_from_slice(DATA);
    let disk_of = || vec![disk_input(DISK, &disk)];
    let configuration = configuration(Some(MEMBER));
    let point = back_up_configured(&repo, VM, disk_of(), &configuration).unwrap();
    let dropped = back_up(&repo, VM, disk_of(), &options()).unwrap();
    forget(&repo, dropped.id).unwrap();
    let _ = hold(&repo, point.id, NOTE).unwrap();
    let session = RestoreSession::begin(&repo, VM, point.id).unwrap();
    let note = EngineNote {
        url: URL.to_owned(),
        vm_id: None,
        what: EngineThing::Disk,
        id: "1".to_owned(),
        disk_id: None,
        text: NOTE.to_owned(),
    };
    EngineJournal::new(&repo, session.id()).note(&note).unwrap();
    let mut all = Vec::new();
    for name in Area::ALL.iter().flat_map(|area| store.list(*area).unwrap()) {
        all.extend(name.to_string().into_bytes());
        all.extend(store.read(&name, 64 << 20).unwrap());
    }
    all
}

fn occurs(canary: &[u8], bytes: &[u8]) -> bool {
    bytes.windows(canary.len()).any(|window| window == canary)
}

#[test]
fn no_canary_occurs_in_an_encrypted_repository_and_each_does_in_a_plain_one() {
    let keyring = Keyring::generate(&SeededChance::new(5));
    let (plain, sealed) = (everything(None), everything(Some(&keyring)));
    assert!(sealed.len() >= plain.len());
    for (what, canary) in canaries() {
        assert!(occurs(&canary, &plain), "{what}: the search finds it where it is");
        assert!(!occurs(&canary, &sealed), "{what}");
    }
}
