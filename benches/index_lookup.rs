//! Lookups per second in one index segment, warm, one thread; and what opening it costs.
//!
//! `cargo bench --bench index_lookup -- [ENTRIES] [DIRECTORY]`: 10 million entries in the
//! directory for temporary files, unless said otherwise. Every figure is the median of several
//! runs, each with ids of its own draw, between the slowest and the fastest.

#[path = "../tests/support/synthetic/mod.rs"]
mod synthetic;

use std::error::Error;
use std::hint::black_box;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use backstop::base::id::{ChunkId, RepoId, SegmentId};
use backstop::crypto::Sealing;
use backstop::index::segment::Segment;
use backstop::store::DirStore;
use backstop::store::testing::SeededChance;

use synthetic::ids::Ids;
use synthetic::index::write_segment;

const RUNS: usize = 7;
const LOOKUPS: usize = 1_000_000;
const REPO: RepoId = RepoId::from_bytes([1; 16]);

fn main() -> Result<(), Box<dyn Error>> {
    // Cargo adds `--bench`.
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let entries = arguments.next().map_or(Ok(10_000_000), |text| text.parse())?;
    let parent = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let directory = tempfile::tempdir_in(parent)?;
    let store = DirStore::create(directory.path().join("repository"))?;

    let ids = Ids::new(entries as u64);
    let begun = Instant::now();
    let id = write_segment(&store, &Sealing::plain(REPO), ids, 0..entries as u64)?;
    report("build", &[begun.elapsed()], entries, "M entries/s");

    let opened: Vec<Duration> = (0..RUNS).map(|_| open(&store, id)).collect::<Result<_, _>>()?;
    report("open", &opened, 0, "");
    let segment = Segment::open(&store, id, &Sealing::plain(REPO))?;
    let begun = Instant::now();
    assert_eq!(segment.entries().filter(Result::is_ok).count(), entries);
    report("first pass", &[begun.elapsed()], entries, "M entries/s");

    let chance = SeededChance::new(2);
    let number = |from: usize| (from + chance.below(entries)) as u64;
    let draw = |from| (0..LOOKUPS).map(|_| ids.id(number(from))).collect::<Vec<_>>();
    let (hits, misses) = (|| draw(0), || draw(entries));
    measure("hit", &segment, true, hits)?;
    measure("miss", &segment, false, misses)?;
    measure("sorted hits", &segment, true, || sorted(hits()))?;
    measure("sorted misses", &segment, false, || sorted(misses()))?;
    Ok(())
}

fn sorted(mut ids: Vec<ChunkId>) -> Vec<ChunkId> {
    ids.sort_unstable();
    ids
}

fn open(store: &DirStore, id: SegmentId) -> backstop::error::Result<Duration> {
    let begun = Instant::now();
    black_box(Segment::open(store, id, &Sealing::plain(REPO))?);
    Ok(begun.elapsed())
}

/// Looks up fresh ids in every run. The first run only warms the caches up.
fn measure(
    what: &str,
    segment: &Segment,
    is_there: bool,
    ids: impl Fn() -> Vec<ChunkId>,
) -> backstop::error::Result<()> {
    let mut times = Vec::new();
    for run in 0..=RUNS {
        let (ids, mut found) = (ids(), Vec::with_capacity(8));
        let begun = Instant::now();
        let mut count = 0;
        for id in &ids {
            found.clear();
            segment.find(*id, &mut found)?;
            count += found.len();
        }
        if run > 0 {
            times.push(begun.elapsed());
        }
        assert_eq!(count, if is_there { ids.len() } else { 0 });
    }
    report(what, &times, LOOKUPS, "M/s");
    Ok(())
}

fn report(what: &str, times: &[Duration], count: usize, unit: &str) {
    let mut times = times.to_vec();
    times.sort_unstable();
    let (fastest, median, slowest) = (times[0], times[times.len() / 2], times[times.len() - 1]);
    if count == 0 {
        println!("{what:14} {median:9.1?} ({fastest:.1?} to {slowest:.1?})");
        return;
    }
    let rate = |time: Duration| count as f64 / time.as_secs_f64() / 1e6;
    let (low, middle, high) = (rate(slowest), rate(median), rate(fastest));
    println!("{what:14} {middle:9.2} {unit} ({low:.2} to {high:.2})");
}
