//! What marking costs that a prune does: does it grow with the distinct nodes of the disk maps, or
//! with restore points times the length of their disks?
//!
//! `cargo bench --bench prune -- [POINTS] [GIB] [CHANGES]`: up to 1,000 restore points of one disk
//! of 64 GiB, of which every backup changes 16 chunks at random. The format, packs, index and
//! sessions are real, and so is the prune (`--dry-run`); only the chunks of the disk are short, so
//! that no 64 GiB are written: marking never reads one. Times are of the processor, as the kernel
//! counts them for the thread that marks, so that other work on the machine says little. It fails
//! if a node costs three times as much with all restore points as with one.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use backstop::base::cancel::Cancel;
use backstop::base::chance::Chance;
use backstop::base::id::ChunkId;
use backstop::base::limits::CHUNK_BYTES;
use backstop::base::units::{ChunkGrid, ChunkIndex};
use backstop::chunk::{ChunkEncoder, CompressionLevel};
use backstop::diskmap::{MapBuilder, NodeSink};
use backstop::error::{Error, Result};
use backstop::format::commit::{BackupStats, DiskRecord, DiskSource};
use backstop::format::mapnode::MapNode;
use backstop::monitor::Monitor;
use backstop::prune::{PruneOptions, prune};
use backstop::repo::{BackupSession, Environment, PointContents, Repository};
use backstop::store::DirStore;
use backstop::store::testing::SeededChance;

const RUNS: usize = 5;

/// Times how long a prune marks.
#[derive(Default)]
struct Stopwatch(Mutex<State>);

#[derive(Default)]
struct State {
    began: Option<Duration>,
    marking: Duration,
}

impl Monitor for Stopwatch {
    fn phase(&self, name: &str, _total_bytes: Option<u64>) {
        let mut state = self.0.lock().expect("nobody panics");
        if let Some(began) = state.began.take() {
            state.marking = processor_time() - began;
        }
        state.began = (name == "marking").then(processor_time);
    }

    fn advance(&self, _bytes: u64) {}

    fn problem(&self, problem: &Error) {
        panic!("{}", problem.chain());
    }
}

/// What this thread has had of the processors.
fn processor_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux says it");
    let nanoseconds = text.split_whitespace().next().and_then(|first| first.parse().ok());
    Duration::from_nanos(nanoseconds.expect("a number"))
}

/// Remembers which nodes a map has.
struct Nodes<'a> {
    session: &'a BackupSession,
    seen: &'a Mutex<HashSet<ChunkId>>,
}

impl NodeSink for Nodes<'_> {
    fn put_node(&self, node: &MapNode) -> Result<ChunkId> {
        let id = self.session.put_node(node)?;
        self.seen.lock().expect("nobody panics").insert(id);
        Ok(id)
    }
}

/// A disk whose backups are made here.
struct Disk {
    chunks: Vec<ChunkId>,
    chance: SeededChance,
    encoder: ChunkEncoder,
    nodes: Mutex<HashSet<ChunkId>>,
}

impl Disk {
    /// Changes some chunks, all of them in the first backup, and backs up.
    fn back_up(&mut self, repo: &Repository, changes: usize) -> Result<()> {
        let session = BackupSession::begin(repo, "vm")?;
        let changed: Vec<usize> = match session.points().next() {
            None => (0..self.chunks.len()).collect(),
            Some(_) => (0..changes).map(|_| self.chance.below(self.chunks.len())).collect(),
        };
        for place in changed {
            let chance: &dyn Chance = &self.chance;
            let plain: [u8; 32] = chance.bytes();
            self.chunks[place] = session.put_chunk(&mut self.encoder, &plain)?.0;
        }
        let grid = ChunkGrid::new((self.chunks.len() * CHUNK_BYTES) as u64);
        let nodes = Nodes { session: &session, seen: &self.nodes };
        let mut builder = MapBuilder::default();
        for (place, chunk) in self.chunks.iter().enumerate() {
            builder.set(ChunkIndex(place as u64), *chunk);
        }
        let map_root = builder.finish(grid, &nodes)?;
        let disk = DiskRecord {
            name: "disk".to_owned(),
            size_bytes: (self.chunks.len() * CHUNK_BYTES) as u64,
            map_root,
            source: DiskSource {
                format: "raw".to_owned(),
                path: "bench".to_owned(),
                backing_files: Vec::new(),
            },
            engine: None,
        };
        let contents = PointContents { disks: vec![disk], ..PointContents::default() };
        session.commit(contents, |_| BackupStats::default()).map(drop)
    }
}

fn main() -> Result<()> {
    // Cargo adds `--bench`.
    let arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let numbers: Vec<usize> = arguments.map(|text| text.parse().expect("a number")).collect();
    let number = |place: usize, usual| numbers.get(place).copied().unwrap_or(usual);
    let (points, gib, changes) = (number(0, 1000), number(1, 64), number(2, 16));
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let watch = Arc::new(Stopwatch::default());
    let environment =
        Environment { monitor: Arc::<Stopwatch>::clone(&watch), ..Environment::default() };
    let store = DirStore::create(scratch.path().join("repo"))?;
    let repo = Repository::create(Arc::new(store), environment)?;
    let mut disk = Disk {
        chunks: vec![ChunkId::from_bytes([0; 32]); gib << 10],
        chance: SeededChance::new(1),
        encoder: ChunkEncoder::new(CompressionLevel::default(), repo.sealing())?,
        nodes: Mutex::default(),
    };
    println!("a disk of {gib} GiB, {changes} chunks changed in each backup; medians of {RUNS}");
    println!("  points  distinct nodes  nodes of all maps  marking, ms  us per distinct node");
    let mut costs = Vec::new();
    for point in 1..=points {
        disk.back_up(&repo, changes)?;
        // 1, 10, 100, ...
        if point == points || 10usize.pow(point.ilog10()) == point {
            costs.push(measure(&repo, &watch, point, &disk)?);
        }
    }
    let (first, last) = (costs[0], costs[costs.len() - 1]);
    assert!(
        last < 3.0 * first,
        "a node costs {last:.1} us with all restore points, not {first:.1}"
    );
    Ok(())
}

/// Prints a row, and returns the microseconds per distinct node.
fn measure(repo: &Repository, watch: &Stopwatch, points: usize, disk: &Disk) -> Result<f64> {
    let options = PruneOptions {
        dry_run: true,
        wait: Duration::ZERO,
        live_percent: 50,
        cancel: Cancel::default(),
    };
    let mut times = Vec::new();
    for _ in 0..RUNS {
        let report = prune(repo, &options)?;
        assert_eq!((report.points, report.deleted_packs), (points as u64, 0));
        times.push(watch.0.lock().expect("nobody panics").marking);
    }
    times.sort_unstable();
    let marking = times[RUNS / 2].as_secs_f64();
    let nodes = disk.nodes.lock().expect("nobody panics").len();
    let of_all = points * (1 + disk.chunks.len().div_ceil(256));
    let cost = marking * 1e6 / nodes as f64;
    println!("{points:8}  {nodes:14}  {of_all:17}  {:11.1}  {cost:20.1}", marking * 1e3);
    Ok(cost)
}
