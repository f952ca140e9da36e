//! Processes that do one thing, and what the kernel says of them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Begins the arguments of a process that does one work.
pub(crate) const ALONE: &str = "--alone";

/// What one process measured, by the name of the figure.
pub(crate) type Figures = BTreeMap<String, f64>;

/// Lets a process of its own do some work of `work::run`.
pub(crate) fn run_alone(name: &str, root: &Path, chunks: u64) -> Figures {
    let program = std::env::current_exe().expect("this program");
    let mut command = Command::new(program);
    let output = command.args([ALONE, name]).arg(root).arg(chunks.to_string()).output();
    let output = output.expect("this program starts again");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {error}");
    let text = String::from_utf8(output.stdout).expect("text");
    let figure = |line: &str| {
        let (name, value) = line.split_once('=').expect("name=value");
        (name.to_owned(), value.parse().expect("a number"))
    };
    text.lines().map(figure).collect()
}

/// Hands a figure to the process that asked.
pub(crate) fn tell(name: &str, value: f64) {
    println!("{name}={value}");
}

/// Has the kernel forget the cached pages of the index.
pub(crate) fn evict_index(root: &Path) {
    let segments = fs::read_dir(root.join("index")).expect("an index");
    for segment in segments {
        let mut dd = Command::new("dd");
        dd.args(["iflag=nocache", "count=0", "status=none"]);
        let path = segment.expect("a segment").path();
        let status = dd.arg(format!("if={}", path.display())).status();
        assert!(status.is_ok_and(|status| status.success()), "dd drops cached pages");
    }
}

/// Page faults of this process that had to wait for the medium.
pub(crate) fn major_faults() -> u64 {
    stat(9)
}

/// What all threads of this process have had of the processors. Linux counts in hundredths.
pub(crate) fn processor_seconds() -> f64 {
    (stat(11) + stat(12)) as f64 / 100.0
}

/// A field of `/proc/self/stat`, counted from the state of the process.
fn stat(field: usize) -> u64 {
    let text = fs::read_to_string("/proc/self/stat").expect("Linux says it");
    // The name of the program, which may hold anything, ends with the last bracket.
    let (_, fields) = text.rsplit_once(')').expect("a name");
    fields.split_whitespace().nth(field).and_then(|one| one.parse().ok()).expect("a number")
}

/// Memory of this process in MiB, by its name in `/proc/self/status`.
fn memory_mib(name: &str) -> f64 {
    let text = fs::read_to_string("/proc/self/status").expect("Linux says it");
    let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("Linux says it");
    let kib = line.trim_start_matches(':').trim().trim_end_matches(" kB");
    kib.parse::<f64>().expect("a number") / 1024.0
}

/// Watches the memory of this process that is no mapped file.
pub(crate) struct MemoryWatch {
    peak_kib: Arc<AtomicU64>,
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl MemoryWatch {
    pub(crate) fn start() -> Self {
        let (peak_kib, is_over) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let (peak, over) = (Arc::clone(&peak_kib), Arc::clone(&is_over));
        let thread = std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                let kib = memory_mib("RssAnon") * 1024.0;
                peak.fetch_max(kib as u64, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        Self { peak_kib, is_over, thread }
    }

    /// Tells the most there was, and the most with mapped pages.
    pub(crate) fn tell(self) {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().expect("the watch does not panic");
        let peak = self.peak_kib.load(Ordering::Relaxed) as f64 / 1024.0;
        tell("memory", peak.max(memory_mib("RssAnon")));
        tell("resident", memory_mib("VmHWM"));
    }
}
