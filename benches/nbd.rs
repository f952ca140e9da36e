//! A disk over NBD: the server of this program against `qemu-nbd` over the mounted file. Every run
//! has servers of its own, so nothing is decoded yet; the repository lies in the page cache.
//!
//! `cargo bench --bench nbd -- [--runs N]`, as root, with nbdcopy, qemu-img and qemu-nbd.

#[path = "../tests/nbd/client.rs"]
#[expect(dead_code, reason = "shared with tests/nbd, which uses more of it")]
mod client;
#[path = "support/corpus.rs"]
mod corpus;

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use client::{Client, Wish};

const MIB: u64 = 1 << 20;
const READ_BYTES: u32 = 4096;
/// Connections of the parallel random reads, as nbdcopy has.
const CONNECTIONS: u64 = 4;

/// Who serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Own,
    QemuNbd,
}

/// What is asked of a server.
#[derive(Debug, Clone, Copy)]
enum Load {
    Nbdcopy,
    Convert,
    Random { connections: u64 },
}

const LOADS: [(&str, Load); 4] = [
    ("nbdcopy, MiB/s", Load::Nbdcopy),
    ("qemu-img convert, MiB/s", Load::Convert),
    ("random 4 KiB, one connection, reads/s", Load::Random { connections: 1 }),
    ("random 4 KiB, four connections, reads/s", Load::Random { connections: CONNECTIONS }),
];

/// The repository, and what it holds.
struct Place {
    dir: PathBuf,
    size_bytes: u64,
}

/// Processes that serve, ended when this is dropped.
struct Serving<'a> {
    place: &'a Place,
    children: Vec<Child>,
}

/// What one run came to: the rate, and the CPU seconds of the servers.
#[derive(Debug, Clone, Copy)]
struct Took {
    rate: f64,
    cpu_seconds: f64,
}

impl Place {
    fn new(dir: &Path) -> Self {
        let image = corpus::system_image(dir);
        let size_bytes = fs::metadata(&image).expect("the image").len();
        let place = Self { dir: dir.to_owned(), size_bytes };
        let disk = format!("system={}", image.display());
        for args in [&["init"][..], &["backup", "image", "--vm", "vm", &disk]] {
            assert!(place.backstop(args).output().is_ok_and(|ran| ran.status.success()));
        }
        fs::remove_file(image).expect("the image is not needed any more");
        place
    }

    fn backstop(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_backstop"));
        command.args(args).env("BACKSTOP_REPO", self.dir.join("repo"));
        command.env("BACKSTOP_RUNTIME_DIR", self.dir.join("run")).stdout(Stdio::piped());
        command
    }

    fn socket(&self) -> PathBuf {
        self.dir.join("disk.sock")
    }

    fn uri(&self) -> String {
        format!("nbd+unix:///?socket={}", self.socket().display())
    }

    fn serve(&self, way: Way) -> Serving<'_> {
        let mut serving = Serving { place: self, children: Vec::new() };
        let socket = self.socket();
        let socket = socket.to_str().expect("a plain path");
        match way {
            Way::Own => {
                let args = ["attach", "vm@latest", "system", "--foreground", "--nbd", socket];
                serving.start(&mut self.backstop(&args));
            }
            Way::QemuNbd => {
                let mount = self.dir.join("mnt");
                fs::create_dir_all(&mount).expect("a directory");
                serving.start(&mut self.backstop(&["mount", mount.to_str().expect("a path")]));
                let disk = mount.join("vms/vm/latest/system.raw");
                let mut server = Command::new("qemu-nbd");
                let options = ["--read-only", "--persistent", "--shared=8", "--format=raw"];
                // It complains of whoever only looks whether it listens.
                server.args(options).args(["--socket", socket]).arg(disk).stderr(Stdio::null());
                serving.children.push(server.spawn().expect("qemu-nbd is installed"));
                // The file is there a moment before anybody listens.
                while UnixStream::connect(self.socket()).is_err() {
                    thread::sleep(Duration::from_millis(2));
                }
            }
        }
        serving
    }

    fn random(&self, connections: u64) {
        let chunks = self.size_bytes / MIB;
        let read = |first: u64| {
            let mut client = Client::connect(&self.socket(), Wish::Structured);
            for n in (first..chunks).step_by(connections as usize) {
                // Every chunk once, in an order that no read-ahead knows: 7919 is prime.
                let chunk = n * 7919 % chunks;
                let block = n * 61 % (MIB / u64::from(READ_BYTES));
                let offset = chunk * MIB + block * u64::from(READ_BYTES);
                client.read(offset, READ_BYTES).expect("nothing is damaged");
            }
        };
        thread::scope(|scope| (0..connections).for_each(|n| drop(scope.spawn(move || read(n)))));
    }

    fn run(&self, way: Way, load: Load) -> Took {
        let serving = self.serve(way);
        let began = Instant::now();
        let mut amount = self.size_bytes as f64 / MIB as f64;
        match load {
            Load::Nbdcopy => succeed(Command::new("nbdcopy").args([&self.uri(), "null:"])),
            Load::Convert => {
                let target = format!("driver=null-co,size={}", self.size_bytes);
                let convert = ["convert", "-n", "-f", "raw", "-m", "8", "-W", &self.uri()];
                let mut command = Command::new("qemu-img");
                succeed(command.args(convert).args(["--target-image-opts", &target]));
            }
            Load::Random { connections } => {
                amount = (self.size_bytes / MIB) as f64;
                self.random(connections);
            }
        }
        let rate = amount / began.elapsed().as_secs_f64();
        Took { rate, cpu_seconds: serving.cpu_seconds() }
    }
}

impl Serving<'_> {
    /// Starts a process and waits for the line that says that it serves.
    fn start(&mut self, command: &mut Command) {
        let mut child = command.spawn().expect("the program runs");
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().expect("it is piped"));
        stdout.read_line(&mut line).expect("it says something");
        assert!(!line.is_empty(), "it serves");
        self.children.push(child);
    }

    fn cpu_seconds(&self) -> f64 {
        self.children.iter().map(|child| cpu_seconds(child.id())).sum()
    }
}

impl Drop for Serving<'_> {
    fn drop(&mut self) {
        // The last one first: it holds on to what the one before shows.
        for child in self.children.iter_mut().rev() {
            let _told = Command::new("kill").arg(child.id().to_string()).status();
            let _ended = child.wait();
        }
        let _is_gone = fs::remove_file(self.place.socket());
    }
}

/// CPU time of a process, in seconds, to the hundredth.
fn cpu_seconds(pid: u32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it lives");
    let after_name = text.rsplit_once(')').expect("a name").1;
    let ticks = |n| after_name.split_whitespace().nth(n).and_then(|word| word.parse::<f64>().ok());
    (ticks(11).expect("a number") + ticks(12).expect("a number")) / 100.0
}

fn succeed(command: &mut Command) {
    assert!(command.status().is_ok_and(|status| status.success()), "{command:?}");
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let runs = std::env::args().skip_while(|arg| arg != "--runs").nth(1);
    let runs = runs.map_or(5, |value| value.parse().expect("a number"));
    let scratch = tempfile::tempdir().expect("a directory");
    let place = Place::new(scratch.path());
    println!("a disk of {} MiB, {runs} runs in turn, medians", place.size_bytes / MIB);
    println!("| | own | CPU s | qemu-nbd over the mount | CPU s | own / qemu-nbd |");
    println!("|---|--:|--:|--:|--:|--:|");
    for (name, load) in LOADS {
        let pairs = (0..runs).map(|_| (place.run(Way::Own, load), place.run(Way::QemuNbd, load)));
        let pairs: Vec<_> = pairs.collect();
        let of = |f: fn(&(Took, Took)) -> f64| median(pairs.iter().map(f).collect());
        println!(
            "| {name} | {:.0} | {:.2} | {:.0} | {:.2} | {:.2} |",
            of(|pair| pair.0.rate),
            of(|pair| pair.0.cpu_seconds),
            of(|pair| pair.1.rate),
            of(|pair| pair.1.cpu_seconds),
            of(|pair| pair.0.rate / pair.1.rate),
        );
    }
}
