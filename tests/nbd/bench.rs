//! A repository in memory with one disk, and servers of it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use backstop::attach::nbd::{Address, Export, Server, ServerOptions};
use backstop::format::commit::PointRecord;
use backstop::monitor::RecordingMonitor;
use backstop::repo::Repository;
use backstop::store::Store;
use backstop::store::testing::{DamagingStore, MemoryStore};
use backstop::vfs::{Access, OverlayOptions, Tree, TreeOptions};
use tempfile::TempDir;

use crate::repo::{MIB, back_up_bytes, noise, watched};

pub(crate) struct Bench {
    pub(crate) store: Arc<DamagingStore<MemoryStore>>,
    pub(crate) monitor: Arc<RecordingMonitor>,
    pub(crate) repo: Repository,
    pub(crate) bytes: Vec<u8>,
    pub(crate) point: PointRecord,
    dir: TempDir,
}

/// A disk of data, holes, and a tail that is no whole block.
pub(crate) fn disk_bytes() -> Vec<u8> {
    let mut bytes = noise(9 * MIB + 5000, 3);
    for hole in [2..5, 6..7, 8..9] {
        bytes[hole.start * MIB..hole.end * MIB].fill(0);
    }
    bytes
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::of(disk_bytes())
    }

    pub(crate) fn of(bytes: Vec<u8>) -> Self {
        let store = Arc::new(DamagingStore::new(MemoryStore::new()));
        let monitor = Arc::new(RecordingMonitor::default());
        let environment = watched(1, Arc::clone(&monitor) as _);
        let repo = Repository::create(Arc::clone(&store) as Arc<dyn Store>, environment).unwrap();
        let point = back_up_bytes(&repo, "vm", &bytes).unwrap();
        Self { store, monitor, repo, bytes, point, dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.path("disk.sock")
    }

    /// A view of the repository; written to in the directory `overlay`, if any.
    pub(crate) fn tree(&self, overlay: Option<&Path>) -> Arc<Tree> {
        let keep = |dir: &Path| OverlayOptions { dir: dir.into(), limit_bytes: None, keep: true };
        let overlay = overlay.map(keep);
        Arc::new(
            Tree::new(self.repo.clone(), &TreeOptions { overlay, ..TreeOptions::default() })
                .unwrap(),
        )
    }

    pub(crate) fn export(&self, tree: &Arc<Tree>, access: Access) -> Export {
        Export::of_disk(tree, &self.point, "disk", access).unwrap()
    }

    pub(crate) fn serve_as(&self, access: Access, options: &ServerOptions) -> Server {
        let overlay = self.path("overlay");
        std::fs::create_dir_all(&overlay).unwrap();
        let overlay = (access == Access::Write).then_some(overlay);
        let export = self.export(&self.tree(overlay.as_deref()), access);
        let monitor = Arc::clone(&self.monitor) as _;
        Server::bind(&Address::Unix(self.socket()), export, options, monitor).unwrap()
    }

    pub(crate) fn serve(&self) -> Server {
        self.serve_as(Access::Read, &ServerOptions::default())
    }

    pub(crate) fn serve_writable(&self) -> Server {
        self.serve_as(Access::Write, &ServerOptions::default())
    }
}
