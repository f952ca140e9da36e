//! A backup to a medium that has no room left.

#[path = "support/repo.rs"]
mod support;

use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use backstop::base::cancel::Cancel;
use backstop::error::{Error, ErrorKind, Result};
use backstop::format::commit::DiskSource;
use backstop::format::layout::Area;
use backstop::ingest::source::ImageStream;
use backstop::ingest::{BackupOptions, DiskInput, Image, back_up};
use backstop::store::Store;
use backstop::store::testing::{DamagingStore, Fault, MemoryStore};

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
