//! An encrypted repository that was written once: it reads the same for ever, with this program and
//! with a reader that was written from the format pages alone.
//!
//! With `BACKSTOP_WRITE_FIXTURES` set the repository is written anew, which only a change of a
//! format that is not frozen yet can be a reason for.

#[path = "support/repo.rs"]
mod repo;
#[path = "support/skip.rs"]
mod skip;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use backstop::base::cancel::Cancel;
use backstop::base::chance::SystemChance;
use backstop::base::secret::{Secret, SecretKey};
use backstop::crypto::{Keyring, SlotSecret};
use backstop::format::layout::Area;
use backstop::ingest::back_up;
use backstop::repo::{Environment, KeyChange, NewRepository, Repository, read_config, unlock};
use backstop::scrub::{ScrubLevel, ScrubOptions, scrub};
use backstop::store::testing::MemoryStore;
use backstop::store::{DirStore, Store};
use tempfile::TempDir;

use crate::repo::{MIB, disk_input, noise, options, read_back};

const PASSWORD: &str = "correct horse battery staple";
const KEY_FILE: [u8; 32] = *b"a key file has thirty-two bytes.";
const READER: &str = "tools/read-encrypted";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn fixture() -> PathBuf {
    root().join("tests/fixtures/1/encrypted")
}

/// A hole, text that compresses, zeros, and bytes that do not compress.
fn disk() -> Vec<u8> {
    let mut disk = vec![0; MIB + 290_000];
    disk[MIB..MIB + 100_000].copy_from_slice(&b"what is here is text\n".repeat(4762)[..100_000]);
    disk[MIB + 265_000..].copy_from_slice(&noise(25_000, 7));
    disk
}

/// Writes the repository: two restore points of `web`, a password and a key file.
fn write(dir: &Path) {
    let store = Arc::new(MemoryStore::new());
    let shared = Arc::clone(&store) as Arc<dyn Store>;
    let keyring = Keyring::generate(&SystemChance);
    let password = SlotSecret::Password(Secret::from(PASSWORD));
    let new = NewRepository { has_parity: false, keyring: Some(&keyring), secret: Some(&password) };
    let environment = Environment::default;
    let repo = Repository::create_as(Arc::clone(&shared), environment(), &new).unwrap();
    let config = read_config(&*shared, &environment()).unwrap();
    let unlocked = unlock(&*shared, &environment(), &config, vec![password]).unwrap();
    let key_file = SlotSecret::KeyFile(SecretKey::new(KEY_FILE));
    KeyChange::begin(&repo, &unlocked).unwrap().add(&key_file, "key file").unwrap();
    let mut before = disk();
    before[MIB + 5] = b'X';
    for bytes in [before, disk()] {
        back_up(&repo, "web", vec![disk_input("root", &bytes)], &options()).unwrap();
    }
    let kept = [Area::Config, Area::Keys, Area::Packs, Area::Index, Area::Commits];
    for name in kept.into_iter().flat_map(|area| store.list(area).unwrap()) {
        let path = dir.join(name.to_string());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, store.read(&name, 64 << 20).unwrap()).unwrap();
    }
}

/// A copy of the repository with the directories that a version control does not keep.
fn copy() -> (TempDir, Arc<DirStore>) {
    if std::env::var_os("BACKSTOP_WRITE_FIXTURES").is_some() {
        write(&fixture());
    }
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path().join("repo");
    let copied = Command::new("cp").arg("-r").arg(fixture()).arg(&to).status().unwrap();
    assert!(copied.success());
    let store = DirStore::open(&to).unwrap();
    store.make_directories().unwrap();
    (dir, Arc::new(store))
}

#[test]
fn an_encrypted_repository_of_before_reads_back_with_each_of_its_secrets() {
    let (_dir, store) = copy();
    for secret in [
        SlotSecret::Password(Secret::from(PASSWORD)),
        SlotSecret::KeyFile(SecretKey::new(KEY_FILE)),
    ] {
        let config = read_config(&*store, &Environment::default()).unwrap();
        let unlocked = unlock(&*store, &Environment::default(), &config, vec![secret]).unwrap();
        let shared = Arc::<DirStore>::clone(&store);
        let opened = Repository::unlock(shared, Environment::default(), &unlocked.keyring);
        let repo = opened.unwrap();
        let points = repo.points().unwrap();
        assert_eq!(points.len(), 2);
        assert!(read_back(&repo, &points[1].disks[0], false).unwrap() == disk());
        assert!(read_back(&repo, &points[0].disks[0], true).unwrap() != disk());
        let cancel = Cancel::default();
        let options = ScrubOptions { level: ScrubLevel::Points, threads: 2, cancel };
        let report = scrub(&repo, &options).unwrap();
        assert!(report.is_clean(), "{report:?}");
    }
}

#[test]
fn a_reader_that_was_written_from_the_pages_alone_restores_the_disk() {
    let test = "a_reader_that_was_written_from_the_pages_alone_restores_the_disk";
    let modules = "import argon2, zstandard, cryptography";
    let python = Command::new("/usr/bin/python3").args(["-c", modules]).output();
    if !python.is_ok_and(|output| output.status.success()) {
        return skip::skip(test, "python3 lacks argon2, zstandard or cryptography");
    }
    let (dir, _store) = copy();
    let run = |option: &str, secret: &[u8]| {
        let (file, out) = (dir.path().join("secret"), dir.path().join("disk.raw"));
        fs::write(&file, secret).unwrap();
        let mut command = Command::new(root().join(READER));
        command.arg(dir.path().join("repo")).args(["web", "root"]).arg(&out);
        let ran = command.arg(option).arg(&file).output().unwrap();
        let said = String::from_utf8_lossy(&ran.stderr).into_owned();
        ran.status.success().then(|| fs::read(&out).unwrap()).ok_or(said)
    };
    for (option, secret) in [("--password-file", PASSWORD.as_bytes()), ("--key-file", &KEY_FILE)] {
        assert!(run(option, secret).unwrap() == disk(), "the reader restores the disk");
        let refused = run(option, b"another secret of 32 bytes......").unwrap_err();
        assert!(refused.contains("no key slot opens"), "{refused}");
    }
}
