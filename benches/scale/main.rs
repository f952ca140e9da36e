//! What grows with a repository, and what must not: opening, lookups, sessions, listing, planning,
//! merging and the memory of each, on synthetic repositories of three sizes side by side.
//!
//! `cargo bench --bench scale -- [--directory DIR] [--json FILE] [CHUNKS...]`: 100,000, 1 million
//! and 10 million chunks in the directory for temporary files, unless said otherwise; a restore
//! point for every 10,000 chunks. The file takes the figures. 100 million chunks take 13 GB for a
//! while, and 1.6 million files for the packs.
//!
//! Every figure comes from a process of its own, so that none finds the memory or the checked pages
//! of another. "Cold" means that the kernel was told to forget the index before; pages that the
//! device's host has cached are still quick. It fails where a cost that must not follow the size of
//! the repository does.

#[path = "../support/arguments.rs"]
mod arguments;
#[path = "../../tests/support/synthetic/mod.rs"]
mod synthetic;

mod lookups;
mod process;
mod table;
mod work;

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use arguments::Arguments;
use process::{ALONE, evict_index, run_alone};
use synthetic::{Numbers, make};
use table::Table;

/// Processes that each short figure is taken from.
const RUNS: usize = 5;
const CHUNKS_PER_POINT: u64 = 10_000;
const VMS_MAX: u64 = 100;

fn main() -> ExitCode {
    let words: Vec<_> = std::env::args().skip(1).collect();
    if let [alone, name, root, chunks] = &words[..]
        && alone == ALONE
    {
        let numbers = numbers_of(chunks.parse().expect("a number"));
        work::run(name, Path::new(root), numbers).expect("the work can be done");
        return ExitCode::SUCCESS;
    }
    let arguments = Arguments::read(&["--directory"]);
    let parent = arguments.value("--directory").unwrap_or_else(std::env::temp_dir);
    let sizes = match arguments.numbers() {
        [] => vec![100_000, 1_000_000, 10_000_000],
        given => given.to_vec(),
    };
    let mut table = Table::default();
    for chunks in &sizes {
        measure(&parent, numbers_of(*chunks), &mut table);
    }
    table.print(&sizes);
    arguments.write_json(&table.to_json(&sizes));
    match table.broken().as_slice() {
        [] => ExitCode::SUCCESS,
        broken => {
            broken.iter().for_each(|what| eprintln!("scale: {what}"));
            ExitCode::FAILURE
        }
    }
}

fn numbers_of(chunks: u64) -> Numbers {
    let points = (chunks / CHUNKS_PER_POINT).max(1);
    let vms = (points / 10).clamp(1, VMS_MAX);
    Numbers { chunks, points: points / vms * vms, vms, has_packs: true }
}

/// Makes a repository, adds a column to the table, and removes it.
fn measure(parent: &Path, numbers: Numbers, table: &mut Table) {
    let scratch = tempfile::tempdir_in(parent).expect("a scratch directory");
    let root = scratch.path().join("repository");
    let began = Instant::now();
    make(&root, numbers).expect("a repository");
    let seconds = began.elapsed().as_secs_f64();
    eprintln!("{numbers:?}: made in {seconds:.1} s");
    for name in ["open", "list", "show", "forget", "mount", "session"] {
        table.add(name, (0..RUNS).map(|_| run_alone(name, &root, numbers.chunks)).collect());
    }
    let cold = |name, table: &mut Table| {
        let run = |_| {
            evict_index(&root);
            run_alone(name, &root, numbers.chunks)
        };
        table.add(name, (0..RUNS).map(run).collect());
    };
    let warm = |name, table: &mut Table| {
        table.add(name, vec![run_alone(name, &root, numbers.chunks)]);
        eprintln!("{name}: done after {:.0} s", began.elapsed().as_secs_f64());
    };
    for name in ["cold-hits", "cold-misses", "cold-batches", "cold-marks"] {
        cold(name, table);
    }
    for name in ["dedup", "lookups", "prune", "merge"] {
        warm(name, table);
    }
    // Now there is one segment, whose lookups are measured on their own.
    for name in ["cold-hits-merged", "cold-misses-merged"] {
        cold(name, table);
    }
    for name in ["lookups-merged", "packs", "prune-deletes"] {
        warm(name, table);
    }
}
