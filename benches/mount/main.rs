//! How fast are disks read through a mount, against the library alone and against other mounts?
//!
//! One image, held by each contender in its own way, is read in order and at random. All begin
//! cold in every run: mounted anew, with nothing in memory but the files that hold the image, which
//! are in the page cache for all. Runs go in turn, and ratios are medians of the ratios of single
//! runs. What was read at random is compared with the image afterwards. CPU seconds are those of
//! the reader and of whoever serves the mount; the kernel's own threads are in none.
//!
//! No mount in order is faster than its parts on all processors at once: what the library takes to
//! decode and verify, and what a mount takes whose bytes cost nothing. The row of both together is
//! their CPU seconds of the same run, by the processors.
//!
//! `cargo bench --bench mount -- [--image FILE] [--runs N] [--only NAME,...] [--json FILE]`, as
//! root; the last file takes the samples. Without an image one of 1.5 GiB is made from files of
//! this system. Contenders whose programs are missing are left out, and said to be.

#[path = "../support/arguments.rs"]
#[expect(dead_code, reason = "other benches take numbers, too")]
mod arguments;
#[path = "../support/corpus.rs"]
mod corpus;
mod library;
mod mounts;
mod others;
mod reads;
mod table;

use std::path::PathBuf;
use std::process::Command;

use crate::arguments::Arguments;
use crate::library::{LIBRARY, Library};
use crate::mounts::{FREE, run};
use crate::reads::{Plan, Timed, Work};
use crate::table::Table;

/// Runs at random that slow contenders make of those planned: one of so many.
const SLOW_SHARE: usize = 8;

struct Options {
    image: Option<PathBuf>,
    runs: usize,
    only: Vec<String>,
}

/// Something that holds the image and can be read.
trait Contender {
    /// Its name in the table.
    fn name(&self) -> &str;

    /// Whether it can be read as `work` says.
    fn can(&self, _work: Work) -> bool {
        true
    }

    /// Begins cold, reads as `work` says, and ends.
    fn run(&self, work: Work, plan: &Plan) -> Timed;
}

fn main() {
    let arguments = Arguments::read(&["--image", "--runs", "--only"]);
    let options = Options::of(&arguments);
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let image = options.image.clone().unwrap_or_else(|| corpus::system_image(scratch.path()));
    let repository = scratch.path().join("repository");
    let repo = library::repository_of(repository.clone(), &image);
    let library = Library::new(repo);
    let plan = Plan::new(&image, &library.data_chunks());
    let mut contenders: Vec<Box<dyn Contender>> =
        vec![Box::new(library), Box::new(library::WholeChunks(library::reopen(repository)))];
    contenders.extend(mounts::all(scratch.path()));
    contenders.push(mounts::free(scratch.path(), &plan));
    contenders.retain(|contender| options.is_wanted(contender.name()));
    contenders.extend(others::all(scratch.path(), &image, |name| options.is_wanted(name)));
    run(Command::new("sync").arg("--file-system").arg(&image));
    let (chunks, bytes) = (plan.pages.len(), plan.image_bytes);
    println!("{} MiB of disk, {chunks} chunks with data, {} runs", bytes >> 20, options.runs);
    let mut table = Table::default();
    for run in 0..options.runs {
        for contender in &contenders {
            for work in Work::ALL.into_iter().filter(|work| contender.can(*work)) {
                table.add(contender.name(), work, contender.run(work, &plan));
            }
        }
        table.add_limits(&[LIBRARY, FREE], library::threads());
        eprintln!("run {} of {}", run + 1, options.runs);
    }
    table.print(&plan);
    arguments.write_json(&table.to_json());
}

impl Options {
    fn of(arguments: &Arguments) -> Self {
        let only: String = arguments.value("--only").unwrap_or_default();
        Self {
            image: arguments.value("--image"),
            runs: arguments.value("--runs").unwrap_or(5),
            only: only.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect(),
        }
    }

    fn is_wanted(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| name.starts_with(only.as_str()))
    }
}
