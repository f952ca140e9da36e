//! The figures of all sizes side by side, and which of them must not grow.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::numbers_of;
use crate::process::Figures;

/// What a figure may do from the smallest repository to the largest.
#[derive(Clone, Copy)]
enum Rule {
    /// It is only told.
    Told,
    /// It stays below three times the first, and so much.
    Flat { slack: f64 },
    /// The same, counted for each restore point, and so much in all.
    PerPoint { slack: f64 },
    /// It is at most so much, at any size.
    AtMost(f64),
}

use Rule::{AtMost, Flat, PerPoint, Told};

/// How often the first figure the last may be.
const GROWTH_MAX: f64 = 3.0;

/// Rows: the work, its figure, what it is called, and what must hold of it.
const ROWS: &[(&str, &str, &str, Rule)] = &[
    ("open", "ms", "open with the index, ms", Flat { slack: 5.0 }),
    ("open", "memory", "- memory, MiB", Flat { slack: 4.0 }),
    ("open", "resident", "- resident with mapped pages, MiB", AtMost(32.0)),
    ("list", "ms", "list, ms", PerPoint { slack: 5.0 }),
    ("list", "memory", "- memory, MiB", Told),
    ("show", "ms", "show VM@latest, ms", PerPoint { slack: 5.0 }),
    ("forget", "ms", "forget, planning, ms", PerPoint { slack: 5.0 }),
    ("mount", "ms", "mount to the first byte, without the kernel, ms", PerPoint { slack: 20.0 }),
    ("mount", "memory", "- memory, MiB", Told),
    ("session", "ms", "begin a backup, ms", PerPoint { slack: 20.0 }),
    ("session", "memory", "- memory, MiB", Told),
    ("dedup", "hits", "a backup inherits, pages not checked yet: hits, M/s", Told),
    ("dedup", "misses", "- misses, M/s", Told),
    ("lookups", "hits", "six segments, warm: hits, M/s", Told),
    ("lookups", "known", "- hits without their packs, M/s", Told),
    ("lookups", "misses", "- misses, M/s", Told),
    ("lookups", "sorted hits", "- sorted hits, M/s", Told),
    ("lookups", "batched hits", "- hits in batches, in any order, M/s", Told),
    ("lookups", "sorted batched hits", "- hits, sorted and in batches, M/s", Told),
    ("lookups", "sorted batched known", "- the same without their packs, M/s", Told),
    ("lookups", "sorted batched misses", "- misses, sorted and in batches, M/s", Told),
    ("lookups", "marked hits", "- all copies marked, sorted and in batches: hits, M/s", Told),
    ("lookups", "marked misses", "- misses, M/s", Told),
    ("lookups-merged", "hits", "one segment, warm: hits, M/s", Told),
    ("lookups-merged", "known", "- hits without their packs, M/s", Told),
    ("lookups-merged", "misses", "- misses, M/s", Told),
    ("lookups-merged", "sorted hits", "- sorted hits, M/s", Told),
    ("lookups-merged", "batched hits", "- hits in batches, in any order, M/s", Told),
    ("lookups-merged", "sorted batched hits", "- hits, sorted and in batches, M/s", Told),
    ("lookups-merged", "sorted batched known", "- the same without their packs, M/s", Told),
    ("lookups-merged", "sorted batched misses", "- misses, sorted and in batches, M/s", Told),
    (
        "lookups-merged",
        "marked hits",
        "- all copies marked, sorted and in batches: hits, M/s",
        Told,
    ),
    ("lookups-merged", "marked misses", "- misses, M/s", Told),
    ("lookups-merged", "memory", "- memory, MiB", AtMost(256.0)),
    ("cold-hits", "rate", "six segments, cold: hits, k/s", Told),
    ("cold-hits", "faults", "- page faults for each", AtMost(2.5)),
    ("cold-misses", "rate", "- misses, k/s", Told),
    ("cold-misses", "faults", "- page faults for each", Told),
    ("cold-batches", "rate", "- hits in batches of 256, k/s", Told),
    ("cold-batches", "faults", "- page faults for each", Told),
    ("cold-marks", "rate", "- all copies marked, in batches of 256, k/s", Told),
    ("cold-marks", "faults", "- page faults for each", Told),
    ("cold-hits-merged", "rate", "one segment, cold: hits, k/s", Told),
    ("cold-hits-merged", "faults", "- page faults for each", AtMost(1.5)),
    ("cold-misses-merged", "rate", "- misses, k/s", Told),
    ("cold-misses-merged", "faults", "- page faults for each", Told),
    ("prune", "marking", "prune, a dry run: marking, ms", Told),
    ("prune", "counting", "- counting, ms", Told),
    ("prune", "memory", "- memory, MiB", AtMost(256.0)),
    ("prune-deletes", "marking", "prune that deletes, one segment: marking, ms", Told),
    ("prune-deletes", "counting", "- counting, ms", Told),
    ("prune-deletes", "indexing", "- taking them out of the index, ms", Told),
    ("prune-deletes", "deleting", "- deleting packs, ms", Told),
    ("prune-deletes", "packs", "- packs deleted", Told),
    ("prune-deletes", "memory", "- memory, MiB", AtMost(256.0)),
    ("merge", "rate", "merge all, M entries/s", Told),
    ("merge", "memory", "- memory, MiB", AtMost(256.0)),
    ("packs", "rate", "packs of one backup, durable, GB/s", Told),
    ("packs", "busy", "- processor seconds per GB", Told),
    ("packs", "append", "- appending an entry, us", Told),
];

#[derive(Default)]
pub(crate) struct Table {
    /// By work and figure, a value for each size.
    values: BTreeMap<(String, String), Vec<f64>>,
    points: Vec<f64>,
}

impl Table {
    /// Adds what several runs of a work told about the next size: the median of each figure.
    pub(crate) fn add(&mut self, work: &str, runs: Vec<Figures>) {
        for figure in runs[0].keys() {
            let mut values: Vec<_> = runs.iter().map(|run| run[figure]).collect();
            values.sort_by(f64::total_cmp);
            let of_sizes = self.values.entry((work.to_owned(), figure.clone())).or_default();
            of_sizes.push(values[values.len() / 2]);
        }
    }

    /// Prints all rows.
    pub(crate) fn print(&mut self, sizes: &[u64]) {
        self.points = sizes.iter().map(|chunks| numbers_of(*chunks).points as f64).collect();
        let head = |what: &str, of: &dyn Fn(usize) -> f64| {
            let cells: String = (0..sizes.len()).map(|n| format!(" {:>12} |", of(n))).collect();
            println!("| {what:<52} |{cells}");
        };
        head("chunks", &|n| sizes[n] as f64);
        head("restore points", &|n| self.points[n]);
        for (work, figure, label, _) in ROWS {
            let Some(values) = self.row(work, figure) else { continue };
            let cells: String = values.iter().map(|value| format!(" {value:>12.2} |")).collect();
            println!("| {label:<52} |{cells}");
        }
    }

    /// By work and figure, a value for each size; and the rows as they are called.
    pub(crate) fn to_json(&self, sizes: &[u64]) -> Value {
        let mut works = BTreeMap::<&str, Map<String, Value>>::new();
        for ((work, figure), values) in &self.values {
            works.entry(work).or_default().insert(figure.clone(), json!(values));
        }
        let rows: Vec<_> =
            ROWS.iter().map(|(work, figure, label, _)| [label, work, figure]).collect();
        json!({ "chunks": sizes, "points": self.points, "works": works, "rows": rows })
    }

    fn row(&self, work: &str, figure: &str) -> Option<&Vec<f64>> {
        self.values.get(&(work.to_owned(), figure.to_owned()))
    }

    /// The rules that do not hold, each as a sentence.
    pub(crate) fn broken(&self) -> Vec<String> {
        let mut broken = Vec::new();
        for (work, figure, _, rule) in ROWS {
            let values = self.row(work, figure).expect("every figure was measured");
            let (first, last) = (values[0], values[values.len() - 1]);
            let most = match *rule {
                Told => f64::INFINITY,
                Flat { slack } => GROWTH_MAX * first + slack,
                PerPoint { slack } => {
                    let points = self.points[self.points.len() - 1] / self.points[0];
                    GROWTH_MAX * first * points + slack
                }
                AtMost(most) => most,
            };
            if last > most {
                let name = format!("{work}, {figure}");
                broken.push(format!("{name}: {first:.2} has become {last:.2}, over {most:.2}"));
            }
        }
        broken
    }
}
