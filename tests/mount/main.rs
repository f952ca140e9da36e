//! Restore points through the kernel: real mounts, and the programs that people use on them.

mod damage;
#[path = "../support/guest.rs"]
mod guest;
mod guests;
mod life;
mod many;
#[path = "../support/repo.rs"]
mod repo;
mod robust;
#[path = "../support/run.rs"]
mod run;
mod semantics;
mod server;
#[path = "../support/skip.rs"]
mod skip;
mod stalled;
mod stats;
mod tools;
mod user;
mod writable;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use backstop::format::commit::PointRecord;
use backstop::ingest::{DiskInput, back_up};
use backstop::repo::{Environment, Repository};
use backstop::store::DirStore;
use tempfile::TempDir;

use repo::{MinuteClock, options};
use server::Server;

/// A repository and a directory to mount on, removed when the value is dropped.
struct Place {
    dir: TempDir,
    repo: Repository,
}

impl Place {
    /// None, with a note, where this machine cannot mount.
    fn new(test: &str) -> Option<Self> {
        if !skip::is_root() || !Path::new("/dev/fuse").exists() {
            skip::skip(test, "mounting needs root and /dev/fuse");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("mnt")).unwrap();
        let store = Arc::new(DirStore::create(dir.path().join("repo")).unwrap());
        let clock = Arc::new(MinuteClock::default());
        let environment = Environment { clock, ..Environment::default() };
        Some(Self { repo: repo::create_repo(store, environment).unwrap(), dir })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn mount_dir(&self) -> PathBuf {
        self.path("mnt")
    }

    fn mount(&self) -> Server {
        Server::mount(&self.path("repo"), &self.mount_dir())
    }

    fn back_up(&self, vm: &str, disks: Vec<DiskInput>) -> PointRecord {
        back_up(&self.repo, vm, disks, &options()).unwrap()
    }
}
