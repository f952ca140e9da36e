//! A download from the real transfer daemon, against the daemon's own client: the same disk over
//! TLS with four connections, one run of each in turn. Both drop what they read.
//!
//! `cargo bench --bench transfer -- [--runs N] [--mib N] [--connections N] [--piece MIB]`

#[path = "../tests/lab/export.rs"]
#[expect(dead_code, reason = "shared with tests/lab, which uses more of it")]
mod export;
#[path = "../tests/lab/lab.rs"]
#[expect(dead_code, reason = "shared with tests/lab, which uses more of it")]
mod lab;
#[path = "../tests/support/skip.rs"]
mod skip;
#[path = "../tests/support/program.rs"]
mod support;

use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use backstop::base::chance::{Chance, SystemChance};
use backstop::ingest::source::ImageSource;
use backstop::ovirt::transfer::{ImageClient, TicketUrls, TransferSource};

use export::{Export, For, options};
use lab::Lab;

const MIB: u64 = 1 << 20;

/// The daemon's own client, with a target that forgets everything. Prints seconds and CPU seconds.
const REFERENCE: &str = r#"
import sys, time
from urllib.parse import urlparse
from ovirt_imageio._internal.backends import http
from ovirt_imageio.client import _io

class Void:
    def clone(self): return Void()
    def seek(self, place): pass
    def write(self, buffer): return len(buffer)
    def zero(self, length): pass
    def flush(self): pass
    def close(self): pass

url, ca, connections = sys.argv[1:]
began, cpu = time.monotonic(), time.process_time()
with http.open(urlparse(url), "r", cafile=ca, secure=True) as source:
    _io.copy(source, Void(), max_workers=int(connections), zero=False, hole=False)
print(time.monotonic() - began, time.process_time() - cpu)
"#;

/// What one run took.
#[derive(Debug, Clone, Copy)]
struct Took {
    seconds: f64,
    cpu_seconds: f64,
}

fn option(name: &str, default: u64) -> u64 {
    let mut args = std::env::args().skip_while(|arg| arg != name);
    args.nth(1).map_or(default, |value| value.parse().expect("a number"))
}

fn reference(lab: &Lab, url: &str, connections: u64) -> Took {
    let ran = Command::new(lab.info("python"))
        .args(["-c", REFERENCE, url, lab.info("internal_ca_file"), &connections.to_string()])
        .output()
        .unwrap();
    let text = String::from_utf8(ran.stdout).unwrap();
    let mut numbers = text.split_whitespace().map(|number| number.parse().unwrap());
    match (numbers.next(), numbers.next()) {
        (Some(seconds), Some(cpu_seconds)) => Took { seconds, cpu_seconds },
        _ => panic!("the reference failed: {}", String::from_utf8_lossy(&ran.stderr)),
    }
}

fn ours(lab: &Lab, urls: &TicketUrls, connections: u64, piece: u64) -> Took {
    let mut options = options(lab);
    options.connections = connections as usize;
    let (began, cpu) = (Instant::now(), cpu_seconds());
    let source = TransferSource::full(ImageClient::open(urls, options).unwrap()).unwrap();
    let next = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..connections {
            scope.spawn(|| {
                let mut buffer = vec![0; piece as usize];
                loop {
                    let at = next.fetch_add(piece, Ordering::Relaxed);
                    if at >= source.size_bytes() {
                        break;
                    }
                    let len = piece.min(source.size_bytes() - at) as usize;
                    source.read_at(at, &mut buffer[..len]).unwrap();
                }
            });
        }
    });
    drop(source);
    Took { seconds: began.elapsed().as_secs_f64(), cpu_seconds: cpu_seconds() - cpu }
}

/// CPU time of this process, in seconds, to the hundredth.
fn cpu_seconds() -> f64 {
    let text = fs::read_to_string("/proc/self/stat").unwrap();
    let after_name = text.rsplit_once(')').unwrap().1;
    let ticks = |n: usize| after_name.split_whitespace().nth(n).unwrap().parse::<f64>().unwrap();
    (ticks(11) + ticks(12)) / 100.0
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let Some(lab) = Lab::start("bench") else { return };
    let (runs, mib) = (option("--runs", 5), option("--mib", 1024));
    let (connections, piece) = (option("--connections", 4), option("--piece", 8) * MIB);
    let mut bytes = vec![0; (mib * MIB) as usize];
    SystemChance.fill(&mut bytes);
    let image = lab.place.file("image.raw", &bytes);
    drop(bytes);
    let export = Export::start(&lab, image.as_ref(), "raw", For::Reading);
    // This daemon tells nobody of a local socket, by which the reference would go.
    export.give_ticket("proxy", For::Reading);
    let urls = TicketUrls { direct: Some(export.url_at("proxy")), proxy: None };
    let url = export.url_at("proxy");
    println!("{mib} MiB, {connections} connections, pieces of {} MiB", piece / MIB);
    println!("reference MiB/s (CPU s)    ours MiB/s (CPU s)    ratio");
    let mut all = Vec::new();
    for _ in 0..runs {
        let theirs = reference(&lab, url.expose(), connections);
        let ours = ours(&lab, &urls, connections, piece);
        let rate = |took: Took| mib as f64 / took.seconds;
        println!(
            "{:8.0} ({:.2})   {:8.0} ({:.2})   {:.2}",
            rate(theirs),
            theirs.cpu_seconds,
            rate(ours),
            ours.cpu_seconds,
            rate(ours) / rate(theirs)
        );
        all.push((rate(theirs), rate(ours)));
    }
    println!(
        "medians: {:.0} and {:.0} MiB/s, ratio {:.2}",
        median(all.iter().map(|run| run.0).collect()),
        median(all.iter().map(|run| run.1).collect()),
        median(all.iter().map(|run| run.1 / run.0).collect())
    );
}
