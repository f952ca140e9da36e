//! What backups and reads cost, in objects and bytes of the store.

#[path = "support/repo.rs"]
mod support;

use std::sync::Arc;

use backstop::base::units::{ChunkIndex, SliceIndex};
use backstop::format::layout::Area;
use backstop::repo::Repository;
use backstop::store::Store;
use backstop::store::testing::{CountingStore, MemoryStore, StoreCounts};

use support::{
    MIB, MemoryDisk, back_up_bytes, environment, new_repo, noise, options, source_input,
};

fn counted() -> (Arc<CountingStore<MemoryStore>>, Repository) {
    let store = Arc::new(CountingStore::new(MemoryStore::new()));
    let repo = new_repo(Arc::clone(&store) as Arc<dyn Store>);
    (store, repo)
}

fn published_bytes(counts: &StoreCounts) -> u64 {
    Area::ALL.iter().map(|area| counts.of(*area).published_bytes).sum()
}

/// Noise in 24 chunks.
fn disk() -> Vec<u8> {
    noise(24 * MIB, 1)
}

#[test]
fn a_backup_of_an_identical_disk_adds_less_than_a_hundredth_and_no_pack() {
    let (store, repo) = counted();
    let first = back_up_bytes(&repo, "vm", &disk()).unwrap();
    let first_bytes = published_bytes(&store.reset());
    let second = back_up_bytes(&repo, "vm", &disk()).unwrap();
    let counts = store.reset();
    assert!(published_bytes(&counts) * 100 < first_bytes);
    assert_eq!(counts.of(Area::Packs).publishes, 0);
    assert_eq!(counts.of(Area::Commits).publishes, 1);
    assert_eq!(repo.points().unwrap().len(), 2);
    assert_eq!(second.disks[0].map_root, first.disks[0].map_root);
    assert_eq!(second.stats.duplicate_bytes, first.stats.new_plain_bytes);
}

#[test]
fn changing_n_chunks_stores_those_chunks_and_the_touched_part_of_the_map() {
    for changed in [1usize, 5] {
        let (store, repo) = counted();
        back_up_bytes(&repo, "vm", &disk()).unwrap();
        store.reset();
        let mut bytes = disk();
        (0..changed).for_each(|n| bytes[n * 3 * MIB + 77] ^= 1);
        let point = back_up_bytes(&repo, "vm", &bytes).unwrap();
        let packs = store.reset().of(Area::Packs);
        assert_eq!(point.stats.new_plain_bytes, (changed * MIB) as u64);
        // One pack of chunks, and two copies of one pack of one map node.
        assert_eq!(packs.publishes, 3);
        let node_bytes = 2 * 40_000;
        let noise_bytes = (changed * MIB) as u64;
        assert!((noise_bytes..noise_bytes + node_bytes).contains(&packs.published_bytes));
        assert_eq!(packs.reads, 0, "a backup reads no pack");
    }
}

#[test]
fn a_small_read_of_a_cold_chunk_reads_one_head_and_one_slice() {
    let (store, repo) = counted();
    let point = back_up_bytes(&repo, "vm", &disk()).unwrap();
    let reader = repo.reader().unwrap();
    let map = repo.disk_map(&reader, &point.disks[0]);
    let chunk = map.leaf(ChunkIndex(3)).unwrap().unwrap();
    store.reset();
    reader.slice(chunk, SliceIndex(5)).unwrap();
    let packs = store.reset().of(Area::Packs);
    assert_eq!(packs.reads, 2);
    assert!(packs.read_bytes < 140 << 10, "{} bytes", packs.read_bytes);
    reader.chunk(chunk, Vec::new()).unwrap();
    assert_eq!(store.reset().of(Area::Packs).reads, 1);
}

#[test]
fn opening_a_repository_reads_its_configuration_and_no_restore_point() {
    let (store, repo) = counted();
    (0..20).for_each(|n| drop(back_up_bytes(&repo, &format!("vm{n}"), &[n; 512]).unwrap()));
    store.reset();
    let again = support::open_repo(Arc::clone(&store) as Arc<dyn Store>, environment(9)).unwrap();
    let counts = store.reset();
    // Whether there are keys to ask for is read before they are.
    let times = if support::is_encrypted() { 2 } else { 1 };
    assert_eq!(counts.of(Area::Config).reads, 3 * times);
    for area in [Area::Commits, Area::Index, Area::Packs] {
        assert_eq!((counts.of(area).reads, counts.of(area).lists), (0, 0), "{area:?}");
    }
    assert_eq!(again.points().unwrap().len(), 20);
}

#[test]
fn holes_are_not_read_from_the_source() {
    let (_, repo) = counted();
    let mut bytes = vec![0; 40 * MIB];
    bytes[7 * MIB + 100_000] = 1;
    let holes = MemoryDisk { bytes: bytes.clone(), has_holes: true };
    let inputs = vec![source_input("holes", holes)];
    let point = backstop::ingest::back_up(&repo, "holes", inputs, &options()).unwrap();
    assert_eq!(point.stats.read_bytes, 64 << 10);
    let plain = MemoryDisk { bytes, has_holes: false };
    let inputs = vec![source_input("plain", plain)];
    let same = backstop::ingest::back_up(&repo, "plain", inputs, &options()).unwrap();
    assert_eq!(same.stats.read_bytes, 40 * MIB as u64);
    assert_eq!(same.disks[0].map_root, point.disks[0].map_root);
}
