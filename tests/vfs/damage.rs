//! Damage is an error that names it, told once, and hurts nothing beside it.

use std::sync::Arc;

use backstop::base::limits::SLICE_BYTES;
use backstop::base::units::ChunkIndex;
use backstop::error::ErrorKind;
use backstop::format::commit::PointRecord;
use backstop::format::layout::{Area, ObjectName};
use backstop::monitor::RecordingMonitor;
use backstop::repo::Repository;
use backstop::store::Store;
use backstop::store::testing::{CountingStore, Damage, DamagingStore, MemoryStore};

use crate::support::{MIB, back_up_bytes, noise, watched};
use crate::{open, read, tree, tree_with};

const DISK: &str = "vms/vm/latest/disk.raw";

struct Bench {
    store: Arc<DamagingStore<CountingStore<MemoryStore>>>,
    monitor: Arc<RecordingMonitor>,
    repo: Repository,
    bytes: Vec<u8>,
    point: PointRecord,
}

impl Bench {
    /// Four chunks of noise in one pack.
    fn new() -> Self {
        let store = Arc::new(DamagingStore::new(CountingStore::new(MemoryStore::new())));
        let monitor = Arc::new(RecordingMonitor::default());
        let environment = watched(1, Arc::clone(&monitor) as _);
        let repo =
            crate::support::create_repo(Arc::clone(&store) as Arc<dyn Store>, environment).unwrap();
        let bytes = noise(4 * MIB, 1);
        let point = back_up_bytes(&repo, "vm", &bytes).unwrap();
        Self { store, monitor, repo, bytes, point }
    }

    /// Flips a bit of the stored byte that lies `inside` the chunk's plain bytes. Noise is stored
    /// as it is, so the place can be told.
    fn damage_chunk(&self, index: u64, inside: u64) {
        let reader = self.repo.reader().unwrap();
        let map = self.repo.disk_map(&reader, &self.point.disks[0]);
        let chunk = map.leaf(ChunkIndex(index)).unwrap().unwrap();
        let location = reader.index().locations(chunk).unwrap()[0];
        let head_len = u64::from(location.entry_len - location.plain_len);
        let offset_bytes = u64::from(location.offset) + head_len + inside;
        let pack = ObjectName::pack(location.pack);
        self.store.damage(&pack, Damage::FlippedBit { offset_bytes, bit: 0 });
    }

    fn problems(&self) -> Vec<String> {
        self.monitor.recorded().problems
    }
}

#[test]
fn a_damaged_slice_fails_and_is_told_once_with_vm_time_disk_offset_and_chunk() {
    let bench = Bench::new();
    bench.damage_chunk(2, 3 * SLICE_BYTES as u64 + 5);
    let tree = tree_with(&bench.repo, 64 * MIB, 2);
    let handle = open(&tree, DISK);
    let bad = 2 * MIB as u64 + 3 * SLICE_BYTES as u64;
    for at in 0..4 * MIB as u64 / 4096 {
        let offset = at * 4096;
        let got = read(&tree, handle, offset, 4096);
        let is_bad = (bad..bad + SLICE_BYTES as u64).contains(&offset);
        match got {
            Ok(got) => assert!(!is_bad && got == bench.bytes[offset as usize..][..4096], "{at}"),
            Err(error) => assert!(is_bad && error.kind() == ErrorKind::Corrupt, "{at}: {error:?}"),
        }
    }
    let whole = read(&tree, handle, 2 * MIB as u64, MIB).unwrap_err();
    assert_eq!(whole.kind(), ErrorKind::Corrupt);
    let problems = bench.problems();
    assert_eq!(problems.len(), 1, "{problems:#?}");
    let time = bench.point.time.to_string();
    let chunk = whole.chunk_id().unwrap().to_string();
    for word in ["\"vm\"", &time, "\"disk\"", "at byte 2097152", &chunk, "packs/"] {
        assert!(problems[0].contains(word), "{word} in {problems:?}");
    }
}

#[test]
fn a_chunk_that_failed_is_not_read_again_for_every_page() {
    let bench = Bench::new();
    bench.damage_chunk(1, 0);
    let tree = tree(&bench.repo);
    let handle = open(&tree, DISK);
    read(&tree, handle, MIB as u64, MIB).unwrap_err();
    bench.store.inner().reset();
    for page in 0..SLICE_BYTES as u64 / 4096 {
        read(&tree, handle, MIB as u64 + page * 4096, 4096).unwrap_err();
    }
    assert_eq!(bench.store.inner().reset().of(Area::Packs).reads, 0);
}

#[test]
fn a_missing_pack_fails_what_lies_in_it_and_nothing_else() {
    let bench = Bench::new();
    let old: Vec<_> = bench.store.list(Area::Packs).unwrap();
    let mut bytes = bench.bytes.clone();
    bytes[MIB..2 * MIB].copy_from_slice(&noise(MIB, 9));
    back_up_bytes(&bench.repo, "vm", &bytes).unwrap();
    old.iter().for_each(|pack| bench.store.damage(pack, Damage::Missing));
    let tree = tree(&bench.repo);
    let handle = open(&tree, DISK);
    assert!(read(&tree, handle, MIB as u64, MIB).unwrap() == noise(MIB, 9));
    let error = read(&tree, handle, 2 * MIB as u64, MIB).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
}

#[test]
fn a_damaged_disk_map_fails_its_disk_and_the_listing_goes_on() {
    let bench = Bench::new();
    let reader = bench.repo.reader().unwrap();
    let locations = reader.index().locations(bench.point.disks[0].map_root).unwrap();
    assert_eq!(locations.len(), 2);
    for location in &locations {
        bench.store.damage(&ObjectName::pack(location.pack), Damage::Missing);
    }
    let tree = tree(&bench.repo);
    let handle = open(&tree, DISK);
    for offset in [0, 4096, MIB as u64] {
        assert_eq!(read(&tree, handle, offset, 4096).unwrap_err().kind(), ErrorKind::Corrupt);
    }
    assert_eq!(crate::names(&tree, "vms/vm/latest").len(), 4);
    let problems = bench.problems();
    assert_eq!(problems.len(), 2, "one for each chunk that was read: {problems:#?}");
}
