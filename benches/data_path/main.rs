//! How fast are backups, restores and scrubs, against the limits of this machine in the same run?
//!
//! `limit(parts)` is the time that the necessary parts take on the same cores when nothing waits
//! for anything: reading, zero test and hash; for new data also compressing, decoding again and
//! writing to the page cache. The parts on one chunk are measured in one pass over the same image
//! with the same threads, writing in another; their sum is the limit. Syncs are waiting, so that
//! limit has none, while every run of the product ends durable. So a second limit stands beside it:
//! the time in which the disk takes the same bytes in files of the same lengths, durably, when it
//! has nothing else to do.
//!
//! The last rows append to packs that nobody keeps, which shows how workers wait for each other.
//!
//! `cargo bench --bench data_path -- [--image FILE] [--runs N] [--threads N] [--only TEXT]
//! [--json FILE]`; the text chooses rows whose name has it, the file takes the samples. Without an
//! image one of 1.5 GiB is made from files of this system. Everything is in the page cache; the
//! repository lies on the disk of the temporary directory, and is durable when the clock stops.

mod append;
#[path = "../support/arguments.rs"]
#[expect(dead_code, reason = "other benches take numbers, too")]
mod arguments;
#[path = "../support/corpus.rs"]
mod corpus;
mod incremental;
mod limit;
mod table;

use std::cell::RefCell;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use backstop::base::cancel::Cancel;
use backstop::chunk::CompressionLevel;
use backstop::format::commit::DiskSource;
use backstop::ingest::open::{Backing, ImageFormat, open_image};
use backstop::ingest::source::ImageSource;
use backstop::ingest::{BackupOptions, BackupRun, DiskInput, Image, ParentDisk, PointFacts};
use backstop::repo::{Environment, Repository};
use backstop::restore::{RestoreOptions, Target, restore_disk};
use backstop::scrub::{ScrubLevel, ScrubOptions, scrub};
use backstop::store::DirStore;

use crate::append::Appending;
use crate::arguments::Arguments;
use crate::incremental::Dirtied;
use crate::limit::{Limits, image_bytes};
use crate::table::{Run, Table};

struct Options {
    image: Option<PathBuf>,
    runs: usize,
    threads: usize,
    only: String,
}

fn main() {
    let arguments = Arguments::read(&["--image", "--runs", "--threads", "--only"]);
    let options = Options::of(&arguments);
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let scratch = scratch.path();
    let image = options.image.clone().unwrap_or_else(|| corpus::system_image(scratch));
    let limits = Limits { scratch, threads: options.threads };
    let table = RefCell::default();
    let bench = Bench { scratch, image: &image, options: &options, limits, table };
    println!("threads {}, {} runs each, medians", options.threads, options.runs);
    Table::header();
    bench.row("fresh, files of this system", Bench::fresh_system);
    bench.row("fresh, incompressible", Bench::fresh_noise);
    bench.row("identical disk again", Bench::identical);
    bench.row("1 % of 64 GiB dirty", Bench::incremental);
    bench.row("restore to a file", Bench::restore);
    bench.row("scrub hash", |bench, name| bench.scrub(name, ScrubLevel::Hash));
    bench.row("scrub chunks", |bench, name| bench.scrub(name, ScrubLevel::Chunks));
    bench.row("sparse 10 TiB, nothing written", Bench::sparse);
    bench.row("open a repository", Bench::open);
    bench.row("append 0.5 MiB, 1 thread", |bench, name| bench.append(name, 1));
    bench.row("append 0.5 MiB, 2 threads", |bench, name| bench.append(name, 2));
    bench.row("append 1,000,000 times a byte", Bench::append_bytes);
    arguments.write_json(&bench.table.into_inner().to_json(options.threads));
}

impl Options {
    fn of(arguments: &Arguments) -> Self {
        Self {
            image: arguments.value("--image"),
            runs: arguments.value("--runs").unwrap_or(5),
            threads: arguments.value("--threads").unwrap_or(2),
            only: arguments.value("--only").unwrap_or_default(),
        }
    }
}

struct Bench<'a> {
    scratch: &'a Path,
    image: &'a Path,
    options: &'a Options,
    limits: Limits<'a>,
    table: RefCell<Table>,
}

impl Bench<'_> {
    fn row(&self, name: &str, measure: impl Fn(&Self, &str)) {
        if name.contains(&self.options.only) {
            measure(self, name);
        }
    }

    fn runs(&self, run: impl FnMut(usize) -> Run) -> Vec<Run> {
        (0..self.options.runs).map(run).collect()
    }

    fn report(&self, name: &str, bytes: Option<u64>, runs: Vec<Run>) {
        self.table.borrow_mut().report(name, bytes, runs);
    }

    fn fresh_system(&self, name: &str) {
        self.fresh(name, self.image);
    }

    fn fresh_noise(&self, name: &str) {
        let path = self.scratch.join("noise.raw");
        incremental::write_noise(&path, 1 << 30);
        self.fresh(name, &path);
        fs::remove_file(&path).expect("the file can be removed");
    }

    /// Backs an image up into an empty repository.
    fn fresh(&self, name: &str, image: &Path) {
        let runs = self.runs(|_| {
            let limit = self.limits.of_new(image);
            let repo = self.new_repo();
            let run = Run::of(Some(limit), || self.back_up(&repo, image));
            self.remove_repo();
            run
        });
        self.report(name, Some(image_bytes(image)), runs);
    }

    /// Backs an image up that the repository holds already.
    fn identical(&self, name: &str) {
        let repo = self.repo_with_image();
        let runs = self.runs(|_| {
            let limit = self.limits.of_known(self.image);
            Run::of(Some(limit), || self.back_up(&repo, self.image))
        });
        self.report(name, Some(image_bytes(self.image)), runs);
        self.remove_repo();
    }

    /// Backs up one chunk in a hundred of a disk of 64 GiB, of which the others are known not to
    /// have changed. The limit is that of storing an image of the changed chunks alone.
    fn incremental(&self, name: &str) {
        let repo = self.new_repo();
        let mut disk = Dirtied::new(self.scratch, self.image);
        self.back_up_source(&repo, Box::new(disk.whole()), false);
        let runs = self.runs(|number| {
            disk.change(number);
            let limit = self.limits.of_new(disk.path());
            let source = Box::new(disk.changed());
            Run::of(Some(limit), || self.back_up_source(&repo, source, true))
        });
        self.report(name, Some(image_bytes(disk.path())), runs);
        self.remove_repo();
        fs::remove_file(disk.path()).expect("the file can be removed");
    }

    /// Restores an image to a new file.
    fn restore(&self, name: &str) {
        let repo = self.repo_with_image();
        let point = repo.points().expect("commits").remove(0);
        let target = self.scratch.join("restored.raw");
        let runs = self.runs(|_| {
            let limit = self.limits.of_restore(&repo, self.image);
            let threads = self.options.threads;
            let options = RestoreOptions { threads, force: false, cancel: Cancel::default() };
            let to = Target::Path(target.clone());
            let run = Run::of(Some(limit), || {
                restore_disk(&repo, &point.disks[0], to, &options).expect("the restore works");
            });
            fs::remove_file(&target).expect("the file can be removed");
            run
        });
        self.report(name, Some(image_bytes(self.image)), runs);
        self.remove_repo();
    }

    /// Scrubs a repository that holds an image.
    fn scrub(&self, name: &str, level: ScrubLevel) {
        let repo = self.repo_with_image();
        let runs = self.runs(|_| {
            let limit = match level {
                ScrubLevel::Chunks => self.limits.of_chunks(&repo),
                _ => self.limits.of_packs(&repo),
            };
            let threads = self.options.threads;
            let options = ScrubOptions { level, threads, cancel: Cancel::default() };
            Run::of(Some(limit), || {
                assert!(scrub(&repo, &options).expect("the scrub works").is_clean());
            })
        });
        self.report(name, Some(image_bytes(self.image)), runs);
        self.remove_repo();
    }

    /// Backs up a disk of 10 TiB in which nothing was ever written.
    fn sparse(&self, name: &str) {
        let image = self.scratch.join("sparse.raw");
        File::create(&image).and_then(|file| file.set_len(10 << 40)).expect("a sparse file");
        let repo = self.new_repo();
        let runs = self.runs(|_| Run::of(None, || self.back_up(&repo, &image)));
        self.report(name, None, runs);
        self.remove_repo();
    }

    /// Opens a repository, index and all, and reads the list of its restore points.
    fn open(&self, name: &str) {
        drop(self.repo_with_image());
        let runs = self.runs(|_| {
            Run::of(None, || {
                let store = Arc::new(DirStore::open(self.repo_path()).expect("a repository"));
                let repo = Repository::open(store, Environment::default()).expect("it opens");
                assert_eq!(repo.points().expect("commits").len(), 1);
                drop(repo.reader().expect("its index"));
            })
        });
        self.report(name, None, runs);
        self.remove_repo();
    }

    /// Appends to packs that are sealed and thrown away. The limit is copying and hashing.
    fn append(&self, name: &str, threads: usize) {
        let half = Appending { threads, entry_bytes: append::ENTRY_BYTES, entries: 4096 };
        let runs = self.runs(|_| half.run(Some(half.limit())));
        self.report(name, Some(half.bytes()), runs);
    }

    /// Appends what takes no time to copy or hash: what is left is done under the lock, nearly all.
    fn append_bytes(&self, name: &str) {
        let bytes = Appending { threads: 1, entry_bytes: 1, entries: 1_000_000 };
        let runs = self.runs(|_| bytes.run(None));
        self.report(name, None, runs);
    }

    fn repo_path(&self) -> PathBuf {
        self.scratch.join("repository")
    }

    fn new_repo(&self) -> Repository {
        let store = Arc::new(DirStore::create(self.repo_path()).expect("an empty directory"));
        Repository::create(store, Environment::default()).expect("a repository")
    }

    fn repo_with_image(&self) -> Repository {
        let repo = self.new_repo();
        self.back_up(&repo, self.image);
        repo
    }

    fn remove_repo(&self) {
        fs::remove_dir_all(self.repo_path()).expect("the repository can be removed");
    }

    fn back_up(&self, repo: &Repository, image: &Path) {
        let opened = open_image(image, Some(ImageFormat::Raw), Backing::Refuse).expect("an image");
        self.back_up_source(repo, opened.source, false);
    }

    /// Backs up a source, which may inherit from the last restore point.
    fn back_up_source(&self, repo: &Repository, image: Box<dyn ImageSource>, inherits: bool) {
        let options = BackupOptions {
            level: CompressionLevel::default(),
            threads: self.options.threads,
            cancel: Cancel::default(),
        };
        let mut run = BackupRun::begin(repo, "vm", &options).expect("the backup begins");
        let parent = inherits.then(|| parent_disk(&mut run));
        let source = DiskSource {
            format: "raw".to_owned(),
            path: "bench".to_owned(),
            backing_files: Vec::new(),
        };
        let (name, image) = ("disk".to_owned(), Image::Source(image));
        let input = DiskInput { name, source, image, parent, engine: None };
        run.store_disk(input).expect("the backup works");
        run.commit(PointFacts::default()).expect("the backup is committed");
    }
}

fn parent_disk(run: &mut BackupRun) -> ParentDisk {
    let point = run.parent_points().pop().expect("a restore point before");
    run.parent_disk(&point.disks[0]).expect("its disk")
}
