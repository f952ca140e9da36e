//! What was measured, as a table.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::reads::{Plan, Timed, Work};

/// The runs of all contenders, in the order in which they first ran.
#[derive(Default)]
pub(crate) struct Table {
    names: Vec<String>,
    runs: BTreeMap<(usize, usize), Vec<Timed>>,
}

/// Contenders that the others are compared with.
const BASE: &str = "backstop";
/// What the parts of the mount take together.
const TOGETHER: &str = "the library and that mount, together";

impl Table {
    pub(crate) fn add(&mut self, name: &str, work: Work, timed: Timed) {
        let place = self.names.iter().position(|known| known == name).unwrap_or_else(|| {
            self.names.push(name.to_owned());
            self.names.len() - 1
        });
        self.runs.entry((column(work), place)).or_default().push(timed);
    }

    /// Adds what the last run of the contenders `parts` would take together on so many processors,
    /// none of which ever waits, for each kind of work that they all have done.
    pub(crate) fn add_limits(&mut self, parts: &[&str], processors: usize) {
        let places: Vec<_> = parts
            .iter()
            .filter_map(|part| self.names.iter().position(|known| known == part))
            .collect();
        for (number, work) in Work::ALL.into_iter().enumerate() {
            let last = |place| self.runs.get(&(number, place)).and_then(|runs| runs.last());
            let runs: Vec<_> = places.iter().filter_map(|place| last(*place)).copied().collect();
            if runs.len() == parts.len() {
                self.add(TOGETHER, work, together(&runs, processors));
            }
        }
    }

    /// Prints a table for each kind of work. The ratio says how many times as fast the mount is.
    pub(crate) fn print(&self, plan: &Plan) {
        let base = self.names.iter().position(|name| name == BASE);
        for (number, work) in Work::ALL.into_iter().enumerate() {
            println!("\n{}", title(work, plan));
            let [a, b, c, d] = ["", "", "CPU ms", "backstop is"];
            println!("  {a:<40}{b:>12}{c:>10}{d:>13}");
            for (place, name) in self.names.iter().enumerate() {
                let Some(runs) = self.runs.get(&(number, place)) else { continue };
                let base = base.and_then(|base| self.runs.get(&(number, base)));
                println!("  {name:<40}{}", line(work, runs, base));
            }
        }
    }

    /// By contender and kind of work, every run; what is done in a run is in bytes or reads.
    pub(crate) fn to_json(&self) -> Value {
        let mut contenders = Map::new();
        for ((number, place), runs) in &self.runs {
            let runs = runs.iter().map(|run| {
                let Timed { seconds, cpu_seconds, amount } = run;
                json!({ "seconds": seconds, "cpu_seconds": cpu_seconds, "amount": amount })
            });
            let works = contenders.entry(self.names[*place].as_str()).or_insert_with(|| json!({}));
            works[key(Work::ALL[*number])] = runs.collect();
        }
        Value::Object(contenders)
    }
}

fn key(work: Work) -> String {
    match work {
        Work::InOrder => "in order".to_owned(),
        Work::PastCache => "past the page cache".to_owned(),
        Work::Again => "again".to_owned(),
        Work::AtRandom(jobs) => format!("at random, {jobs} at a time"),
    }
}

fn column(work: Work) -> usize {
    Work::ALL.iter().position(|known| *known == work).expect("one of all")
}

fn title(work: Work, plan: &Plan) -> String {
    match work {
        Work::InOrder => format!("in order, cold: GB/s of {} MiB", plan.image_bytes >> 20),
        Work::PastCache => "in order, cold, past the page cache: GB/s".to_owned(),
        Work::Again => "in order, again: GB/s".to_owned(),
        Work::AtRandom(jobs) => format!("4 KiB at random, cold, {jobs} at a time: reads/s"),
    }
}

fn line(work: Work, runs: &[Timed], base: Option<&Vec<Timed>>) -> String {
    let speed = median(runs.iter().map(speed_of));
    let speed = match work {
        Work::InOrder | Work::PastCache | Work::Again => format!("{:.2}", speed / 1e9),
        Work::AtRandom(_) => format!("{speed:.0}"),
    };
    let cpu = median(runs.iter().map(|run| run.cpu_seconds)) * 1e3;
    let ratios = base.map(|base| {
        let ratio = median(base.iter().zip(runs).map(|(base, run)| speed_of(base) / speed_of(run)));
        format!("{ratio:.2} times")
    });
    format!("{speed:>12}{cpu:>10.0}{:>13}", ratios.unwrap_or_default())
}

fn together(parts: &[Timed], processors: usize) -> Timed {
    let cpu_seconds = parts.iter().map(|part| part.cpu_seconds).sum::<f64>();
    Timed { seconds: cpu_seconds / processors as f64, cpu_seconds, amount: parts[0].amount }
}

fn speed_of(run: &Timed) -> f64 {
    run.amount / run.seconds
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
