//! The table, and the memory that a work takes.

use std::fs;

use serde_json::{Map, Value, json};

use crate::limit::{Limit, time};

/// One run of a work.
pub(crate) struct Run {
    seconds: f64,
    limit: Option<Limit>,
    peak_mib: f64,
}

impl Run {
    /// Times a work, and notes how much memory the process had at the most meanwhile.
    pub(crate) fn of(limit: Option<Limit>, work: impl FnOnce()) -> Self {
        // 5 sets the peak back to what is resident now.
        fs::write("/proc/self/clear_refs", "5").expect("the peak can be set back");
        let seconds = time(work);
        Self { seconds, limit, peak_mib: peak_mib() }
    }

    fn to_json(&self) -> Value {
        let (parts, disk) = (self.limit.map(|of| of.parts), self.limit.map(|of| of.disk));
        let (seconds, peak_mib) = (self.seconds, self.peak_mib);
        json!({ "seconds": seconds, "parts": parts, "disk": disk, "peak_mib": peak_mib })
    }
}

/// The most memory that was resident, mapped files among it.
fn peak_mib() -> f64 {
    let status = fs::read_to_string("/proc/self/status").expect("the process has a status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    let kib: f64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib / 1024.0
}

/// All rows so far.
#[derive(Default)]
pub(crate) struct Table {
    rows: Vec<(String, Option<u64>, Vec<Run>)>,
}

impl Table {
    pub(crate) fn header() {
        let [a, b, c, d] = ["work", "seconds", "limit(parts)", "ratio"];
        let [e, f, g, h] = ["disk", "ratio", "GB/s", "peak MiB"];
        println!("{a:<32}{b:>9}{c:>14}{d:>7}{e:>9}{f:>7}{g:>8}{h:>10}");
    }

    /// Prints the medians of `runs` over `bytes` of a disk, and keeps the runs. The second ratio is
    /// that to the larger one of `limit(parts)` and what the disk takes.
    pub(crate) fn report(&mut self, name: &str, bytes: Option<u64>, runs: Vec<Run>) {
        let seconds = median(&runs, |run| run.seconds);
        print!("{name:<32}{seconds:>9.3}");
        if runs.iter().all(|run| run.limit.is_some()) {
            let limit = |run: &Run| run.limit.expect("all have one");
            let parts = median(&runs, |run| limit(run).parts);
            let ratio = median(&runs, |run| limit(run).parts / run.seconds);
            let disk = median(&runs, |run| limit(run).disk);
            let both = median(&runs, |run| limit(run).parts.max(limit(run).disk) / run.seconds);
            print!("{parts:>14.3}{ratio:>7.2}{disk:>9.3}{both:>7.2}");
        } else {
            print!("{:>37}", "");
        }
        match bytes {
            Some(bytes) => print!("{:>8.2}", bytes as f64 / seconds / 1e9),
            None => print!("{:>8}", ""),
        }
        println!("{:>10.0}", median(&runs, |run| run.peak_mib));
        self.rows.push((name.to_owned(), bytes, runs));
    }

    /// By the names of the rows, every run.
    pub(crate) fn to_json(&self, threads: usize) -> Value {
        let rows = self.rows.iter().map(|(name, bytes, runs)| {
            let runs: Vec<_> = runs.iter().map(Run::to_json).collect();
            (name.clone(), json!({ "bytes": bytes, "runs": runs }))
        });
        json!({ "threads": threads, "rows": rows.collect::<Map<_, _>>() })
    }
}

fn median(runs: &[Run], value: impl Fn(&Run) -> f64) -> f64 {
    let mut values: Vec<_> = runs.iter().map(value).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
