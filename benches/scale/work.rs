//! What single processes do and measure.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use backstop::base::cancel::Cancel;
use backstop::base::chance::Chance;
use backstop::base::id::{ChunkId, PackId};
use backstop::base::limits::{CHUNK_BYTES, MAP_FANOUT};
use backstop::base::zone::Zone;
use backstop::error::{Error, Result};
use backstop::format::entry::EntryKind;
use backstop::format::pack::TableRow;
use backstop::index::lookup::Index;
use backstop::index::merge::merge;
use backstop::monitor::Monitor;
use backstop::pack::{PackSink, PackWriter, PackWriterOptions};
use backstop::point::PointSelector;
use backstop::prune::forget::judge;
use backstop::prune::retention::Policy;
use backstop::prune::{PruneOptions, prune};
use backstop::repo::{BackupSession, Environment, Repository};
use backstop::store::DirStore;
use backstop::store::testing::SeededChance;
use backstop::vfs::{Access, Ino, Tree, TreeOptions};

use crate::lookups::{self, Draw, rate};
use crate::process::{MemoryWatch, processor_seconds, tell};
use crate::synthetic::Numbers;
use crate::synthetic::points::first_chunk;

const DEDUP_LOOKUPS: usize = 200_000;
/// About what a chunk of a system takes.
const PACK_ENTRY_BYTES: usize = 400_000;
/// A gigabyte of them.
const PACK_ENTRIES: usize = 2_500;

/// Does what `name` says, and tells the figures of it.
pub(crate) fn run(name: &str, root: &Path, numbers: Numbers) -> Result<()> {
    let watch = MemoryWatch::start();
    let began = Instant::now();
    let repo = open(root, Environment::default())?;
    match name {
        "open" => {
            let _reader = repo.reader()?;
            tell("ms", milliseconds(began));
        }
        "list" => assert_eq!(timed(|| repo.points())?.len() as u64, numbers.points),
        "show" => {
            timed(|| repo.find_point(&PointSelector::Latest { vm: "vm0".to_owned() }))?;
        }
        "forget" => {
            let policy = Policy { last: NonZeroU32::new(7), ..Policy::new(Zone::UTC) };
            timed(|| judge(&repo, &[], &policy))?;
        }
        "mount" => timed(|| mount(&repo))?,
        "session" => timed(|| BackupSession::begin(&repo, "vm0"))?.abort()?,
        "dedup" => dedup(&repo, numbers)?,
        "lookups" | "lookups-merged" => lookups::warm(&repo.reader()?.index(), numbers)?,
        "cold-hits" | "cold-hits-merged" => {
            lookups::cold_hits(&repo.reader()?.index(), numbers)?;
        }
        "cold-misses" | "cold-misses-merged" => {
            lookups::cold_misses(&repo.reader()?.index(), numbers)?;
        }
        "cold-batches" => lookups::cold_batches(&repo.reader()?.index(), numbers)?,
        "cold-marks" => lookups::cold_marks(&repo.reader()?.index(), numbers)?,
        "prune" => timed_prune(root, numbers, true)?,
        "prune-deletes" => timed_prune(root, numbers, false)?,
        "merge" => merge_all(&repo)?,
        "packs" => write_packs(&repo)?,
        _ => panic!("there is no work named {name}"),
    }
    watch.tell();
    Ok(())
}

fn open(root: &Path, environment: Environment) -> Result<Repository> {
    Repository::open(Arc::new(DirStore::open(root)?), environment)
}

fn milliseconds(began: Instant) -> f64 {
    began.elapsed().as_secs_f64() * 1e3
}

fn timed<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    let began = Instant::now();
    let done = work()?;
    tell("ms", milliseconds(began));
    Ok(done)
}

/// What a mount does until the first byte of a disk, but for the kernel's part.
fn mount(repo: &Repository) -> Result<()> {
    let tree = Tree::new(repo.clone(), &TreeOptions::default())?;
    let mut ino = Ino::ROOT;
    for name in ["vms", "vm0"] {
        ino = tree.lookup(ino, OsStr::new(name))?.ino;
    }
    let latest = tree.lookup(ino, OsStr::new("latest"))?.ino;
    let point = tree.read_link(latest)?;
    for name in [&*point, "disk.raw"] {
        ino = tree.lookup(ino, OsStr::new(name))?.ino;
    }
    let handle = tree.open(ino, Access::Read)?;
    tree.read(handle, 0, 4096, |bytes| assert_eq!(*bytes, first_chunk()[..4096]))
}

/// Whether chunks are there that a restore point may refer to, as a backup asks. The pages are in
/// memory, and the session has yet to check them.
fn dedup(repo: &Repository, numbers: Numbers) -> Result<()> {
    lookups::read_all(&repo.reader()?.index())?;
    let session = BackupSession::begin(repo, "vm0")?;
    let draw = Draw::new(numbers);
    let usable = |ids: &[ChunkId]| {
        let batches = ids.chunks(MAP_FANOUT).map(|batch| session.have_usable_copies(batch));
        Ok(batches.flatten().filter(|is_there| *is_there).count())
    };
    tell("hits", rate(|| draw.hits(DEDUP_LOOKUPS), usable)?);
    tell("misses", rate(|| draw.misses(DEDUP_LOOKUPS), usable)?);
    session.abort()
}

/// Times the phases of a prune.
#[derive(Default)]
struct Phases(Mutex<Vec<(String, Instant)>>);

impl Monitor for Phases {
    fn phase(&self, name: &str, _total_bytes: Option<u64>) {
        self.0.lock().expect("nobody panics").push((name.to_owned(), Instant::now()));
    }

    fn advance(&self, _bytes: u64) {}

    fn problem(&self, problem: &Error) {
        panic!("{}", problem.chain());
    }
}

/// Each phase of a prune, in milliseconds. Packs are only deleted whole: in those of a synthetic
/// repository there is nothing to copy.
fn timed_prune(root: &Path, numbers: Numbers, dry_run: bool) -> Result<()> {
    let phases = Arc::new(Phases::default());
    let monitor = Arc::<Phases>::clone(&phases);
    let repo = open(root, Environment { monitor, ..Environment::default() })?;
    let live_percent = if dry_run { 50 } else { 0 };
    let wait = Duration::ZERO;
    let options = PruneOptions { dry_run, wait, live_percent, cancel: Cancel::default() };
    let report = prune(&repo, &options)?;
    match dry_run {
        true => assert_eq!(report.points, numbers.points),
        false => assert!(report.deleted_packs > 0 && report.waits_for.is_empty()),
    }
    phases.phase("end", None);
    let phases = phases.0.lock().expect("nobody panics");
    let mut sums = BTreeMap::<&str, f64>::new();
    for pair in phases.windows(2) {
        *sums.entry(&pair[0].0).or_default() += (pair[1].1 - pair[0].1).as_secs_f64() * 1e3;
    }
    sums.iter().for_each(|(name, milliseconds)| tell(name, *milliseconds));
    if !dry_run {
        tell("packs", report.deleted_packs as f64);
    }
    Ok(())
}

fn merge_all(repo: &Repository) -> Result<()> {
    let index = Index::load(&**repo.store(), repo.sealing(), repo.monitor())?;
    let began = Instant::now();
    merge(&**repo.store(), repo.sealing(), index.segments(), &Default::default())?;
    tell("rate", index.entry_count() as f64 / began.elapsed().as_secs_f64() / 1e6);
    Ok(())
}

struct Nobody;

impl PackSink for Nobody {
    fn published(&self, _pack: PackId, _rows: &[TableRow]) -> Result<()> {
        Ok(())
    }
}

/// What one backup's packs take at most, whatever the number of workers: entries are appended one
/// after the other, and one thread seals and publishes behind them.
fn write_packs(repo: &Repository) -> Result<()> {
    let chance: Arc<dyn Chance> = Arc::new(SeededChance::new(1));
    let writer = PackWriter::start(PackWriterOptions {
        store: Arc::clone(repo.store()),
        sealing: repo.sealing().clone(),
        chance: Arc::clone(&chance),
        kind: EntryKind::Data,
        has_parity: false,
        copies: 1,
        buffers: 4,
        sink: Arc::new(Nobody),
    })?;
    let mut entry = vec![0; PACK_ENTRY_BYTES];
    chance.fill(&mut entry);
    let (began, busy) = (Instant::now(), processor_seconds());
    let mut appending = Vec::with_capacity(PACK_ENTRIES);
    for _ in 0..PACK_ENTRIES {
        let began = Instant::now();
        writer.append(ChunkId::from_bytes(chance.bytes()), CHUNK_BYTES, &entry)?;
        appending.push(began.elapsed());
    }
    let gigabytes = writer.finish()?.bytes as f64 / 1e9;
    tell("rate", gigabytes / began.elapsed().as_secs_f64());
    tell("busy", (processor_seconds() - busy) / gigabytes);
    appending.sort_unstable();
    tell("append", appending[PACK_ENTRIES / 2].as_secs_f64() * 1e6);
    Ok(())
}
