//! Power that fails under real file systems. The program writes to a file system on a recorded
//! medium; what may be found on the medium after a crash is mounted and held to what was told.

mod journal;
mod mounted;
mod recorder;

use std::path::Path;

use backstop::base::id::PointId;
use backstop::store::testing::SeededChance;
use serde_json::Value;
use tempfile::TempDir;

use crate::acts::{Ended, disk, ended_of, id_of};
use crate::filesystems::journal::Journal;
use crate::filesystems::mounted::{Kind, XFS};
use crate::filesystems::recorder::Recorder;
use crate::preload::{Fault, Plan, Preload};
use crate::program::Lab;
use crate::scale::{runs, seed};
use crate::skip::{is_root, skip};
use crate::told::{Broken, Told};

pub(crate) use mounted::{EXT4, Mounted};

/// Number and version of a disk; a disk of a VM has one restore point per version.
type Image = (u64, u64);

/// What a command changes.
#[derive(Clone, Copy)]
enum Change {
    Nothing,
    Adds(Image),
    Drops(Image),
    Returns(Image),
}

/// Commands on the recorded file system, one after the other.
const HISTORY: &[(&[&str], Change)] = &[
    (&["backup", "image", "--vm", "web", "disk=next.raw"], Change::Adds((1, 1))),
    (&["backup", "image", "--vm", "db", "disk=next.raw"], Change::Adds((2, 1))),
    (&["backup", "image", "--vm", "web", "disk=next.raw"], Change::Adds((1, 2))),
    (&["rebuild-index"], Change::Nothing),
    (&["forget", "db@latest"], Change::Drops((2, 1))),
    (&["forget", "web@latest"], Change::Drops((1, 2))),
    (&["forget", "--undo", "db@latest"], Change::Returns((2, 1))),
    (&["backup", "image", "--vm", "mail", "disk=next.raw"], Change::Adds((3, 1))),
    (&["forget", "db@latest"], Change::Drops((2, 1))),
    (&["prune", "--live-share", "100"], Change::Nothing),
    (&["repair", "--apply"], Change::Nothing),
    (&["backup", "image", "--vm", "web", "disk=next.raw"], Change::Adds((1, 3))),
];

/// A history that was recorded.
struct Recording {
    kind: Kind,
    journal: Journal,
    /// What was told when the journal had so many events.
    told: Vec<(usize, Told)>,
    dir: TempDir,
}

impl Recording {
    /// Runs the history; with or without the syncs that the program asks for.
    fn new(kind: Kind, has_syncs: bool) -> Self {
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        for name in ["medium", "mount"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        let recorder = Recorder::mount(&dir.path().join("medium"), kind.len_bytes);
        kind.make(&recorder.disk());
        let mounted = Mounted::new(&kind, &recorder.disk(), &dir.path().join("mount")).unwrap();
        let told = run_history(&recorder, &mounted.repo(), has_syncs);
        drop(mounted);
        Self { kind, journal: recorder.finish(), told, dir }
    }

    /// What is broken in one state that may be found if the power fails after `place` events.
    fn check(&self, place: usize, dice: &SeededChance) -> Result<(), Broken> {
        let file = self.dir.path().join("state");
        self.journal.after_crash(place, dice).save(&file, self.kind.len_bytes);
        let mounted = Mounted::new(&self.kind, &file, &self.dir.path().join("mount"))?;
        let told = self.told.iter().rev().find(|(at, _)| *at <= place).map(|(_, told)| told);
        let mut told = told.expect("places begin where something was told").clone();
        let repo = told.hold(&mounted.repo())?;
        told.go_on(&repo)
    }

    /// What is broken in that many states, at places spread over the history.
    fn check_all(&self, states: usize) -> Vec<Broken> {
        let (begin, end) = (self.told[0].0, self.told[self.told.len() - 1].0);
        let mut broken = Vec::new();
        for state in 0..states {
            let place = begin + (state + 1) * (end - begin) / states;
            let dice = SeededChance::new(seed() * 1_000_003 + state as u64);
            if let Err(what) = self.check(place, &dice) {
                broken.push(format!("state {state}, after {place} of {end} events: {what}"));
            }
        }
        let flushes = self.journal.flushes_since(begin);
        let name = self.kind.name;
        let count = broken.len();
        println!("filesystems: {name}: {} events, {flushes} flushes", end - begin);
        println!("filesystems: {name}: {states} states, {count} broken");
        broken
    }
}

/// Makes a repository and runs the history on it.
fn run_history(recorder: &Recorder, repo: &Path, has_syncs: bool) -> Vec<(usize, Told)> {
    let preload = Preload::build();
    let lab = Lab::around(repo);
    lab.run(["init", "--parity"]).expect(0);
    let mut told = Told::default();
    let mut log = Vec::new();
    for (args, change) in HISTORY {
        begin(*change, &lab, &mut told);
        log.push((recorder.journal().len(), told.clone()));
        if args[0] == "repair" {
            told.weakened();
            log.push((recorder.journal().len(), told.clone()));
            std::fs::remove_file(repo.join("config.1")).unwrap();
        }
        let mut command = lab.command(*args);
        command.arg("--json");
        if !has_syncs {
            let plan = Plan { calls: "s", at: 1, times: usize::MAX >> 1, fault: Fault::Skip };
            preload.arm(&mut command, repo, plan);
        }
        let out = command.output().unwrap();
        let Some(Ended::Done(document)) = ended_of(0, &out) else { panic!("{args:?}: {out:?}") };
        end(*change, &document, &mut told);
        log.push((recorder.journal().len(), told.clone()));
    }
    log
}

/// What may be so from the beginning of a command on.
fn begin(change: Change, lab: &Lab, told: &mut Told) {
    match change {
        Change::Nothing => {}
        Change::Adds((number, version)) => {
            let bytes = disk(number, version);
            lab.file("next.raw", &bytes);
            told.attempted(&bytes);
        }
        Change::Drops(image) | Change::Returns(image) => told.in_doubt(point_of(image, told)),
    }
}

/// What is so from its end on.
fn end(change: Change, document: &Value, told: &mut Told) {
    match change {
        Change::Nothing => {}
        Change::Adds((number, version)) => {
            told.committed(id_of(document), &disk(number, version));
        }
        Change::Drops(image) => told.dropped(point_of(image, told)),
        Change::Returns(image) => told.returned(point_of(image, told)),
    }
}

fn point_of((number, version): Image, told: &Told) -> PointId {
    told.point_with(&disk(number, version)).expect("the disk was backed up")
}

fn survives(kind: Kind, short: usize, long: usize) {
    let test = format!("filesystems: {}", kind.name);
    if !is_root() || !Path::new("/dev/fuse").exists() {
        return skip(&test, "mounting needs root and /dev/fuse");
    }
    let broken = Recording::new(kind, true).check_all(runs(short, long));
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}

#[test]
fn ext4_loses_nothing_that_was_told_whenever_the_power_fails() {
    survives(EXT4, 24, 1000);
}

#[test]
fn xfs_loses_nothing_that_was_told_whenever_the_power_fails() {
    survives(XFS, 8, 300);
}

/// The machine itself is tested: without syncs it must find losses.
#[test]
fn a_program_that_does_not_sync_is_caught() {
    if !is_root() || !Path::new("/dev/fuse").exists() {
        return skip("filesystems: no syncs", "mounting needs root and /dev/fuse");
    }
    let broken = Recording::new(EXT4, false).check_all(runs(8, 100));
    println!("filesystems: without syncs: {:?}", broken.first());
    let is_lost = |broken: &&Broken| broken.contains("lost") || broken.contains("not whole");
    assert!(broken.iter().filter(is_lost).count() > 0, "nobody noticed: {broken:?}");
}
