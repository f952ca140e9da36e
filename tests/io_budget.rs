//! What backups and reads cost, in objects and bytes of the store.

#[path = "support/skip.rs"]
mod skip;
#[path = "support/repo.rs"]
mod support;
#[path = "support/synthetic/mod.rs"]
mod synthetic;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use backstop::base::limits::SLICE_BYTES;
use backstop::base::units::{ChunkIndex, SliceIndex};
use backstop::format::layout::Area;
use backstop::index::lookup::Index;
use backstop::point::PointSelector;
use backstop::repo::{BackupSession, Environment, Repository};
use backstop::store::testing::{CountingStore, MemoryStore, StoreCounts};
use backstop::store::{DirStore, Store};

use skip::skip;
use synthetic::Numbers;
use synthetic::ids::Ids;
use synthetic::points::first_chunk;

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
    reader.slice(chunk, SliceIndex(5), Vec::new()).unwrap();
    let packs = store.reset().of(Area::Packs);
    assert_eq!(packs.reads, 2);
    assert!(packs.read_bytes < SLICE_BYTES as u64 + (12 << 10), "{} bytes", packs.read_bytes);
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

/// Page faults of this thread that had to wait for the medium.
fn major_faults() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
    let (_, fields) = text.rsplit_once(')').unwrap();
    fields.split_whitespace().nth(9).unwrap().parse().unwrap()
}

/// Has the kernel forget the cached pages of an index, and opens it.
fn cold_index(root: &Path) -> Index {
    for segment in std::fs::read_dir(root.join("index")).unwrap() {
        let input = format!("if={}", segment.unwrap().path().display());
        let dd = ["iflag=nocache", "count=0", "status=none", &input];
        assert!(Command::new("dd").args(dd).status().unwrap().success());
    }
    let store = DirStore::open(root).unwrap();
    let repo = Repository::open(Arc::new(store), Environment::default()).unwrap();
    Index::clone(&repo.reader().unwrap().index())
}

#[test]
fn a_cold_lookup_waits_for_a_page_or_two_and_one_that_was_announced_for_none() {
    let scratch = tempfile::tempdir().unwrap();
    let root = scratch.path().join("repository");
    let numbers = Numbers { chunks: 400_000, points: 1, vms: 1, has_packs: false };
    synthetic::make(&root, numbers).unwrap();
    let ids = Ids::new(numbers.chunks);
    let wanted: Vec<_> = (0..500).map(|n| ids.id(n * 797)).collect();
    let faults = |is_told: bool| {
        let index = cold_index(&root);
        let before = major_faults();
        if is_told {
            wanted.chunks(250).for_each(|some| index.will_need(some));
        }
        for chunk in &wanted {
            assert!(index.find_copy(*chunk, |copy| Some(*copy)).unwrap().is_some());
        }
        major_faults() - before
    };
    let one_by_one = faults(false);
    if one_by_one < 300 {
        skip(
            "a_cold_lookup_waits_for_a_page_or_two_and_one_that_was_announced_for_none",
            "the kernel does not forget cached pages here",
        );
        return;
    }
    // A page of entries each, of one segment mostly; the tables come by the half MiB.
    assert!(one_by_one < 800, "{one_by_one} for {} chunks", wanted.len());
    assert!(faults(true) < one_by_one / 4, "of {one_by_one}");
}

/// What parts of a work ask of the store, in a repository of so many times 10 restore points and
/// 4,000 chunks.
fn counts_at(times: u64) -> [StoreCounts; 3] {
    let scratch = tempfile::tempdir().unwrap();
    let root = scratch.path().join("repository");
    let (chunks, points) = (4_000 * times, 10 * times);
    synthetic::make(&root, Numbers { chunks, points, vms: 10, has_packs: false }).unwrap();
    let store = Arc::new(CountingStore::new(DirStore::open(root).unwrap()));
    let shared = Arc::clone(&store) as Arc<dyn Store>;
    let repo = Repository::open(shared, Environment::default()).unwrap();
    let reader = repo.reader().unwrap();
    assert!(reader.index().entry_count() > chunks);
    let opened = store.reset();
    let point = repo.find_point(&PointSelector::Latest { vm: "vm3".to_owned() }).unwrap();
    store.reset();
    let map = repo.disk_map(&reader, &point.disks[0]);
    let chunk = map.leaf(ChunkIndex(0)).unwrap().unwrap();
    let slice = reader.slice(chunk, SliceIndex(0), Vec::new()).unwrap();
    assert_eq!(slice.bytes(), &first_chunk()[..slice.bytes().len()]);
    let read = store.reset();
    BackupSession::begin(&repo, "vm3").unwrap().abort().unwrap();
    [opened, read, store.reset()]
}

#[test]
fn opening_reading_and_beginning_a_backup_ask_no_more_of_a_hundred_times_as_much() {
    let [opened, read, began] = counts_at(1);
    let [opened_large, read_large, began_large] = counts_at(100);
    assert_eq!(opened, opened_large);
    assert_eq!(opened.of(Area::Index).maps, 6, "five segments of chunks, one of map nodes");
    assert_eq!(opened.of(Area::Commits), Default::default());
    // Root, leaf and slice, each after its head or whole.
    let packs = |counts: &StoreCounts| counts.of(Area::Packs).reads;
    assert_eq!((packs(&read), packs(&read_large)), (4, 4));
    assert_eq!(began.of(Area::Index), began_large.of(Area::Index));
    let commits = |counts: &StoreCounts| counts.of(Area::Commits).reads;
    assert!(commits(&began) <= 10, "no commit is read twice");
    assert_eq!(commits(&began_large), 100, "those of the VM alone");
}
