//! How long from starting a mount to the first bytes of a disk, in a repository of many restore
//! points and chunks, and how much memory does it take?
//!
//! The repository is a synthetic one, small in bytes and large in numbers.
//!
//! `cargo bench --bench first_byte -- [--json FILE] [POINTS] [CHUNKS] [RUNS]`: 10,000 restore
//! points of 100 VMs, 10 million chunks and 5 runs, unless said otherwise; the file takes the
//! samples. As root.

#[path = "support/arguments.rs"]
mod arguments;
#[path = "../tests/support/synthetic/mod.rs"]
mod synthetic;

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use arguments::Arguments;
use synthetic::points::first_chunk;
use synthetic::{Numbers, make};

const VMS: u64 = 100;
const DISK: &str = "vms/vm7/latest/disk.raw";
const PATIENCE: Duration = Duration::from_secs(60);

fn main() {
    let arguments = Arguments::read(&[]);
    let number = |place: usize, usual| arguments.numbers().get(place).copied().unwrap_or(usual);
    let (points, chunks, runs) = (number(0, 10_000), number(1, 10_000_000), number(2, 5));
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let (repository, dir) = (scratch.path().join("repository"), scratch.path().join("mnt"));
    fs::create_dir(&dir).expect("a directory");
    make(&repository, Numbers { chunks, points, vms: VMS, has_packs: false })
        .expect("a repository");
    println!("{points} restore points, {chunks} chunks, {runs} runs");
    let (mut times, mut samples) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        let (time, memory_kib) = first_byte(&repository, &dir);
        println!("first byte after {:.0} ms, {} MiB resident", time * 1e3, memory_kib >> 10);
        times.push(time);
        samples.push(json!({ "seconds": time, "peak_mib": memory_kib as f64 / 1024.0 }));
    }
    arguments.write_json(&json!({ "points": points, "chunks": chunks, "runs": samples }));
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
    assert!(page[..] == first_chunk()[..4096], "wrong bytes");
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
