//! Restoring disks: to files, to devices and to streams.

#[path = "support/loop_device.rs"]
mod loop_device;
#[path = "support/repo.rs"]
mod repo;
#[path = "support/skip.rs"]
mod skip;

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use backstop::base::cancel::Cancel;
use backstop::base::units::ChunkIndex;
use backstop::error::{Error, ErrorKind, Result};
use backstop::format::commit::DiskRecord;
use backstop::format::layout::ObjectName;
use backstop::monitor::RecordingMonitor;
use backstop::repo::Repository;
use backstop::restore::{ImageSink, RestoreOptions, RestoreReport, Target, restore_disk};
use backstop::store::testing::{Damage, DamagingStore, MemoryStore};

use crate::loop_device::LoopDevice;
use crate::repo::{MIB, back_up_bytes, new_repo, noise, watched};

fn options() -> RestoreOptions {
    RestoreOptions { threads: 3, force: false, cancel: Cancel::default() }
}

fn force() -> RestoreOptions {
    RestoreOptions { force: true, ..options() }
}

fn to_path(repo: &Repository, disk: &DiskRecord, path: &Path) -> Result<RestoreReport> {
    restore_disk(repo, disk, Target::Path(path.to_owned()), &options())
}

fn stored(bytes: &[u8]) -> (Repository, DiskRecord) {
    let repo = new_repo(Arc::new(MemoryStore::new()));
    let disk = back_up_bytes(&repo, "vm", bytes).unwrap().disks.remove(0);
    (repo, disk)
}

/// Noise of that length with some chunks, and some parts of chunks, that are zero.
fn mixed(len: usize) -> Vec<u8> {
    let mut bytes = noise(len, len as u64);
    for (number, chunk) in bytes.chunks_mut(MIB).enumerate() {
        match number % 4 {
            1 => chunk.fill(0),
            2 => {
                let half = chunk.len() / 2;
                chunk[half..].fill(0);
            }
            _ => {}
        }
    }
    bytes
}

/// Many chunks, few of them with data, so that the map has two levels.
fn sparse() -> Vec<u8> {
    let mut bytes = vec![0; 300 * MIB + 12_345];
    for (number, index) in [0, 70, 255, 256, 299].into_iter().enumerate() {
        bytes[index * MIB..][..MIB].copy_from_slice(&noise(MIB, number as u64));
    }
    bytes
}

#[test]
fn a_restored_file_is_the_disk_whatever_its_shape() {
    let temp = tempfile::tempdir().unwrap();
    let lengths = [0, 1, 511, MIB - 1, MIB, MIB + 1, 9 * MIB + 77];
    let mut disks: Vec<_> = lengths.iter().map(|len| mixed(*len)).collect();
    disks.extend([vec![0; 3 * MIB + 5], vec![7; 5 * MIB], sparse()]);
    for (number, bytes) in disks.iter().enumerate() {
        let (repo, disk) = stored(bytes);
        let path = temp.path().join(number.to_string());
        let report = to_path(&repo, &disk, &path).unwrap();
        assert!(fs::read(&path).unwrap() == *bytes, "disk {number}");
        assert_eq!(report.size_bytes(), bytes.len() as u64);
        assert_eq!(report.map_root, disk.map_root);
        let zero = bytes.chunks(MIB).filter(|chunk| chunk.iter().all(|byte| *byte == 0));
        assert_eq!(report.zero_bytes, zero.map(|chunk| chunk.len() as u64).sum::<u64>());
    }
}

#[test]
fn a_restored_file_has_holes_where_the_disk_is_zero() {
    let temp = tempfile::tempdir().unwrap();
    let (repo, disk) = stored(&sparse());
    let path = temp.path().join("disk.raw");
    to_path(&repo, &disk, &path).unwrap();
    let about = path.metadata().unwrap();
    assert_eq!(about.len(), disk.size_bytes);
    let stored_bytes = about.blocks() * 512;
    assert!(stored_bytes < 6 * MIB as u64, "{stored_bytes} bytes are stored");
    assert_eq!(about.mode() & 0o777, 0o600);
}

#[test]
fn nothing_is_overwritten_unless_that_is_asked_for() {
    let temp = tempfile::tempdir().unwrap();
    let bytes = mixed(2 * MIB);
    let (repo, disk) = stored(&bytes);
    let path = temp.path().join("disk.raw");
    fs::write(&path, vec![0xff; 4 * MIB]).unwrap();
    let error = to_path(&repo, &disk, &path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    assert!(fs::read(&path).unwrap() == vec![0xff; 4 * MIB]);
    restore_disk(&repo, &disk, Target::Path(path.clone()), &force()).unwrap();
    assert!(fs::read(&path).unwrap() == bytes);
}

/// Two chunks, the second of which reads with a flipped bit.
fn damaged() -> (DamagingStore<MemoryStore>, Repository, DiskRecord) {
    let store = DamagingStore::new(MemoryStore::new());
    let repo = new_repo(Arc::new(store.clone()));
    let disk = back_up_bytes(&repo, "vm", &noise(2 * MIB, 5)).unwrap().disks.remove(0);
    let reader = repo.reader().unwrap();
    let chunk = repo.disk_map(&reader, &disk).leaf(ChunkIndex(1)).unwrap().unwrap();
    let location = reader.index().locations(chunk).unwrap()[0];
    let offset_bytes = u64::from(location.offset) + 5000;
    store.damage(&ObjectName::pack(location.pack), Damage::FlippedBit { offset_bytes, bit: 3 });
    (store, repo, disk)
}

#[test]
fn a_damaged_chunk_ends_the_restore_with_its_place_and_no_file_is_left() {
    let temp = tempfile::tempdir().unwrap();
    let (store, repo, disk) = damaged();
    let path = temp.path().join("disk.raw");
    let error = to_path(&repo, &disk, &path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("byte 1048576 of disk \"disk\""), "{error}");
    assert!(error.chunk_id().is_some());
    assert!(!path.exists());
    store.heal();
    to_path(&repo, &disk, &path).unwrap();
}

#[test]
fn a_disk_whose_map_is_lost_leaves_the_target_as_it_is() {
    let temp = tempfile::tempdir().unwrap();
    let (repo, mut disk) = stored(&mixed(MIB));
    disk.map_root = disk.map_root.to_string().replace(['0', '1'], "7").parse().unwrap();
    let path = temp.path().join("disk.raw");
    fs::write(&path, b"old").unwrap();
    let error = restore_disk(&repo, &disk, Target::Path(path.clone()), &force()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert_eq!(fs::read(&path).unwrap(), b"old");
}

#[test]
fn a_record_of_another_length_than_the_map_is_corrupt() {
    let (repo, disk) = stored(&noise(3 * MIB, 1));
    let temp = tempfile::tempdir().unwrap();
    for size_bytes in [0, 3 * MIB as u64 - 1, 2 * MIB as u64, 257 * MIB as u64] {
        let disk = DiskRecord { size_bytes, ..disk.clone() };
        let error = to_path(&repo, &disk, &temp.path().join("disk.raw")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{size_bytes}");
    }
}

#[derive(Clone, Default)]
struct Out(Arc<Mutex<Vec<u8>>>);

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_stream_gets_the_bytes_in_order() {
    for bytes in [Vec::new(), mixed(20 * MIB + 3), vec![0; 130 * MIB + 1]] {
        let (repo, disk) = stored(&bytes);
        for threads in [1, 8] {
            let out = Out::default();
            let options = RestoreOptions { threads, ..options() };
            restore_disk(&repo, &disk, Target::Stream(Box::new(out.clone())), &options).unwrap();
            assert!(*out.0.lock().unwrap() == bytes, "{threads} threads");
        }
    }
}

#[test]
fn a_stream_whose_reader_goes_away_ends_the_restore() {
    let (repo, disk) = stored(&mixed(20 * MIB));
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let target = Target::Stream(Box::new(writer));
    let error = restore_disk(&repo, &disk, target, &options()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
}

#[test]
fn a_damaged_chunk_ends_a_stream_before_that_chunk() {
    let (_store, repo, disk) = damaged();
    let out = Out::default();
    let target = Target::Stream(Box::new(out.clone()));
    assert!(restore_disk(&repo, &disk, target, &options()).is_err());
    assert!(out.0.lock().unwrap().len() <= MIB);
}

/// Counts bytes, and does something of its own at each write.
struct Sink<F> {
    bytes: AtomicU64,
    act: F,
}

impl<F: Fn(u64) -> Result<()> + Send + Sync> ImageSink for Sink<F> {
    fn write_at(&self, offset_bytes: u64, bytes: &[u8]) -> Result<()> {
        self.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        (self.act)(offset_bytes)
    }

    fn zero(&self, offset_bytes: u64, _len_bytes: u64) -> Result<()> {
        (self.act)(offset_bytes)
    }

    fn finish(&self) -> Result<()> {
        Ok(())
    }

    fn needs_order(&self) -> bool {
        true
    }
}

fn sink(act: impl Fn(u64) -> Result<()> + Send + Sync + 'static) -> Target {
    Target::Sink(Box::new(Sink { bytes: AtomicU64::new(0), act }))
}

#[test]
fn a_request_to_end_and_a_full_target_end_the_restore_at_once() {
    let (repo, disk) = stored(&mixed(30 * MIB));
    let cancel = Cancel::default();
    let request = cancel.clone();
    let target = sink(move |offset| {
        assert!(offset < 16 * MIB as u64, "the end was asked for long ago");
        request.request();
        Ok(())
    });
    let options = RestoreOptions { cancel, ..options() };
    let error = restore_disk(&repo, &disk, target, &options).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    let target = sink(|offset| match offset {
        0 => Ok(()),
        _ => Err(Error::new(ErrorKind::Full, "no room")),
    });
    let error = restore_disk(&repo, &disk, target, &force()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Full);
}

#[test]
fn progress_adds_up_to_the_length_of_the_disk() {
    let monitor = Arc::new(RecordingMonitor::default());
    let store = Arc::new(MemoryStore::new());
    let disk = back_up_bytes(&new_repo(store.clone()), "vm", &sparse()).unwrap().disks.remove(0);
    let repo = repo::open_repo(store, watched(2, monitor.clone())).unwrap();
    restore_disk(&repo, &disk, Target::Stream(Box::new(io::sink())), &options()).unwrap();
    let recorded = monitor.recorded();
    assert_eq!(recorded.advanced_bytes, disk.size_bytes);
    assert_eq!(recorded.phases, ["disk", "finishing"]);
    assert_eq!(recorded.problems, [""; 0]);
}

#[test]
fn a_block_device_gets_the_disk_and_its_zeros() {
    let test = "a_block_device_gets_the_disk_and_its_zeros";
    let bytes = mixed(9 * MIB + 7777);
    let (repo, disk) = stored(&bytes);
    let old = vec![0xee; 12 * MIB];
    let device = match LoopDevice::new(&old) {
        Ok(device) => device,
        Err(reason) => return skip::skip(test, &reason),
    };
    let error = to_path(&repo, &disk, device.path()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    assert!(device.read() == old);
    restore_disk(&repo, &disk, Target::Path(device.path().to_owned()), &force()).unwrap();
    let found = device.read();
    assert!(found[..bytes.len()] == bytes);
    assert!(found[bytes.len()..] == old[bytes.len()..], "what lies beyond the disk is kept");
    let (repo, disk) = stored(&vec![0; 12 * MIB + 1]);
    let target = Target::Path(device.path().to_owned());
    let error = restore_disk(&repo, &disk, target, &force()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(device.read() == found, "a device that is too small is not touched");
}

#[test]
fn a_device_in_use_is_refused_as_busy() {
    let test = "a_device_in_use_is_refused_as_busy";
    let (repo, disk) = stored(&mixed(MIB));
    let device = match LoopDevice::new(&vec![1; 2 * MIB]) {
        Ok(device) => device,
        Err(reason) => return skip::skip(test, &reason),
    };
    let user = device.open_exclusive();
    let target = || Target::Path(device.path().to_owned());
    let error = restore_disk(&repo, &disk, target(), &force()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    assert!(device.read() == vec![1; 2 * MIB]);
    drop(user);
    restore_disk(&repo, &disk, target(), &force()).unwrap();
}
