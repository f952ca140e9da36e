//! How fast are backups, against the limit of this machine in the same run?
//!
//! `limit(parts)` is the time that the necessary parts take on the same cores when nothing waits
//! for anything: reading, zero test and hash; for new data also compressing, decoding again and
//! writing to the page cache. Each part is measured alone over the same image, with the same
//! threads, in the same run; their sum is the limit. Syncs are waiting, so the limit has none,
//! while every run of the product ends durable. A ratio of 1.00 would mean that nothing is lost
//! between the parts, and that all waiting is hidden.
//!
//! `cargo bench --bench data_path -- [--image FILE] [--runs N] [--threads N]`. Without an image one
//! of 1.5 GiB is made from files of this system. Everything is in the page cache; the
//! repository lies on the disk of the temporary directory, and is durable when the clock stops.

#[path = "support/corpus.rs"]
mod corpus;

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use backstop::base::cancel::Cancel;
use backstop::base::hash::{IdHasher, blake3_256};
use backstop::base::id::RepoId;
use backstop::base::limits::{CHUNK_BYTES, PACK_BYTES_MAX};
use backstop::chunk::{ChunkDecoder, ChunkEncoder, CompressionLevel, is_zero};
use backstop::crypto::Sealing;
use backstop::format::commit::DiskSource;
use backstop::format::entry::EntryKind;
use backstop::format::layout::{Area, ObjectName};
use backstop::ingest::open::{Backing, ImageFormat, open_image};
use backstop::ingest::{BackupOptions, DiskInput, Image, back_up};
use backstop::pack::read_pack;
use backstop::repo::{Environment, Repository};
use backstop::restore::{RestoreOptions, Target, restore_disk};
use backstop::scrub::{ScrubLevel, ScrubOptions, scrub};
use backstop::store::{DirStore, Store};

struct Options {
    image: Option<PathBuf>,
    runs: usize,
    threads: usize,
}

fn main() {
    let options = options();
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let image = options.image.clone().unwrap_or_else(|| corpus::system_image(scratch.path()));
    let noise = make_noise(scratch.path(), 1 << 30);
    println!("threads {}, {} runs each, medians", options.threads, options.runs);
    header();
    let bench = Bench { scratch: scratch.path(), options: &options };
    bench.fresh("fresh, files of this system", &image);
    bench.fresh("fresh, incompressible", &noise);
    bench.identical("identical disk again", &image);
    bench.restore("restore to a file", &image);
    bench.scrub("scrub hash", &image, ScrubLevel::Hash);
    bench.scrub("scrub chunks", &image, ScrubLevel::Chunks);
    bench.sparse();
}

fn options() -> Options {
    let mut options = Options { image: None, runs: 5, threads: 2 };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().expect("a value");
        match arg.as_str() {
            "--image" => options.image = Some(value().into()),
            "--runs" => options.runs = value().parse().expect("a number"),
            "--threads" => options.threads = value().parse().expect("a number"),
            // What cargo adds.
            "--bench" => {}
            other => panic!("unknown argument {other}"),
        }
    }
    options
}

fn make_noise(scratch: &Path, len: usize) -> PathBuf {
    let path = scratch.join("noise.raw");
    let mut random = File::open("/dev/urandom").expect("random bytes");
    let mut file = File::create(&path).expect("a file");
    let limited = &mut std::io::Read::take(&mut random, len as u64);
    std::io::copy(limited, &mut file).expect("room for an image");
    path
}

fn header() {
    let [a, b, c, d] = ["work", "seconds", "limit(parts)", "ratio"];
    println!("{a:<32}{b:>9}{c:>14}{d:>7}  {:>9}", "GB/s");
}

struct Bench<'a> {
    scratch: &'a Path,
    options: &'a Options,
}

impl Bench<'_> {
    /// Backs an image up into an empty repository.
    fn fresh(&self, name: &str, image: &Path) {
        let runs = (0..self.options.runs).map(|_| {
            let parts = self.parts(image);
            let limit = parts.read + parts.zero_and_hash + parts.encode + parts.write;
            let path = self.scratch.join("repository");
            let repo = new_repo(&path);
            let seconds = time(|| self.back_up(&repo, image));
            fs::remove_dir_all(&path).expect("the repository can be removed");
            (seconds, limit)
        });
        report(name, image_bytes(image), runs.collect());
    }

    /// Backs an image up that the repository holds already.
    fn identical(&self, name: &str, image: &Path) {
        let (path, repo) = self.repo_with(image);
        let runs = (0..self.options.runs).map(|_| {
            let parts = self.parts(image);
            let seconds = time(|| self.back_up(&repo, image));
            (seconds, parts.read + parts.zero_and_hash)
        });
        report(name, image_bytes(image), runs.collect());
        fs::remove_dir_all(&path).expect("the repository can be removed");
    }

    /// Restores an image to a new file. The limit reads each entry, decodes and hashes it, and
    /// writes what comes out.
    fn restore(&self, name: &str, image: &Path) {
        let (path, repo) = self.repo_with(image);
        let point = repo.points().expect("commits").remove(0);
        let target = self.scratch.join("restored.raw");
        let threads = self.options.threads;
        let runs = (0..self.options.runs).map(|_| {
            let limit = decode_part(&repo, threads) + self.write_part(data_bytes(image), u64::MAX);
            let options = RestoreOptions { threads, force: false, cancel: Cancel::default() };
            let to = Target::Path(target.clone());
            let seconds = time(|| {
                restore_disk(&repo, &point.disks[0], to, &options).expect("the restore works");
            });
            fs::remove_file(&target).expect("the file can be removed");
            (seconds, limit)
        });
        report(name, image_bytes(image), runs.collect());
        fs::remove_dir_all(&path).expect("the repository can be removed");
    }

    /// Scrubs a repository that holds an image. The limit reads the packs and hashes them; for
    /// chunks it also decodes and hashes every entry.
    fn scrub(&self, name: &str, image: &Path, level: ScrubLevel) {
        let (path, repo) = self.repo_with(image);
        let threads = self.options.threads;
        let runs = (0..self.options.runs).map(|_| {
            let limit = match level {
                ScrubLevel::Chunks => decode_part(&repo, threads),
                _ => hash_part(&repo, threads),
            };
            let options = ScrubOptions { level, threads, cancel: Cancel::default() };
            let seconds = time(|| {
                assert!(scrub(&repo, &options).expect("the scrub works").is_clean());
            });
            (seconds, limit)
        });
        report(name, image_bytes(image), runs.collect());
        fs::remove_dir_all(&path).expect("the repository can be removed");
    }

    fn repo_with(&self, image: &Path) -> (PathBuf, Repository) {
        let path = self.scratch.join("repository");
        let repo = new_repo(&path);
        self.back_up(&repo, image);
        (path, repo)
    }

    /// Backs up a disk of 10 TiB in which nothing was ever written.
    fn sparse(&self) {
        let image = self.scratch.join("sparse.raw");
        File::create(&image).and_then(|file| file.set_len(10 << 40)).expect("a sparse file");
        let path = self.scratch.join("repository");
        let repo = new_repo(&path);
        let mut seconds: Vec<_> =
            (0..self.options.runs).map(|_| time(|| self.back_up(&repo, &image))).collect();
        println!("{:<32}{:>9.3}", "sparse 10 TiB, nothing written", median(&mut seconds));
        fs::remove_dir_all(&path).expect("the repository can be removed");
    }

    fn back_up(&self, repo: &Repository, image: &Path) {
        let opened = open_image(image, Some(ImageFormat::Raw), Backing::Refuse).expect("an image");
        let source = DiskSource {
            format: "raw".to_owned(),
            path: image.display().to_string(),
            backing_files: Vec::new(),
        };
        let image = Image::Source(opened.source);
        let input =
            DiskInput { name: "disk".to_owned(), source, image, parent: None, engine: None };
        let options = BackupOptions {
            level: CompressionLevel::default(),
            threads: self.options.threads,
            cancel: Cancel::default(),
        };
        back_up(repo, "vm", vec![input], &options).expect("the backup works");
    }

    fn parts(&self, image: &Path) -> Parts {
        let file = File::open(image).expect("the image");
        let chunks = image_bytes(image).div_ceil(CHUNK_BYTES as u64);
        let threads = self.options.threads;
        let stored = AtomicU64::new(0);
        let read = time(|| {
            each_chunk(threads, chunks, |index, buffer| read_chunk(&file, index, buffer));
        });
        // The parts that follow need the bytes, so they read too, and the reading is taken off.
        let hashed = time(|| {
            each_chunk(threads, chunks, |index, buffer| {
                read_chunk(&file, index, buffer);
                if !is_zero(buffer) {
                    std::hint::black_box(IdHasher::default().hash(buffer));
                }
            });
        });
        let plain = Sealing::plain(RepoId::from_bytes([0; 16]));
        let encoded = time(|| {
            each_worker(threads, chunks, |claim| {
                let mut encoder =
                    ChunkEncoder::new(CompressionLevel::default(), &plain).expect("zstd");
                let mut buffer = Vec::new();
                while let Some(index) = claim() {
                    read_chunk(&file, index, &mut buffer);
                    if is_zero(&buffer) {
                        continue;
                    }
                    let hash = IdHasher::default().hash(&buffer);
                    let entry = encoder.encode(EntryKind::Data, &hash, &buffer).expect("encodes");
                    stored.fetch_add(entry.len() as u64, Ordering::Relaxed);
                }
            });
        });
        let write = self.write_part(stored.into_inner(), 64 << 20);
        Parts { read, zero_and_hash: hashed - read, encode: encoded - hashed, write }
    }

    /// Writes that many bytes to the page cache, in pieces of a chunk, over and over to the same
    /// `window`. A backup gives the pages of a pack back once it is durable, so its window is a few
    /// packs; a restored file takes as many pages as it has.
    fn write_part(&self, bytes: u64, window: u64) -> f64 {
        let path = self.scratch.join("written");
        let file = File::create(&path).expect("a file");
        let pass = |bytes: u64| {
            each_chunk(
                self.options.threads,
                bytes.div_ceil(CHUNK_BYTES as u64),
                |index, buffer| {
                    buffer.resize(CHUNK_BYTES, 0x5a);
                    let offset = index * CHUNK_BYTES as u64 % window;
                    file.write_all_at(buffer, offset).expect("room");
                },
            );
        };
        if window < bytes {
            pass(window);
        }
        let seconds = time(|| pass(bytes));
        fs::remove_file(&path).expect("the file can be removed");
        seconds
    }
}

/// Seconds that each part of the data path takes alone.
struct Parts {
    read: f64,
    zero_and_hash: f64,
    encode: f64,
    write: f64,
}

/// Reads every pack and hashes it.
fn hash_part(repo: &Repository, threads: usize) -> f64 {
    let packs = repo.store().list(Area::Packs).expect("packs");
    time(|| {
        each_worker(threads, packs.len() as u64, |claim| {
            while let Some(number) = claim() {
                let pack = repo.store().read(&packs[number as usize], PACK_BYTES_MAX);
                std::hint::black_box(blake3_256(&pack.expect("the pack")));
            }
        });
    })
}

/// Reads every entry, decodes it and hashes what comes out.
fn decode_part(repo: &Repository, threads: usize) -> f64 {
    let packs = repo.store().list(Area::Packs).expect("packs");
    let ids: Vec<_> = packs.iter().filter_map(ObjectName::pack_id).collect();
    time(|| {
        each_worker(threads, ids.len() as u64, |claim| {
            let mut decoder = ChunkDecoder::new(repo.sealing()).expect("zstd");
            let mut plain = Vec::new();
            while let Some(number) = claim() {
                let name = ObjectName::pack(ids[number as usize]);
                let bytes = repo.store().read(&name, PACK_BYTES_MAX).expect("the pack");
                let contents = read_pack(&**repo.store(), repo.sealing(), ids[number as usize])
                    .expect("a table");
                for row in contents.rows {
                    let entry = &bytes[row.offset as usize..][..row.entry_len as usize];
                    let decoded = decoder.decode(row.chunk, entry, std::mem::take(&mut plain));
                    plain = decoded.expect("what was stored").into_buffer();
                }
            }
        });
    })
}

/// Bytes of an image in chunks that are not zero.
fn data_bytes(image: &Path) -> u64 {
    let file = File::open(image).expect("the image");
    let chunks = image_bytes(image).div_ceil(CHUNK_BYTES as u64);
    let mut buffer = Vec::new();
    let mut bytes = 0;
    for index in 0..chunks {
        read_chunk(&file, index, &mut buffer);
        bytes += if is_zero(&buffer) { 0 } else { buffer.len() as u64 };
    }
    bytes
}

fn each_chunk(threads: usize, chunks: u64, work: impl Fn(u64, &mut Vec<u8>) + Sync) {
    each_worker(threads, chunks, |claim| {
        let mut buffer = Vec::new();
        while let Some(index) = claim() {
            work(index, &mut buffer);
        }
    });
}

fn each_worker(threads: usize, chunks: u64, work: impl Fn(&dyn Fn() -> Option<u64>) + Sync) {
    let next = AtomicU64::new(0);
    let claim = || {
        let index = next.fetch_add(1, Ordering::Relaxed);
        (index < chunks).then_some(index)
    };
    std::thread::scope(|scope| {
        (0..threads).for_each(|_| drop(scope.spawn(|| work(&claim))));
    });
}

fn read_chunk(file: &File, index: u64, buffer: &mut Vec<u8>) {
    buffer.resize(CHUNK_BYTES, 0);
    let len = file.read_at(buffer, index * CHUNK_BYTES as u64).expect("the image can be read");
    buffer.truncate(len);
}

fn new_repo(path: &Path) -> Repository {
    let store = Arc::new(DirStore::create(path).expect("an empty directory"));
    Repository::create(store, Environment::default()).expect("a repository")
}

fn image_bytes(image: &Path) -> u64 {
    fs::metadata(image).expect("the image").len()
}

fn time(work: impl FnOnce()) -> f64 {
    let began = Instant::now();
    work();
    began.elapsed().as_secs_f64()
}

fn report(name: &str, bytes: u64, runs: Vec<(f64, f64)>) {
    let mut seconds: Vec<_> = runs.iter().map(|(seconds, _)| *seconds).collect();
    let mut limits: Vec<_> = runs.iter().map(|(_, limit)| *limit).collect();
    let mut ratios: Vec<_> = runs.iter().map(|(seconds, limit)| limit / seconds).collect();
    let [seconds, limit, ratio] = [&mut seconds, &mut limits, &mut ratios].map(|v| median(v));
    let speed = bytes as f64 / seconds / 1e9;
    println!("{name:<32}{seconds:>9.3}{limit:>14.3}{ratio:>7.2}  {speed:>9.2}");
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
