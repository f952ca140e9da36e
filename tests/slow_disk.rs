//! What a disk that syncs slowly does to a backup, and what reads and writes leave in the page
//! cache.

#[path = "support/repo.rs"]
mod repo;
#[path = "support/skip.rs"]
mod skip;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use backstop::base::cancel::Cancel;
use backstop::base::limits::PACK_TARGET_BYTES;
use backstop::error::Result;
use backstop::format::layout::Area;
use backstop::ingest::back_up;
use backstop::ingest::raw::RawImage;
use backstop::ingest::source::{Extent, ExtentKind, ImageSource};
use backstop::repo::Repository;
use backstop::restore::{RestoreOptions, Target, restore_disk};
use backstop::scrub::{ScrubLevel, ScrubOptions, scrub};
use backstop::store::testing::{DamagingStore, Gate, MemoryStore};
use backstop::store::{DirStore, Store};

use crate::repo::{
    MIB, MemoryDisk, back_up_bytes, create_repo, environment, new_repo, noise, options, read_back,
    source_input,
};
use crate::skip::skip;

/// Packs that a backup publishes at once, and the one that grows meanwhile.
const PACKS_AT_ONCE: usize = 3;
const PACKS_IN_MEMORY: usize = PACKS_AT_ONCE + 1;
/// Long enough for six packs.
const DISK_MIB: usize = 170;

/// Noise that tells how many bytes were read of it.
struct ToldDisk {
    disk: Arc<MemoryDisk>,
    reads: Mutex<Sender<usize>>,
}

impl ImageSource for ToldDisk {
    fn size_bytes(&self) -> u64 {
        self.disk.size_bytes()
    }

    fn extent_at(&self, offset_bytes: u64) -> Result<Extent> {
        let len_bytes = self.size_bytes() - offset_bytes;
        Ok(Extent { len_bytes, kind: ExtentKind::Data })
    }

    fn read_at(&self, offset_bytes: u64, out: &mut [u8]) -> Result<()> {
        // Once the test has seen enough, nobody listens.
        let _ = self.reads.lock().unwrap().send(out.len());
        self.disk.read_at(offset_bytes, out)
    }

    fn finish(&self) -> Result<()> {
        Ok(())
    }
}

fn told_disk() -> (Arc<MemoryDisk>, ToldDisk, Receiver<usize>) {
    let (sender, reads) = channel();
    let disk = Arc::new(MemoryDisk { bytes: noise(DISK_MIB * MIB, 3), has_holes: false });
    let told = ToldDisk { disk: Arc::clone(&disk), reads: Mutex::new(sender) };
    (disk, told, reads)
}

/// Sums what was read until that is `most` or nothing more comes for a while.
fn bytes_read(reads: &Receiver<usize>, most: usize, patience: Duration) -> usize {
    let mut sum = 0;
    while sum < most
        && let Ok(bytes) = reads.recv_timeout(patience)
    {
        sum += bytes;
    }
    sum
}

#[test]
fn one_slow_sync_does_not_stop_a_backup_from_reading_to_the_end() {
    let store = Arc::new(DamagingStore::new(MemoryStore::new()));
    let repo = new_repo(Arc::clone(&store) as Arc<dyn Store>);
    let gate = Gate::default();
    store.hold_publish(Area::Packs, 1, &gate);
    let (disk, told, reads) = told_disk();
    thread::scope(|scope| {
        let backup =
            scope.spawn(|| back_up(&repo, "vm", vec![source_input("disk", told)], &options()));
        gate.wait_for(1);
        let read = bytes_read(&reads, DISK_MIB * MIB, Duration::from_secs(60));
        let is_committed = !store.list(Area::Commits).unwrap().is_empty();
        gate.open();
        assert_eq!(read, DISK_MIB * MIB);
        assert!(!is_committed, "a pack is not durable yet");
        let point = backup.join().unwrap().unwrap();
        assert!(read_back(&repo, &point.disks[0], false).unwrap() == disk.bytes);
    });
}

#[test]
fn a_backup_to_a_disk_that_syncs_nothing_stops_reading_and_keeps_few_packs_in_memory() {
    let store = Arc::new(DamagingStore::new(MemoryStore::new()));
    let repo = new_repo(Arc::clone(&store) as Arc<dyn Store>);
    let gate = Gate::default();
    (1..=PACKS_IN_MEMORY as u64).for_each(|nth| store.hold_publish(Area::Packs, nth, &gate));
    let (_, told, reads) = told_disk();
    thread::scope(|scope| {
        let backup =
            scope.spawn(|| back_up(&repo, "vm", vec![source_input("disk", told)], &options()));
        gate.wait_for(PACKS_AT_ONCE);
        let read = bytes_read(&reads, DISK_MIB * MIB, Duration::from_secs(1));
        gate.open();
        let held = PACKS_IN_MEMORY * PACK_TARGET_BYTES + options().threads * MIB;
        assert!(read <= held, "{read} bytes were read, and {held} can be held");
        backup.join().unwrap().unwrap();
    });
}

/// Bytes of a file that are in the page cache.
fn cached_bytes(path: &Path) -> usize {
    let mut fincore = Command::new("fincore");
    fincore.args(["--bytes", "--noheadings", "--output", "RES"]).arg(path);
    let told = fincore.output().expect("fincore of util-linux is installed");
    String::from_utf8(told.stdout).unwrap().trim().parse().unwrap()
}

/// The same once the kernel has ended what it reads ahead: that is cached only when it has arrived.
fn settled_cached_bytes(path: &Path) -> usize {
    let (mut before, mut now) = (usize::MAX, cached_bytes(path));
    while now != before {
        thread::sleep(Duration::from_millis(200));
        (before, now) = (now, cached_bytes(path));
    }
    now
}

/// Runs `dd` over a file with what is given beside.
fn dd(path: &Path, options: &[&str]) {
    let mut dd = Command::new("dd");
    dd.arg(format!("if={}", path.display())).args(["of=/dev/null", "bs=1M", "status=none"]);
    assert!(dd.args(options).status().unwrap().success());
}

/// Whether files at `path` lie in memory and nowhere else.
fn is_in_memory(path: &Path) -> bool {
    let told = Command::new("stat").args(["-f", "-c", "%T"]).arg(path).output().unwrap();
    matches!(String::from_utf8_lossy(&told.stdout).trim(), "tmpfs" | "ramfs")
}

fn restore_options() -> RestoreOptions {
    RestoreOptions { threads: 2, force: false, cancel: Cancel::default() }
}

/// A repository in a directory, and the paths of its packs.
fn repository_at(path: &Path) -> (Repository, impl Fn() -> Vec<PathBuf> + use<>) {
    let store: Arc<dyn Store> = Arc::new(DirStore::create(path).unwrap());
    let repo = create_repo(Arc::clone(&store), environment(1)).unwrap();
    let path = path.to_owned();
    let packs = move || {
        let packs = store.list(Area::Packs).unwrap();
        packs.iter().map(|pack| path.join(pack.to_string())).collect()
    };
    (repo, packs)
}

fn all_cached_bytes(paths: &[PathBuf]) -> usize {
    paths.iter().map(|path| cached_bytes(path)).sum()
}

#[test]
fn what_a_backup_and_a_restore_wrote_does_not_stay_in_the_page_cache() {
    let temp = tempfile::tempdir().unwrap();
    if is_in_memory(temp.path()) {
        return skip("page_cache", "temporary files lie in memory");
    }
    let target = temp.path().join("disk.raw");
    let (repo, packs) = repository_at(&temp.path().join("repository"));
    let point = back_up_bytes(&repo, "vm", &noise(70 * MIB, 4)).unwrap();
    let cached = all_cached_bytes(&packs());
    assert!(cached < MIB, "{cached} bytes of packs");
    restore_disk(&repo, &point.disks[0], Target::Path(target.clone()), &restore_options()).unwrap();
    assert!(std::fs::metadata(&target).unwrap().len() > 69 * MIB as u64);
    let cached = cached_bytes(&target);
    assert!(cached < MIB, "{cached} bytes of the restored disk");
}

#[test]
fn what_is_read_leaves_the_page_cache_unless_it_was_there_before() {
    let temp = tempfile::tempdir().unwrap();
    let image = temp.path().join("image.raw");
    std::fs::write(&image, noise(70 * MIB, 5)).unwrap();
    File::open(&image).and_then(|file| file.sync_all()).unwrap();
    dd(&image, &["iflag=nocache", "count=0"]);
    if cached_bytes(&image) > 0 {
        return skip("page_cache", "pages of temporary files cannot be given up");
    }
    let (repo, packs) = repository_at(&temp.path().join("repository"));
    let backed_up = || {
        let disks = vec![source_input("disk", RawImage::open(&image).unwrap())];
        back_up(&repo, "vm", disks, &options()).unwrap()
    };
    let point = backed_up();
    let cached = cached_bytes(&image);
    assert!(cached < MIB, "{cached} bytes of an image that nobody else reads");
    dd(&image, &["skip=20", "count=8"]);
    let before = settled_cached_bytes(&image);
    assert!((8 * MIB..60 * MIB).contains(&before), "{before} bytes were read");
    backed_up();
    let after = cached_bytes(&image);
    assert!((before..before + 2 * MIB).contains(&after), "{before} bytes, then {after}");

    let target = Target::Path(temp.path().join("disk.raw"));
    restore_disk(&repo, &point.disks[0], target, &restore_options()).unwrap();
    assert!(all_cached_bytes(&packs()) < MIB, "packs after a restore");
    let checked = || {
        let level = ScrubLevel::Chunks;
        let options = ScrubOptions { level, threads: 2, cancel: Cancel::default() };
        assert!(scrub(&repo, &options).unwrap().is_clean());
        all_cached_bytes(&packs())
    };
    assert!(checked() < MIB, "packs after a scrub");
    packs().iter().for_each(|pack| dd(pack, &[]));
    assert!(checked() > 70 * MIB, "packs that somebody else had read");
}
