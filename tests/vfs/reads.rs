//! Bytes, data and holes agree with the model, and cost what they must.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use backstop::base::limits::SLICE_BYTES;
use backstop::format::layout::Area;
use backstop::repo::Repository;
use backstop::store::Store;
use backstop::store::testing::{CountingStore, Damage, DamagingStore, Gate, MemoryStore};
use backstop::vfs::SeekKind;
use proptest::prelude::*;

use crate::support::{MIB, back_up_bytes, new_repo, noise};
use crate::{open, read, tree, tree_with};

const DISK: &str = "vms/vm/latest/disk.raw";

fn memory_repo() -> Repository {
    new_repo(Arc::new(MemoryStore::new()))
}

/// A disk of chunks that are holes, noise, noise behind zeros, or one that all disks share.
fn disk_of(kinds: &[u8], tail: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (at, kind) in kinds.iter().enumerate() {
        match kind {
            0 => bytes.extend(vec![0; MIB]),
            1 => bytes.extend(noise(MIB, at as u64 + 1)),
            2 => bytes.extend([vec![0; MIB / 2], noise(MIB / 2, at as u64 + 1)].concat()),
            _ => bytes.extend(b"the same everywhere ".repeat(MIB / 20 + 1)[..MIB].iter()),
        }
    }
    bytes.extend(noise(tail, 77));
    bytes
}

/// Where the next data or hole of `bytes` begins, by whole chunks.
fn model_seek(bytes: &[u8], offset: usize, kind: SeekKind) -> Option<u64> {
    let is_hole =
        |at: usize| bytes[at * MIB..bytes.len().min((at + 1) * MIB)].iter().all(|b| *b == 0);
    let mut at = offset / MIB;
    if offset >= bytes.len() {
        return None;
    }
    while at * MIB < bytes.len() {
        if is_hole(at) == (kind == SeekKind::Hole) {
            return Some(offset.max(at * MIB) as u64);
        }
        at += 1;
    }
    (kind == SeekKind::Hole).then_some(bytes.len() as u64)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn reads_and_searches_anywhere_agree_with_the_disk(
        kinds in prop::collection::vec(0u8..4, 0..6),
        tail in prop_oneof![Just(0usize), 1usize..MIB],
        cache_bytes in prop_oneof![Just(0usize), Just(3 * MIB), Just(64 * MIB)],
        reads in prop::collection::vec(
            (any::<prop::sample::Index>(), prop_oneof![1usize..5000, 1usize..2 * MIB]), 1..25),
    ) {
        let bytes = disk_of(&kinds, tail);
        let repo = memory_repo();
        back_up_bytes(&repo, "vm", &bytes).unwrap();
        let tree = tree_with(&repo, cache_bytes, 2);
        let handle = open(&tree, DISK);
        for (at, size) in reads {
            let start = at.index(bytes.len() + 10);
            let wanted = &bytes[start.min(bytes.len())..(start + size).min(bytes.len())];
            prop_assert!(read(&tree, handle, start as u64, size).unwrap() == wanted);
            for kind in [SeekKind::Data, SeekKind::Hole] {
                let found = tree.seek(handle, start as u64, kind).unwrap();
                prop_assert_eq!(found, model_seek(&bytes, start, kind), "{:?} at {}", kind, start);
            }
        }
        prop_assert_eq!(read(&tree, handle, u64::MAX, 10).unwrap(), b"");
        prop_assert_eq!(tree.seek(handle, u64::MAX, SeekKind::Data).unwrap(), None);
    }
}

#[test]
fn a_reader_in_order_gets_the_disk_whatever_its_pieces_and_the_read_ahead() {
    let bytes = disk_of(&[1, 0, 1, 2, 3, 1, 0, 0, 1, 1, 2], 12_345);
    let repo = memory_repo();
    back_up_bytes(&repo, "vm", &bytes).unwrap();
    for (piece, threads, cache) in [(MIB, 2, 64), (100_000, 2, 4), (128 << 10, 0, 0)] {
        let tree = tree_with(&repo, cache * MIB, threads);
        let handle = open(&tree, DISK);
        let mut all = Vec::new();
        while all.len() < bytes.len() {
            all.extend(read(&tree, handle, all.len() as u64, piece).unwrap());
        }
        assert!(all == bytes, "pieces of {piece} bytes");
    }
}

#[test]
fn many_readers_of_one_open_file_all_read_the_same_disk() {
    let bytes = disk_of(&[1, 1, 0, 2, 1, 3, 3, 1], 5000);
    let repo = memory_repo();
    back_up_bytes(&repo, "vm", &bytes).unwrap();
    let tree = tree_with(&repo, 4 * MIB, 2);
    let handle = open(&tree, DISK);
    thread::scope(|scope| {
        for reader in 0..8u64 {
            let (tree, bytes) = (&tree, &bytes);
            scope.spawn(move || {
                for n in 0..60u64 {
                    let place = (n * 7919 + reader * 104_729) * 4801 % bytes.len() as u64;
                    let size = [4096, 70_000, MIB][(n % 3) as usize];
                    let end = bytes.len().min(place as usize + size);
                    let got = read(tree, handle, place, size).unwrap();
                    assert!(got == bytes[place as usize..end], "{reader} {n}");
                }
            });
        }
    });
}

fn counted(bytes: &[u8]) -> (Arc<CountingStore<MemoryStore>>, Repository) {
    let store = Arc::new(CountingStore::new(MemoryStore::new()));
    let repo = new_repo(Arc::clone(&store) as Arc<dyn Store>);
    back_up_bytes(&repo, "vm", bytes).unwrap();
    (store, repo)
}

#[test]
fn a_small_read_costs_one_head_and_one_slice_and_then_nothing() {
    let (store, repo) = counted(&noise(8 * MIB, 3));
    let tree = tree(&repo);
    let handle = open(&tree, DISK);
    // Brings in the index and the disk map.
    read(&tree, handle, 0, 4096).unwrap();
    store.reset();
    read(&tree, handle, 5 * MIB as u64 + 4096, 4096).unwrap();
    let cold = store.reset();
    assert_eq!(cold.of(Area::Packs).reads, 2);
    assert!(cold.of(Area::Packs).read_bytes < SLICE_BYTES as u64 + (12 << 10));
    read(&tree, handle, 5 * MIB as u64 + SLICE_BYTES as u64 / 2, 4096).unwrap();
    assert_eq!(store.reset().of(Area::Packs).reads, 0, "the slice is kept");
}

#[test]
fn a_hole_is_read_without_the_store() {
    let mut bytes = noise(4 * MIB, 3);
    bytes[MIB..3 * MIB].fill(0);
    let (store, repo) = counted(&bytes);
    let tree = tree(&repo);
    let handle = open(&tree, DISK);
    read(&tree, handle, 0, 4096).unwrap();
    store.reset();
    let zeros = read(&tree, handle, MIB as u64 + MIB as u64 / 2, MIB).unwrap();
    assert!(zeros == vec![0; MIB]);
    let counts = store.reset();
    assert!(Area::ALL.iter().all(|area| counts.of(*area).reads == 0));
}

#[test]
fn a_reader_in_order_reads_each_chunk_once_and_whole() {
    let (store, repo) = counted(&noise(8 * MIB, 3));
    let tree = tree_with(&repo, 64 * MIB, 2);
    let handle = open(&tree, DISK);
    read(&tree, handle, 7 * MIB as u64, 1).unwrap();
    store.reset();
    for n in 0..64 {
        read(&tree, handle, n * (MIB as u64 / 8), MIB / 8).unwrap();
    }
    let packs = store.reset().of(Area::Packs);
    // The first request is not yet known to be in order: a head and a slice, twice.
    assert_eq!(packs.reads, 8 + 4);
}

#[test]
fn readers_that_want_one_chunk_at_the_same_time_decode_it_once() {
    let store = Arc::new(DamagingStore::new(CountingStore::new(MemoryStore::new())));
    let repo = new_repo(Arc::clone(&store) as Arc<dyn Store>);
    back_up_bytes(&repo, "vm", &noise(MIB, 3)).unwrap();
    let tree = tree(&repo);
    let handle = open(&tree, DISK);
    tree.seek(handle, 0, SeekKind::Data).unwrap();
    let gate = Gate::default();
    for pack in store.list(Area::Packs).unwrap() {
        store.damage(&pack, Damage::Gated(gate.clone()));
    }
    store.inner().reset();
    thread::scope(|scope| {
        let readers: Vec<_> =
            (0..6).map(|_| scope.spawn(|| read(&tree, handle, 0, MIB).unwrap().len())).collect();
        gate.wait_for(1);
        thread::sleep(Duration::from_millis(50));
        gate.open();
        assert!(readers.into_iter().all(|reader| reader.join().unwrap() == MIB));
    });
    assert_eq!(store.inner().reset().of(Area::Packs).reads, 1);
}

#[test]
fn a_read_does_not_wait_for_an_unrelated_one() {
    let store = Arc::new(DamagingStore::new(MemoryStore::new()));
    let repo = new_repo(Arc::clone(&store) as Arc<dyn Store>);
    back_up_bytes(&repo, "vm", &noise(MIB, 3)).unwrap();
    let slow: Vec<_> = store.list(Area::Packs).unwrap();
    back_up_bytes(&repo, "other", &noise(MIB, 4)).unwrap();
    let tree = tree(&repo);
    let handles = ["vms/vm/latest/disk.raw", "vms/other/latest/disk.raw"].map(|p| open(&tree, p));
    for handle in handles {
        tree.seek(handle, 0, SeekKind::Data).unwrap();
    }
    let gate = Gate::default();
    slow.iter().for_each(|pack| store.damage(pack, Damage::Gated(gate.clone())));
    thread::scope(|scope| {
        let waiting = scope.spawn(|| read(&tree, handles[0], 0, MIB).map(|bytes| bytes.len()));
        gate.wait_for(1);
        let began = Instant::now();
        assert!(read(&tree, handles[1], 0, MIB).unwrap() == noise(MIB, 4));
        assert_eq!(crate::names(&tree, "vms/vm/latest").len(), 4);
        assert!(began.elapsed() < Duration::from_secs(10));
        gate.open();
        assert_eq!(waiting.join().unwrap().unwrap(), MIB);
    });
}

#[test]
fn reading_ahead_does_not_wait_for_a_chunk_that_somebody_else_decodes() {
    let store = Arc::new(DamagingStore::new(CountingStore::new(MemoryStore::new())));
    let repo = new_repo(Arc::clone(&store) as Arc<dyn Store>);
    let shared = noise(MIB, 3);
    back_up_bytes(&repo, "other", &shared).unwrap();
    let slow = store.list(Area::Packs).unwrap();
    back_up_bytes(&repo, "vm", &[noise(MIB, 4), shared, noise(MIB, 5)].concat()).unwrap();
    let tree = tree_with(&repo, 64 * MIB, 1);
    let [other, vm] = ["vms/other/latest/disk.raw", DISK].map(|path| open(&tree, path));
    for handle in [other, vm] {
        tree.seek(handle, 0, SeekKind::Data).unwrap();
    }
    let gate = Gate::default();
    slow.iter().for_each(|pack| store.damage(pack, Damage::Gated(gate.clone())));
    thread::scope(|scope| {
        let waiting = scope.spawn(|| read(&tree, other, 0, MIB).map(|bytes| bytes.len()));
        gate.wait_for(1);
        store.inner().reset();
        read(&tree, vm, 0, MIB).unwrap();
        let began = Instant::now();
        // The chunk that was read, and the one behind the one that is being decoded.
        while store.inner().counts().of(Area::Packs).reads < 2 {
            if began.elapsed() > Duration::from_secs(10) {
                gate.open();
                panic!("nothing was read ahead");
            }
            thread::sleep(Duration::from_millis(1));
        }
        gate.open();
        assert_eq!(waiting.join().unwrap().unwrap(), MIB);
    });
}

/// Opens gates when it is dropped, so that a test that fails ends.
struct Opened<'a>(&'a [Gate]);

impl Drop for Opened<'_> {
    fn drop(&mut self) {
        self.0.iter().for_each(Gate::open);
    }
}

#[test]
fn chunks_are_read_ahead_while_those_of_another_disk_are_held_up() {
    let store = Arc::new(DamagingStore::new(MemoryStore::new()));
    let repo = new_repo(Arc::clone(&store) as Arc<dyn Store>);
    back_up_bytes(&repo, "vm", &noise(20 * MIB, 3)).unwrap();
    let held = store.list(Area::Packs).unwrap();
    back_up_bytes(&repo, "other", &noise(36 * MIB, 4)).unwrap();
    let tree = tree_with(&repo, 64 * MIB, 2);
    let handles = ["vms/vm/latest/disk.raw", "vms/other/latest/disk.raw"].map(|p| open(&tree, p));
    for handle in handles {
        tree.seek(handle, 0, SeekKind::Hole).unwrap();
    }
    let gates = [Gate::default(), Gate::default()];
    held.iter().for_each(|pack| store.damage(pack, Damage::Gated(gates[0].clone())));
    thread::scope(|scope| {
        let _opened = Opened(&gates);
        let waiting = scope.spawn(|| read(&tree, handles[0], 0, MIB).map(|bytes| bytes.len()));
        // The reader, and both threads that read ahead. Eight chunks are wanted of this disk.
        gates[0].wait_for(3);
        for n in 0..16 {
            thread::sleep(Duration::from_millis(100));
            read(&tree, handles[1], n * MIB as u64, MIB).unwrap();
        }
        let others = store.list(Area::Packs).unwrap();
        let others = others.iter().filter(|pack| !held.contains(pack));
        others.for_each(|pack| store.damage(pack, Damage::Gated(gates[1].clone())));
        let ahead = scope.spawn(|| read(&tree, handles[1], 32 * MIB as u64, MIB));
        gates[1].wait_for(3);
        gates.iter().for_each(Gate::open);
        assert!(ahead.join().unwrap().unwrap() == noise(36 * MIB, 4)[32 * MIB..33 * MIB]);
        assert_eq!(waiting.join().unwrap().unwrap(), MIB);
    });
}
