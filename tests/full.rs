//! A backup to a medium that has no room left.

#[path = "support/run.rs"]
mod run;
#[path = "support/skip.rs"]
mod skip;
#[path = "support/repo.rs"]
mod support;

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use backstop::base::cancel::Cancel;
use backstop::base::clock::UtcTime;
use backstop::error::{Error, ErrorKind, Result};
use backstop::format::commit::DiskSource;
use backstop::format::entry::EntryKind;
use backstop::format::layout::{Area, ObjectName};
use backstop::format::lists::Forgotten;
use backstop::ingest::source::ImageStream;
use backstop::ingest::{BackupOptions, DiskInput, Image, back_up};
use backstop::pack::read_pack;
use backstop::prune::forget::{forget, hold, undo};
use backstop::prune::{PruneOptions, PruneReport, prune};
use backstop::repo::{LentBallast, Repository, reserve_bytes};
use backstop::store::testing::{DamagingStore, Fault, Gate, MemoryStore};
use backstop::store::{DirStore, Published, Space, Store};

use support::{MIB, back_up_bytes, new_repo, noise, options, read_back};

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
    // In front of these come the registration and one or two of the three packs.
    for nth in [3, 4] {
        let store = Arc::new(DamagingStore::new(MemoryStore::new()));
        let repo = new_repo(Arc::<DamagingStore<_>>::clone(&store));
        store.fail_publish(nth, Fault::Full);
        let error = back_up_bytes(&repo, "vm", &disk).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Full, "{}", error.chain());
        assert!(error.chain().contains("No space left"), "{}", error.chain());
        assert!(store.list(Area::Sessions).unwrap().is_empty(), "a registration is left");
        assert!(repo.points().unwrap().is_empty());
        let kept = plain_bytes(&repo);
        assert!((MIB as u64..71 * MIB as u64).contains(&kept), "publish {nth}: {kept} are kept");
        let point = back_up_bytes(&repo, "vm", &disk).unwrap();
        assert_eq!(point.stats.duplicate_bytes, kept, "publish {nth}");
    }
}

/// Plain bytes of the chunks in all packs.
fn plain_bytes(repo: &Repository) -> u64 {
    let packs = repo.store().list(Area::Packs).unwrap();
    let packs = packs.iter().filter_map(ObjectName::pack_id);
    let rows =
        packs.flat_map(|pack| read_pack(&**repo.store(), repo.sealing(), pack).unwrap().rows);
    rows.filter(|row| row.kind == EntryKind::Data).map(|row| u64::from(row.plain_len)).sum()
}

#[test]
fn a_backup_whose_packs_are_published_together_leaves_the_reserve_free() {
    let store = Arc::new(DamagingStore::new(MemoryStore::new()));
    let repo = new_repo(Arc::<DamagingStore<_>>::clone(&store));
    // Room for one pack at a time, however many are written: the medium never shows it.
    let total_bytes = 10_000 * MIB as u64;
    store
        .set_space(Space { free_bytes: reserve_bytes(total_bytes) + 33 * MIB as u64, total_bytes });
    let gate = Gate::default();
    store.hold_publish(Area::Packs, 1, &gate);
    let disk = noise(72 * MIB, 1);
    std::thread::scope(|scope| {
        let backup = scope.spawn(|| back_up_bytes(&repo, "vm", &disk));
        gate.wait_for(1);
        sleep(Duration::from_millis(500));
        let packs = store.list(Area::Packs).unwrap();
        gate.open();
        assert!(packs.is_empty(), "another pack was published into the same room");
        backup.join().unwrap().unwrap();
    });
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

/// A small file system of its own.
struct Medium {
    mount: tempfile::TempDir,
    _backing: Option<tempfile::TempDir>,
}

impl Medium {
    /// In memory.
    fn tmpfs(mib: usize) -> Self {
        let mount = tempfile::tempdir().unwrap();
        let options = format!("size={mib}m,mode=700");
        let path = mount.path().to_str().unwrap();
        run::run("mount", ["-t", "tmpfs", "-o", &options, "backstop-test", path]);
        Self { mount, _backing: None }
    }

    /// In a file.
    fn ext4(mib: usize) -> Self {
        let mount = tempfile::tempdir().unwrap();
        let backing = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let file = backing.path().join("ext4");
        std::fs::File::create(&file).unwrap().set_len((mib * MIB) as u64).unwrap();
        let (file, path) = (file.to_str().unwrap(), mount.path().to_str().unwrap());
        run::run("mkfs.ext4", ["-q", "-F", "-m", "0", file]);
        run::run("mount", ["-o", "loop", file, path]);
        Self { mount, _backing: Some(backing) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.mount.path().join(name)
    }

    /// Writes until not one more byte fits.
    fn fill(&self) {
        let mut file = std::fs::File::create(self.path("filling")).unwrap();
        for len in [MIB, 4096, 1] {
            while file.write_all(&vec![1; len]).and_then(|()| file.sync_data()).is_ok() {}
        }
    }

    /// Takes so much of the filling back.
    fn drain(&self, bytes: u64) {
        let file = std::fs::OpenOptions::new().write(true).open(self.path("filling")).unwrap();
        file.set_len(file.metadata().unwrap().len() - bytes).unwrap();
        file.sync_all().unwrap();
    }
}

impl Drop for Medium {
    fn drop(&mut self) {
        let _ = run::attempt("umount", [self.mount.path()]);
    }
}

#[test]
fn a_medium_that_others_have_filled_has_room_for_whoever_makes_some() {
    if !skip::is_root() {
        return skip::skip("a_medium_that_others_have_filled", "mounting needs root");
    }
    let medium = Medium::tmpfs(96);
    let store = Arc::new(DirStore::create(medium.path("repo")).unwrap());
    let repo = new_repo(Arc::<DirStore>::clone(&store));
    assert!(medium.path("repo/ballast").exists(), "init makes the ballast");
    back_up_bytes(&repo, "vm", &noise(20 * MIB, 1)).unwrap();
    let error = back_up_bytes(&repo, "vm", &noise(90 * MIB, 2)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Full, "{}", error.chain());
    assert!(error.chain().contains("backups leave the last 12 MiB"), "{}", error.chain());
    assert!(store.space().unwrap().unwrap().free_bytes >= 12 * MIB as u64, "it left the reserve");
    medium.fill();
    let point = repo.points().unwrap()[0].id;
    let tombstone = Forgotten { point, time: UtcTime::EPOCH }.encode();
    let drop_point = || store.create(&ObjectName::forgotten(point), &tombstone);
    assert_eq!(drop_point().unwrap_err().kind(), ErrorKind::Full);
    let room = LentBallast::begin(&repo).unwrap();
    assert!(!medium.path("repo/ballast").exists());
    assert_eq!(drop_point().unwrap(), Published::Created);
    drop(room);
    assert!(!medium.path("repo/ballast").exists(), "there is still no room for it");
    std::fs::remove_file(medium.path("filling")).unwrap();
    drop(LentBallast::begin(&repo).unwrap());
    assert!(medium.path("repo/ballast").exists());
}

fn prune_now(repo: &Repository) -> Result<PruneReport> {
    let options = PruneOptions {
        dry_run: false,
        wait: Duration::ZERO,
        live_percent: 50,
        cancel: Cancel::default(),
    };
    prune(repo, &options)
}

/// A medium on which others have left not one byte, from the first refusal to the next backup.
fn live_through_a_full(medium: &Medium, has_ballast: bool) {
    let store = Arc::new(DirStore::create(medium.path("repo")).unwrap());
    let repo = new_repo(Arc::<DirStore>::clone(&store));
    let wide = noise(24 * MIB, 1);
    let kept = [&wide[..4 * MIB], &noise(MIB, 2)].concat();
    let first = back_up_bytes(&repo, "vm", &wide).unwrap();
    let second = back_up_bytes(&repo, "vm", &kept).unwrap();
    let dead = back_up_bytes(&repo, "other", &noise(8 * MIB, 3)).unwrap();
    if !has_ballast {
        store.release_ballast().unwrap();
    }
    medium.fill();
    let error = back_up_bytes(&repo, "vm", &kept).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Full, "{}", error.chain());
    assert!(error.to_string().contains("MiB are missing"), "{error}");
    if !has_ballast {
        for refused in [forget(&repo, first.id).err(), prune_now(&repo).err()] {
            let error = refused.expect("there is no room for it");
            assert_eq!(error.kind(), ErrorKind::Full, "{}", error.chain());
        }
        assert_eq!(repo.points().unwrap().len(), 3);
        medium.drain(MIB as u64);
    }
    forget(&repo, first.id).unwrap();
    forget(&repo, dead.id).unwrap();
    undo(&repo, dead.id).unwrap();
    forget(&repo, dead.id).unwrap();
    let _created = hold(&repo, second.id, "the only good one").unwrap();
    // There is no room to rewrite the sparse pack; the dead ones make it.
    let report = prune_now(&repo).unwrap();
    assert!(report.deleted_bytes > 8 * MIB as u64, "{report:?}");
    assert_eq!((report.postponed_packs, report.rewritten_bytes), (1, 0), "{report:?}");
    let report = prune_now(&repo).unwrap();
    assert!(report.deleted_bytes > 24 * MIB as u64, "{report:?}");
    assert_eq!((report.postponed_packs, report.compacted_packs), (0, 1), "{report:?}");
    let third = back_up_bytes(&repo, "vm", &kept).unwrap();
    for point in [&second, &third] {
        assert!(read_back(&repo, &point.disks[0], false).unwrap() == kept);
    }
    assert_eq!(repo.points().unwrap(), [second, third]);
    assert!(store.list(Area::Condemned).unwrap().is_empty());
    assert!(store.list(Area::Sessions).unwrap().is_empty());
}

#[test]
fn a_medium_without_one_free_byte_is_forgotten_and_pruned_with_the_ballast_or_a_mebibyte() {
    if !skip::is_root() {
        return skip::skip("a_medium_without_one_free_byte", "mounting needs root");
    }
    for has_ballast in [true, false] {
        live_through_a_full(&Medium::tmpfs(96), has_ballast);
        live_through_a_full(&Medium::ext4(112), has_ballast);
    }
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
