//! A backup to a medium that has no room left.

#[path = "support/run.rs"]
mod run;
#[path = "support/skip.rs"]
mod skip;
#[path = "support/repo.rs"]
mod support;

use std::io::Write;

use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use backstop::base::cancel::Cancel;
use backstop::base::clock::UtcTime;
use backstop::error::{Error, ErrorKind, Result};
use backstop::format::commit::DiskSource;
use backstop::format::layout::{Area, ObjectName};
use backstop::format::lists::Forgotten;
use backstop::ingest::source::ImageStream;
use backstop::ingest::{BackupOptions, DiskInput, Image, back_up};
use backstop::repo::{LentBallast, reserve_bytes};
use backstop::store::testing::{DamagingStore, Fault, MemoryStore};
use backstop::store::{DirStore, Published, Space, Store};

use support::{MIB, back_up_bytes, new_repo, noise, options};

/// Some chunks, then silence until the run is to end.
struct Silent {
    chunks_left: u64,
    cancel: Cancel,
}

impl ImageStream for Silent {
    fn read(&mut self, out: &mut [u8]) -> Result<usize> {
        sleep(Duration::from_millis(5));
        if self.chunks_left > 0 {
            self.chunks_left -= 1;
            out.copy_from_slice(&noise(out.len(), self.chunks_left));
            return Ok(out.len());
        }
        let began = Instant::now();
        while !self.cancel.is_requested() {
            assert!(began.elapsed() < Duration::from_secs(20), "nobody ended the run");
            sleep(Duration::from_millis(5));
        }
        Err(Error::new(ErrorKind::Cancelled, "the stream was interrupted"))
    }
}

#[test]
fn a_backup_that_found_no_room_says_so_and_its_packs_are_found_by_the_next_one() {
    let disk = noise(72 * MIB, 1);
    // The first of these fails while the workers store, the second when they are done; in front of
    // both come the registration and, before the second, two packs.
    for (nth, kept) in [(3, 31 * MIB as u64), (4, 62 * MIB as u64)] {
        let store = Arc::new(DamagingStore::new(MemoryStore::new()));
        let repo = new_repo(Arc::<DamagingStore<_>>::clone(&store));
        store.fail_publish(nth, Fault::Full);
        let error = back_up_bytes(&repo, "vm", &disk).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Full, "{}", error.chain());
        assert!(error.chain().contains("No space left"), "{}", error.chain());
        assert!(store.list(Area::Sessions).unwrap().is_empty(), "a registration is left");
        assert!(repo.points().unwrap().is_empty());
        let point = back_up_bytes(&repo, "vm", &disk).unwrap();
        assert_eq!(point.stats.duplicate_bytes, kept, "publish {nth}");
    }
}

#[test]
fn a_backup_stops_before_the_last_reserve_and_says_how_much_is_missing() {
    let store = Arc::new(DamagingStore::new(MemoryStore::new()));
    let repo = new_repo(Arc::<DamagingStore<_>>::clone(&store));
    let total_bytes = 10_000 * MIB as u64;
    let reserve = reserve_bytes(total_bytes);
    assert_eq!(reserve, 100 * MIB as u64);
    store.set_space(Space { free_bytes: reserve - 1, total_bytes });
    let error = back_up_bytes(&repo, "vm", &noise(MIB, 1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Full);
    let text = "backups leave the last 100 MiB of the medium free, so that it can be pruned; 1 MiB";
    assert!(error.to_string().starts_with(text), "{error}");
    assert!(store.list(Area::Sessions).unwrap().is_empty(), "it did not even begin");
    // There is room to begin, and not for the pack.
    store.set_space(Space { free_bytes: reserve, total_bytes });
    let error = back_up_bytes(&repo, "vm", &noise(5 * MIB, 1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Full);
    assert!(error.to_string().ends_with("; 6 MiB are missing"), "{error}");
    assert!(store.list(Area::Packs).unwrap().is_empty());
    store.heal();
    back_up_bytes(&repo, "vm", &noise(5 * MIB, 1)).unwrap();
}

/// A small file system of its own, in memory.
struct Tmpfs(tempfile::TempDir);

impl Tmpfs {
    fn mounted(mib: usize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let options = format!("size={mib}m,mode=700");
        let path = directory.path().to_str().unwrap().to_owned();
        run::run("mount", ["-t", "tmpfs", "-o", &options, "backstop-test", &path]);
        Self(directory)
    }

    /// Writes until nothing more fits.
    fn fill(&self) {
        let mut file = std::fs::File::create(self.0.path().join("filling")).unwrap();
        while file.write_all(&[1; 4096]).is_ok() {}
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = run::attempt("umount", [self.0.path()]);
    }
}

#[test]
fn a_medium_that_others_have_filled_has_room_for_whoever_makes_some() {
    if !skip::is_root() {
        return skip::skip("a_medium_that_others_have_filled", "mounting needs root");
    }
    let medium = Tmpfs::mounted(96);
    let store = Arc::new(DirStore::create(medium.0.path().join("repo")).unwrap());
    let repo = new_repo(Arc::<DirStore>::clone(&store));
    assert!(medium.0.path().join("repo/ballast").exists(), "init makes the ballast");
    back_up_bytes(&repo, "vm", &noise(20 * MIB, 1)).unwrap();
    let error = back_up_bytes(&repo, "vm", &noise(90 * MIB, 2)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Full, "{}", error.chain());
    assert!(error.chain().contains("backups leave the last 12 MiB"), "{}", error.chain());
    assert!(store.space().unwrap().unwrap().free_bytes >= 12 * MIB as u64, "it left the reserve");
    medium.fill();
    let point = repo.points().unwrap()[0].id;
    let tombstone = Forgotten { point, time: UtcTime::EPOCH }.encode();
    let forget = || store.create(&ObjectName::forgotten(point), &tombstone);
    assert_eq!(forget().unwrap_err().kind(), ErrorKind::Full);
    let room = LentBallast::begin(&repo).unwrap();
    assert!(!medium.0.path().join("repo/ballast").exists());
    assert_eq!(forget().unwrap(), Published::Created);
    drop(room);
    assert!(!medium.0.path().join("repo/ballast").exists(), "there is still no room for it");
    std::fs::remove_file(medium.0.path().join("filling")).unwrap();
    drop(LentBallast::begin(&repo).unwrap());
    assert!(medium.0.path().join("repo/ballast").exists());
}

#[test]
fn a_backup_that_failed_does_not_wait_for_a_stream_that_says_nothing() {
    let store = Arc::new(DamagingStore::new(MemoryStore::new()));
    let repo = new_repo(Arc::<DamagingStore<_>>::clone(&store));
    store.fail_publish(2, Fault::Full);
    let cancel = Cancel::default();
    let stream = Silent { chunks_left: 48, cancel: cancel.clone() };
    let source =
        DiskSource { format: "stream".to_owned(), path: "-".to_owned(), backing_files: Vec::new() };
    let disk = DiskInput {
        name: "disk".to_owned(),
        source,
        image: Image::Stream(Box::new(stream)),
        parent: None,
        engine: None,
    };
    let error =
        back_up(&repo, "vm", vec![disk], &BackupOptions { cancel, ..options() }).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Full, "{}", error.chain());
}
