//! The rows of the crash tables of `docs/durability.md`: kills leave what the rows say, every row
//! is met, and everything goes on from there.

use std::collections::BTreeSet;
use std::path::Path;

use crate::acts::{ACTS, Act, files_below};
use crate::kill::survive;
use crate::preload::{ALL_CALLS, Fault, Plan, Preload};
use crate::stage::Stage;

/// Paths of objects below the root, area by area.
struct Objects(BTreeSet<String>);

impl Objects {
    fn of(repo: &Path) -> Self {
        let name = |path: &Path| path.strip_prefix(repo).unwrap().to_str().unwrap().to_owned();
        Self(files_below(repo).iter().map(|path| name(path)).collect())
    }

    /// Those of an area that are not in `other`.
    fn without(&self, area: &str, other: &Self) -> usize {
        self.0.difference(&other.0).filter(|name| name.starts_with(area)).count()
    }

    fn count(&self, area: &str) -> usize {
        self.0.iter().filter(|name| name.starts_with(area)).count()
    }
}

/// Which row the objects belong to that a kill has left.
type Row = fn(before: &Objects, after: &Objects) -> &'static str;

fn prune_row(before: &Objects, after: &Objects) -> &'static str {
    let gone = |area| before.without(area, after);
    match after.count("gc/") {
        0 if gone("commit/") > 0 => "done",
        0 if after.without("packs/", before) > 0 => "G4",
        0 => "before G4",
        _ if gone("commit/") > 0 => "G10",
        _ if gone("packs/") > 0 => "G9",
        _ if after.without("index/", before) > 1 => "G8",
        _ => "G5 to G7",
    }
}

fn forget_row(before: &Objects, after: &Objects) -> &'static str {
    if after.without("forget/", before) > 0 { "dropped" } else { "there" }
}

fn undo_row(before: &Objects, after: &Objects) -> &'static str {
    match (before.without("forget/", after), after.without("sessions/", before)) {
        (0, 0) => "dropped",
        (0, _) => "dropped, registered",
        (_, 0) => "back",
        _ => "back, registered",
    }
}

fn hold_row(before: &Objects, after: &Objects) -> &'static str {
    if after.without("hold/", before) > 0 { "held" } else { "not held" }
}

fn repair_row(before: &Objects, after: &Objects) -> &'static str {
    let aside = |what| after.count(&format!("quarantine/{what}"));
    match (aside("packs"), aside("index")) {
        (0, 0) if after.without("packs/", before) > 0 => "step 4",
        (0, 0) if after.without("config", before) > 0 => "steps 1 to 3",
        (0, 0) => "before",
        (0, _) => "step 5",
        _ => "step 6 and later",
    }
}

fn parity_row(before: &Objects, after: &Objects) -> &'static str {
    match (after.count("quarantine/packs"), after.without("parity/", before)) {
        (0, 0) => "before",
        (_, 0) => "step 3",
        _ => "step 7",
    }
}

const TABLES: &[(&str, Row, &[&str])] = &[
    ("forget", forget_row, &["there", "dropped"]),
    ("undo", undo_row, &["dropped", "dropped, registered", "back, registered"]),
    ("hold", hold_row, &["not held", "held"]),
    ("prune", prune_row, &["before G4", "G4", "G5 to G7", "G8", "G9", "G10"]),
    ("repair", repair_row, &["before", "steps 1 to 3", "step 4", "step 5", "step 6 and later"]),
    ("repair from parity", parity_row, &["before", "step 3", "step 7"]),
];

/// The rows that kills of an act leave, before each of its calls but syncs after syncs.
fn rows_of(stage: &Stage, preload: &Preload, act: &Act, row: Row) -> BTreeSet<&'static str> {
    let run = |plan| {
        let _told = stage.set(act);
        let before = Objects::of(&stage.lab.repo());
        let mut after = None;
        let look = || after = Some(Objects::of(&stage.lab.repo()));
        let survived = survive(stage, preload, act, plan, look);
        survived.unwrap_or_else(|broken| panic!("{}, {plan:?}: {broken}", act.name));
        row(&before, &after.unwrap())
    };
    run(Plan::only_counting(ALL_CALLS));
    let calls = preload.calls();
    let before = std::iter::once('s').chain(calls.chars());
    let changes = |(_, call, before): &(usize, char, char)| (*call, *before) != ('s', 's');
    let places =
        (1..).zip(calls.chars()).zip(before).map(|((at, call), before)| (at, call, before));
    let kill = |at| Plan { calls: ALL_CALLS, at, times: 1, fault: Fault::Kill };
    places.filter(changes).map(|(at, ..)| run(kill(at))).collect()
}

#[test]
fn every_row_of_the_crash_tables_is_met_and_work_goes_on_from_it() {
    let stage = Stage::new(None);
    let preload = Preload::build();
    for (name, row, expected) in TABLES {
        let act = ACTS.iter().find(|act| act.name == *name).unwrap();
        let found = rows_of(&stage, &preload, act, *row);
        let missing: Vec<_> = expected.iter().filter(|row| !found.contains(**row)).collect();
        assert!(missing.is_empty(), "{name}: {missing:?} of {found:?}");
    }
}
