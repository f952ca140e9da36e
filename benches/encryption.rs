//! What does encryption cost a backup and a mounted read?
//!
//! The same image goes to a plain and to an encrypted repository, by turns, and is read from their
//! mounts by turns, each time from a new mount. A ratio of 1.00 would mean that encryption is free.
//!
//! `cargo bench --bench encryption -- [--runs N]`, as root or a user who may mount. The image has
//! 1.5 GiB of files of this system; it and the packs are in the page cache, the repositories lie on
//! the disk of the temporary directory, and backups are durable when the clock stops.

#[path = "support/arguments.rs"]
#[expect(dead_code, reason = "other benches take numbers, too")]
mod arguments;
#[path = "support/corpus.rs"]
mod corpus;

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::arguments::Arguments;

const KINDS: [&str; 2] = ["plain", "encrypted"];

fn main() {
    let runs = Arguments::read(&["--runs"]).value("--runs").unwrap_or(5);
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let image = corpus::system_image(scratch.path());
    let bench = Bench { scratch: scratch.path() };
    println!("{runs} runs each, by turns, medians");
    println!("{:<28}{:>12}{:>12}{:>8}", "work", KINDS[0], KINDS[1], "ratio");
    report("fresh backup", runs, |kind| bench.back_up(kind, &image));
    report("sequential read of a mount", runs, |kind| bench.read(kind));
}

fn report(work: &str, runs: usize, mut seconds_of: impl FnMut(&str) -> f64) {
    let mut seconds: [Vec<f64>; 2] = Default::default();
    for _ in 0..runs {
        for (kind, seconds) in KINDS.iter().zip(&mut seconds) {
            seconds.push(seconds_of(kind));
        }
    }
    let [plain, encrypted] = seconds.map(|mut seconds| {
        seconds.sort_by(f64::total_cmp);
        seconds[seconds.len() / 2]
    });
    println!("{work:<28}{plain:>10.2} s{encrypted:>10.2} s{:>8.2}", plain / encrypted);
}

struct Bench<'a> {
    scratch: &'a Path,
}

impl Bench<'_> {
    fn path(&self, name: &str) -> PathBuf {
        self.scratch.join(name)
    }

    /// The program on the repository of that kind.
    fn program(&self, kind: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_backstop"));
        command.arg("-r").arg(self.path(kind)).arg("--trust-dir").arg(self.path("trust"));
        if kind != KINDS[0] {
            command.arg("--key-file").arg(self.path("key"));
        }
        command.stdout(Stdio::null()).stderr(Stdio::inherit());
        command
    }

    /// Seconds that a backup into an empty repository takes.
    fn back_up(&self, kind: &str, image: &Path) -> f64 {
        match fs::remove_dir_all(self.path(kind)) {
            Err(error) if error.kind() != ErrorKind::NotFound => panic!("{error}"),
            _ => {}
        }
        let mut init = self.program(kind);
        init.arg("init").args((kind != KINDS[0]).then_some("--encrypt"));
        // The last repository had another id.
        init.arg("--accept-rollback");
        run(init);
        let mut backup = self.program(kind);
        backup.args(["--accept-rollback", "backup", "image", "--vm", "vm"]).arg(image);
        let began = Instant::now();
        run(backup);
        began.elapsed().as_secs_f64()
    }

    /// Seconds that reading the disk from a new mount takes.
    fn read(&self, kind: &str) -> f64 {
        let dir = self.path("mnt");
        fs::create_dir_all(&dir).expect("a directory");
        let mut server = Server(self.program(kind).arg("mount").arg(&dir).spawn().expect("runs"));
        let point = dir.join("vms/vm/latest");
        let deadline = Instant::now() + Duration::from_secs(30);
        while !point.exists() {
            assert!(Instant::now() < deadline, "the mount appears");
            std::thread::sleep(Duration::from_millis(10));
        }
        let disk = fs::read_dir(&point).expect("a restore point").find_map(|entry| {
            let path = entry.expect("an entry").path();
            path.extension().is_some_and(|extension| extension == "raw").then_some(path)
        });
        let mut file = File::open(disk.expect("a disk")).expect("opens");
        let mut buffer = vec![0; 1 << 20];
        let began = Instant::now();
        while file.read(&mut buffer).expect("reads") > 0 {}
        let seconds = began.elapsed().as_secs_f64();
        drop(file);
        server.end();
        seconds
    }
}

fn run(mut command: Command) {
    assert!(command.status().expect("the program runs").success(), "{command:?}");
}

/// A mount, which ends with this value.
struct Server(Child);

impl Server {
    fn end(&mut self) {
        let pid = self.0.id().to_string();
        let asked = Command::new("kill").args(["-TERM", &pid]).status();
        assert!(asked.is_ok_and(|status| status.success()), "the mount is asked to end");
        assert!(self.0.wait().expect("it ends").success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It has ended, as a rule.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
