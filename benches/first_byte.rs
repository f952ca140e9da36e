//! How long from starting a mount to the first bytes of a disk, in a repository of many restore
//! points and chunks, and how much memory does it take?
//!
//! The repository is small in bytes and large in numbers: one disk is backed up, its restore point
//! is written down over and over under other names, and an index names chunks that are in no pack.
//! All objects are as the library encodes them, so a mount cannot tell.
//!
//! `cargo bench --bench first_byte -- [POINTS] [CHUNKS] [RUNS]`: 10,000 restore points of 100 VMs,
//! 10 million chunks and 5 runs, unless said otherwise. As root.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use backstop::base::cancel::Cancel;
use backstop::base::chance::Chance;
use backstop::base::clock::UtcTime;
use backstop::base::id::{ChunkId, PackId, PointId};
use backstop::chunk::CompressionLevel;
use backstop::format::commit::{Decision, DiskSource, PointRecord};
use backstop::format::entry::EntryKind;
use backstop::format::layout::ObjectName;
use backstop::format::segment::IndexEntry;
use backstop::index::writer::SegmentWriter;
use backstop::ingest::open::{Backing, ImageFormat, open_image};
use backstop::ingest::{BackupOptions, DiskInput, Image, back_up};
use backstop::repo::{Environment, Repository};
use backstop::store::DirStore;
use backstop::store::testing::SeededChance;

const VMS: u64 = 100;
const ENTRIES_PER_PACK: u64 = 64;
const DISK: &str = "vms/vm7/latest/disk.raw";
const PATIENCE: Duration = Duration::from_secs(60);

fn main() {
    // Cargo adds `--bench`.
    let mut numbers = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let mut number =
        |default| numbers.next().map_or(default, |text| text.parse().expect("a number"));
    let (points, chunks, runs) = (number(10_000), number(10_000_000), number(5));
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let (repository, dir) = (scratch.path().join("repository"), scratch.path().join("mnt"));
    fs::create_dir(&dir).expect("a directory");
    build(scratch.path(), &repository, points, chunks);
    println!("{points} restore points, {chunks} chunks, {runs} runs");
    let mut times = Vec::new();
    for _ in 0..runs {
        let (time, memory_kib) = first_byte(&repository, &dir);
        println!("first byte after {:.0} ms, {} MiB resident", time * 1e3, memory_kib >> 10);
        times.push(time);
    }
    times.sort_by(f64::total_cmp);
    println!("median {:.0} ms", times[times.len() / 2] * 1e3);
}

/// Mounts, reads the first 4 KiB of a disk and says how many seconds that took, and the most
/// memory that the mount has had, in KiB.
fn first_byte(repository: &Path, dir: &Path) -> (f64, u64) {
    let began = Instant::now();
    let mut command = Command::new(env!("CARGO_BIN_EXE_backstop"));
    command.arg("--repo").arg(repository).arg("mount").arg(dir);
    let child = command.stdout(Stdio::null()).spawn().expect("the program starts");
    let mount = Mount { child, dir };
    let disk = loop {
        match File::open(dir.join(DISK)) {
            Ok(disk) => break disk,
            Err(_) if began.elapsed() < PATIENCE => thread::sleep(Duration::from_millis(1)),
            Err(error) => panic!("the disk does not appear: {error}"),
        }
    };
    let mut page = [0; 4096];
    disk.read_exact_at(&mut page, 0).expect("the disk can be read");
    let time = began.elapsed().as_secs_f64();
    assert!(page[..] == first_page()[..], "wrong bytes");
    let status = fs::read_to_string(format!("/proc/{}/status", mount.child.id()));
    let status = status.expect("the status of the mount");
    let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("its memory");
    (time, most.trim().trim_end_matches(" kB").parse().expect("a number"))
}

struct Mount<'a> {
    child: Child,
    dir: &'a Path,
}

impl Drop for Mount<'_> {
    fn drop(&mut self) {
        let _unmounted = Command::new("umount").arg("--lazy").arg(self.dir).status();
        let _ended = self.child.wait();
    }
}

fn first_page() -> Vec<u8> {
    (0..4096u32).map(|n| (n % 251) as u8).collect()
}

fn build(scratch: &Path, repository: &Path, points: u64, chunks: u64) {
    let store = Arc::new(DirStore::create(repository).expect("an empty directory"));
    let shared = Arc::clone(&store) as _;
    let repo = Repository::create(shared, Environment::default()).expect("a repository");
    let first = back_up_one(scratch, &repo);
    for number in 0..points {
        let point = copy_of(&first, number);
        let path = repository.join(ObjectName::commit(point.id).to_string());
        let commit = Decision::Committed { point: Box::new(point) }.encode();
        // Durable one by one they would take minutes.
        fs::write(path, commit).expect("room");
    }
    let mut ids: Vec<_> = {
        let chance: &dyn Chance = &SeededChance::new(1);
        (0..chunks).map(|_| ChunkId::from_bytes(chance.bytes())).collect()
    };
    ids.sort_unstable();
    let packs = chunks.div_ceil(ENTRIES_PER_PACK);
    let mut writer = SegmentWriter::new(&*store, repo.sealing(), chunks).expect("a segment");
    for (number, chunk) in ids.into_iter().enumerate() {
        let pack_number = (number as u64 * 0x9e37_79b1 % packs) as u32;
        let (offset, kind) = (number as u32, EntryKind::Data);
        let (entry_len, plain_len) = (600_000, 1 << 20);
        writer
            .push(&IndexEntry { chunk, pack_number, offset, entry_len, plain_len, kind })
            .expect("room");
    }
    let pack = |n: u64| {
        PackId::from_bytes(std::array::from_fn(|i| if i < 8 { n.to_be_bytes()[i] } else { 0 }))
    };
    writer.finish(&(0..packs).map(pack).collect::<Vec<_>>(), &[]).expect("a segment");
}

fn copy_of(first: &PointRecord, number: u64) -> PointRecord {
    let mut point = first.clone();
    point.id = PointId::from_bytes(u128::from(number + 1).to_be_bytes());
    point.vm = format!("vm{}", number % VMS);
    point.sequence = number + 2;
    let seconds = first.time.unix_seconds() + number as i64 * 60;
    point.time = UtcTime::from_unix_seconds(seconds).expect("a time");
    point
}

fn back_up_one(scratch: &Path, repo: &Repository) -> PointRecord {
    let path = scratch.join("disk.raw");
    fs::write(&path, first_page()).expect("room");
    let opened = open_image(&path, Some(ImageFormat::Raw), Backing::Refuse).expect("an image");
    let source = DiskSource {
        format: "raw".to_owned(),
        path: path.display().to_string(),
        backing_files: Vec::new(),
    };
    let disk = DiskInput {
        name: "disk".to_owned(),
        source,
        image: Image::Source(opened.source),
        parent: None,
        engine: None,
    };
    let options =
        BackupOptions { level: CompressionLevel::default(), threads: 1, cancel: Cancel::default() };
    back_up(repo, "vm", vec![disk], &options).expect("the backup works")
}
