//! Restore points over chunks that are nowhere.

use std::fs;
use std::path::Path;

use backstop::base::clock::UtcTime;
use backstop::base::id::{ChunkId, PointId};
use backstop::base::limits::{CHUNK_BYTES, MAP_FANOUT};
use backstop::chunk::{ChunkEncoder, CompressionLevel};
use backstop::diskmap::NodeSink;
use backstop::error::Result;
use backstop::format::commit::{BackupStats, Decision, DiskRecord, DiskSource, PointRecord};
use backstop::format::layout::ObjectName;
use backstop::format::mapnode::MapNode;
use backstop::repo::{BackupSession, PointContents, Repository};

use super::Numbers;
use super::ids::Ids;

/// Chunks that a backup has changed: neighbours on the disk, as most changes are.
const CHANGES: u64 = 16;
const DAY_SECONDS: i64 = 24 * 3600;

/// Writes the maps of all disks and the commits of all restore points.
pub(super) fn write(repo: &Repository, root: &Path, numbers: Numbers, ids: Ids) -> Result<()> {
    let session = BackupSession::begin(repo, "vm0")?;
    let mut encoder = ChunkEncoder::new(CompressionLevel::default(), repo.sealing())?;
    let (first, _) = session.put_chunk(&mut encoder, &first_chunk())?;
    let mut roots = Vec::new();
    for vm in 0..numbers.vms {
        let mut disk = Disk::new(vm, numbers, ids, first);
        let mut of_vm = vec![disk.store_all(&session)?];
        for _ in 1..numbers.points / numbers.vms {
            of_vm.push(disk.back_up(&session)?);
        }
        roots.push(of_vm);
    }
    let disks = vec![disk_record(numbers, roots[0][0])];
    let contents = PointContents { disks, ..PointContents::default() };
    let seed = session.commit(contents, |_| BackupStats::default())?;
    for (vm, of_vm) in (0..).zip(&roots) {
        for (day, map_root) in (0..).zip(of_vm) {
            if (vm, day) == (0, 0) {
                continue;
            }
            let point = copy_of(&seed, vm, day, disk_record(numbers, *map_root));
            let path = root.join(ObjectName::commit(point.id).to_string());
            // Durable one by one they would take minutes.
            fs::write(path, Decision::Committed { point: Box::new(point) }.encode())
                .expect("room for a commit");
        }
    }
    Ok(())
}

/// The bytes of the first chunk of every disk.
pub(crate) fn first_chunk() -> Vec<u8> {
    (0..CHUNK_BYTES).map(|n| (n % 251) as u8).collect()
}

/// Chunks of a disk: with more of them two levels of nodes would not do, with fewer one would.
fn disk_chunks(numbers: Numbers) -> u64 {
    let fanout = MAP_FANOUT as u64;
    (numbers.chunks / numbers.vms / fanout * fanout).clamp(2 * fanout, fanout * fanout)
}

fn disk_record(numbers: Numbers, map_root: ChunkId) -> DiskRecord {
    DiskRecord {
        name: "disk".to_owned(),
        size_bytes: disk_chunks(numbers) * CHUNK_BYTES as u64,
        map_root,
        source: DiskSource {
            format: "raw".to_owned(),
            path: "disk.raw".to_owned(),
            backing_files: Vec::new(),
        },
        engine: None,
    }
}

/// The restore point of a VM at a day, as `seed` but for that.
fn copy_of(seed: &PointRecord, vm: u32, day: u32, disk: DiskRecord) -> PointRecord {
    let mut point = seed.clone();
    point.id = PointId::from_bytes((u128::from(vm + 1) << 64 | u128::from(day)).to_be_bytes());
    point.vm = format!("vm{vm}");
    point.sequence = u64::from(day) + 1;
    let seconds = seed.time.unix_seconds() + i64::from(day) * DAY_SECONDS + i64::from(vm);
    point.time = UtcTime::from_unix_seconds(seconds).expect("a time");
    point.disks = vec![disk];
    point
}

/// The map of a disk, from backup to backup.
struct Disk {
    numbers: Numbers,
    ids: Ids,
    leaves: Vec<MapNode>,
    root: MapNode,
    /// The number of the chunk that comes next to the repository.
    next_chunk: u64,
    backups: u64,
}

impl Disk {
    fn new(vm: u64, numbers: Numbers, ids: Ids, first: ChunkId) -> Self {
        let chunks = disk_chunks(numbers);
        let count = chunks as usize / MAP_FANOUT;
        let leaves = (0..count).map(|_| MapNode::empty(0)).collect();
        let next_chunk = vm * (numbers.chunks / numbers.vms);
        let root = MapNode::empty(1);
        let mut disk = Self { numbers, ids, leaves, root, next_chunk, backups: 0 };
        (0..chunks).for_each(|place| disk.change(place));
        disk.leaves[0].set_child(0, Some(first));
        disk
    }

    /// Puts the next chunk to a place on the disk.
    fn change(&mut self, place: u64) {
        let chunk = self.ids.id(self.next_chunk % self.numbers.chunks);
        self.next_chunk += 1;
        let (leaf, slot) = (place as usize / MAP_FANOUT, place as usize % MAP_FANOUT);
        self.leaves[leaf].set_child(slot, Some(chunk));
    }

    fn store_all(&mut self, session: &BackupSession) -> Result<ChunkId> {
        for (leaf, node) in self.leaves.iter().enumerate() {
            self.root.set_child(leaf, Some(session.put_node(node)?));
        }
        session.put_node(&self.root)
    }

    /// Changes some chunks, and stores the nodes above them.
    fn back_up(&mut self, session: &BackupSession) -> Result<ChunkId> {
        self.backups += 1;
        let leaf = (self.backups * 7 + 1) % self.leaves.len() as u64;
        let first = leaf * MAP_FANOUT as u64 + self.backups % 15 * CHANGES + 1;
        (first..first + CHANGES).for_each(|place| self.change(place));
        let id = session.put_node(&self.leaves[leaf as usize])?;
        self.root.set_child(leaf as usize, Some(id));
        session.put_node(&self.root)
    }
}
