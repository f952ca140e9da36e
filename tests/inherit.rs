//! Disks that inherit from the restore point before, against the obvious model: the bytes.

#[path = "support/repo.rs"]
mod support;

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use backstop::base::id::SessionId;
use backstop::base::units::ChunkIndex;
use backstop::error::{Error, ErrorKind, Result};
use backstop::format::commit::PointRecord;
use backstop::format::layout::{Area, ObjectName};
use backstop::format::lists::{Condemned, Damaged, DamagedCopy};
use backstop::ingest::source::{Extent, ExtentKind, ImageSource, RunReader};
use backstop::ingest::{BackupRun, DiskInput, PointFacts};
use backstop::repo::Repository;
use backstop::store::Store;
use backstop::store::testing::MemoryStore;
use proptest::prelude::*;

use support::{MIB, back_up_bytes, new_repo, noise, options, read_back, source_input};

/// A disk of which it is known what changed; notes what is read.
#[derive(Clone)]
struct TrackedDisk {
    bytes: Vec<u8>,
    extents: Vec<(Range<usize>, ExtentKind)>,
    readers: usize,
    runs_fail_after: usize,
    read: Arc<Mutex<Vec<Range<usize>>>>,
    running: Arc<AtomicUsize>,
}

impl TrackedDisk {
    fn new(bytes: Vec<u8>, extents: Vec<(Range<usize>, ExtentKind)>, readers: usize) -> Self {
        let read = Arc::default();
        let running = Arc::default();
        Self { bytes, extents, readers, runs_fail_after: usize::MAX, read, running }
    }

    /// Bytes that were read, and of which kind they were.
    fn read_of(&self, wanted: ExtentKind) -> usize {
        let read = self.read.lock().unwrap();
        let overlap = |a: &Range<usize>, b: &Range<usize>| {
            a.end.min(b.end).saturating_sub(a.start.max(b.start))
        };
        let of = |range: &Range<usize>| -> usize {
            let kinds = self.extents.iter().filter(|(_, kind)| *kind == wanted);
            kinds.map(|(extent, _)| overlap(extent, range)).sum()
        };
        read.iter().map(of).sum()
    }
}

impl ImageSource for TrackedDisk {
    fn size_bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn extent_at(&self, offset_bytes: u64) -> Result<Extent> {
        let at = offset_bytes as usize;
        let (range, kind) =
            self.extents.iter().find(|(range, _)| range.contains(&at)).unwrap().clone();
        Ok(Extent { len_bytes: (range.end - at) as u64, kind })
    }

    fn read_at(&self, offset_bytes: u64, out: &mut [u8]) -> Result<()> {
        let start = offset_bytes as usize;
        let range = start..start + out.len();
        self.read.lock().unwrap().push(range.clone());
        out.copy_from_slice(&self.bytes[range]);
        Ok(())
    }

    fn readers(&self) -> usize {
        self.readers
    }

    fn open_run(&self, offset_bytes: u64, len_bytes: u64) -> Option<Box<dyn RunReader + '_>> {
        self.running.fetch_add(1, Ordering::SeqCst);
        let at = offset_bytes as usize;
        Some(Box::new(TrackedRun { disk: self, at, end: at + len_bytes as usize }))
    }

    fn finish(&self) -> Result<()> {
        Ok(())
    }
}

struct TrackedRun<'a> {
    disk: &'a TrackedDisk,
    at: usize,
    end: usize,
}

impl RunReader for TrackedRun<'_> {
    fn read_exact(&mut self, out: &mut [u8]) -> Result<()> {
        assert!(self.at + out.len() <= self.end, "a run is not read beyond its end");
        if self.disk.read.lock().unwrap().len() >= self.disk.runs_fail_after {
            return Err(Error::new(ErrorKind::Source, "the cable was pulled"));
        }
        self.disk.read_at(self.at as u64, out)?;
        self.at += out.len();
        Ok(())
    }
}

/// Backs up a disk that inherits from the newest restore point.
fn back_up_from_parent(repo: &Repository, disk: &TrackedDisk) -> Result<PointRecord> {
    let mut run = BackupRun::begin(repo, "vm", &options())?;
    let parent = run.parent_points().last().map(|point| run.parent_disk(&point.disks[0]));
    let input = source_input("disk", disk.clone());
    let input = DiskInput { parent: parent.transpose()?, ..input };
    match run.store_disk(input) {
        Ok(()) => run.commit(PointFacts::default()),
        Err(error) => {
            run.abort();
            Err(error)
        }
    }
}

/// A change of a disk, by its place and length in 512-byte sectors, and what it becomes.
#[derive(Debug, Clone, Copy)]
enum Change {
    Write { at: usize, len: usize, seed: u64 },
    Zero { at: usize, len: usize },
}

const SECTOR: usize = 512;

/// The changed disk, and its extents as a tracker that knows of all changes tells them.
fn changed(old: &[u8], size: usize, changes: &[Change]) -> TrackedDisk {
    let mut bytes = old.to_vec();
    bytes.resize(size, 0);
    let mut kinds = vec![ExtentKind::Unchanged; size.div_ceil(SECTOR)];
    for change in changes {
        let (at, len) = match change {
            Change::Write { at, len, .. } | Change::Zero { at, len } => (*at, *len),
        };
        let first = at.min(kinds.len());
        let last = (at + len).min(kinds.len());
        let range = (first * SECTOR).min(size)..(last * SECTOR).min(size);
        match change {
            Change::Write { seed, .. } => {
                let fresh = noise(range.len(), *seed);
                bytes[range].copy_from_slice(&fresh);
                kinds[first..last].fill(ExtentKind::Data);
            }
            Change::Zero { .. } => {
                bytes[range].fill(0);
                kinds[first..last].fill(ExtentKind::Zero);
            }
        }
    }
    let mut extents: Vec<(Range<usize>, ExtentKind)> = Vec::new();
    for (sector, kind) in kinds.into_iter().enumerate() {
        let range = sector * SECTOR..((sector + 1) * SECTOR).min(size);
        match extents.last_mut() {
            Some((last, before)) if *before == kind => last.end = range.end,
            _ => extents.push((range, kind)),
        }
    }
    TrackedDisk::new(bytes, extents, 0)
}

fn change() -> impl Strategy<Value = Change> {
    let place = (0usize..4 * MIB / SECTOR, prop_oneof![1usize..40, 1usize..5000]);
    prop_oneof![
        (place.clone(), any::<u64>()).prop_map(|((at, len), seed)| Change::Write { at, len, seed }),
        place.prop_map(|(at, len)| Change::Zero { at, len }),
    ]
}

/// Makes some copies of the repository unusable for new restore points.
fn spoil(repo: &Repository, condemn: bool, damage: &BTreeSet<u64>) {
    let store = repo.store();
    let point = repo.points().unwrap().pop().unwrap();
    let reader = repo.reader().unwrap();
    let map = repo.disk_map(&reader, &point.disks[0]);
    let mut copies = Vec::new();
    for leaf in map.leaves(ChunkIndex(0)) {
        let (index, chunk) = leaf.unwrap();
        if damage.contains(&index.0) {
            let locations = reader.index().locations(chunk).unwrap();
            copies.extend(locations.iter().map(|l| DamagedCopy { pack: l.pack, chunk }));
        }
    }
    let damaged = Damaged { copies, missing_packs: Vec::new() };
    let name = ObjectName::damaged(SessionId::from_bytes([8; 16]));
    let _created = store.create(&name, &damaged.encode()).unwrap();
    if condemn {
        let packs = store.list(Area::Packs).unwrap();
        let packs = packs.iter().filter_map(ObjectName::pack_id).collect();
        let name = ObjectName::condemned(SessionId::from_bytes([9; 16]));
        let _created =
            store.create(&name, &Condemned { packs, ..Condemned::default() }.encode()).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn a_disk_that_inherits_is_the_disk_and_only_changes_are_read(
        old_size in prop_oneof![Just(3 * MIB), 1usize..4 * MIB],
        new_size in prop_oneof![Just(0), Just(3 * MIB), 1usize..4 * MIB],
        before in prop::collection::vec(change(), 0..4),
        changes in prop::collection::vec(change(), 0..6),
        condemn in any::<bool>(),
        damage in prop::collection::btree_set(0u64..4, 0..3),
        readers in 0usize..4,
    ) {
        let repo = new_repo(Arc::new(MemoryStore::new()));
        let old = changed(&noise(old_size, 3), old_size, &before).bytes;
        back_up_bytes(&repo, "vm", &old).unwrap();
        spoil(&repo, condemn, &damage);
        let disk = TrackedDisk { readers, ..changed(&old, new_size, &changes) };
        let earlier: Vec<_> = repo.store().list(Area::Packs).unwrap();
        let point = back_up_from_parent(&repo, &disk).unwrap();
        prop_assert_eq!(disk.read_of(ExtentKind::Zero), 0);
        // Bytes behind the end of the parent are on no restore point yet.
        let beyond = new_size.saturating_sub(old_size);
        prop_assert!(disk.read_of(ExtentKind::Unchanged) <= beyond + MIB * usize::from(beyond > 0)
            || condemn || !damage.is_empty());
        if condemn {
            // The prune goes on to delete them: the new restore point does not need them.
            earlier.iter().for_each(|pack| repo.store().delete(pack).unwrap());
        }
        prop_assert!(read_back(&repo, &point.disks[0], false).unwrap() == disk.bytes);
    }
}

#[test]
fn nothing_is_read_of_a_disk_that_did_not_change() {
    let repo = new_repo(Arc::new(MemoryStore::new()));
    let old = noise(5 * MIB + 512, 4);
    let first = back_up_bytes(&repo, "vm", &old).unwrap();
    let disk = TrackedDisk::new(old.clone(), vec![(0..old.len(), ExtentKind::Unchanged)], 0);
    let point = back_up_from_parent(&repo, &disk).unwrap();
    assert!(disk.read.lock().unwrap().is_empty());
    assert_eq!(point.disks[0].map_root, first.disks[0].map_root);
    assert_eq!((point.stats.read_bytes, point.stats.stored_bytes), (0, 0));
}

#[test]
fn what_the_parent_cannot_give_is_read_from_the_source() {
    let repo = new_repo(Arc::new(MemoryStore::new()));
    let old = noise(3 * MIB, 4);
    back_up_bytes(&repo, "vm", &old).unwrap();
    // A data pack is gone, and no scrub has noticed.
    let reader = repo.reader().unwrap();
    let point = repo.points().unwrap().pop().unwrap();
    let (_, chunk) =
        repo.disk_map(&reader, &point.disks[0]).next_data(ChunkIndex(0)).unwrap().unwrap();
    let pack = reader.index().locations(chunk).unwrap()[0].pack;
    repo.store().delete(&ObjectName::pack(pack)).unwrap();
    let spoiled = Damaged { copies: Vec::new(), missing_packs: vec![pack] };
    let name = ObjectName::damaged(SessionId::from_bytes([8; 16]));
    let _created = repo.store().create(&name, &spoiled.encode()).unwrap();
    let extents = vec![
        (0..MIB + 512, ExtentKind::Unchanged),
        (MIB + 512..MIB + 1024, ExtentKind::Data),
        (MIB + 1024..3 * MIB, ExtentKind::Unchanged),
    ];
    let disk = TrackedDisk::new(old.clone(), extents, 0);
    let point = back_up_from_parent(&repo, &disk).unwrap();
    assert!(read_back(&repo, &point.disks[0], false).unwrap() == old);
}

#[test]
fn a_reader_that_fails_ends_the_backup_without_a_restore_point() {
    let repo = new_repo(Arc::new(MemoryStore::new()));
    let bytes = noise(60 * MIB, 5);
    let extents = vec![(0..bytes.len(), ExtentKind::Data)];
    let disk = TrackedDisk { runs_fail_after: 20, ..TrackedDisk::new(bytes, extents, 3) };
    let began = Instant::now();
    let error = back_up_from_parent(&repo, &disk).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Source);
    assert!(began.elapsed() < Duration::from_secs(20));
    assert!(repo.points().unwrap().is_empty());
}

#[test]
fn threads_of_their_own_read_long_runs() {
    let repo = new_repo(Arc::new(MemoryStore::new()));
    let bytes = noise(64 * MIB + 512, 5);
    let extents = vec![(0..bytes.len(), ExtentKind::Data)];
    let disk = TrackedDisk::new(bytes, extents, 4);
    let point = back_up_from_parent(&repo, &disk).unwrap();
    assert_eq!(point.stats.read_bytes, disk.bytes.len() as u64);
    // 65 chunks in runs of 16.
    assert_eq!(disk.running.load(Ordering::SeqCst), 5);
    assert!(read_back(&repo, &point.disks[0], false).unwrap() == disk.bytes);
}
