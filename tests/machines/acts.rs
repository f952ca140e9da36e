//! The commands that the machines go through, each on a repository that gives it work to do.
//!
//! A new command joins all of them by a line in [`ACTS`].

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use backstop::base::id::PointId;
use serde_json::Value;

use crate::program::Lab;
use crate::repo::noise;
use crate::told::{Broken, Told};

/// One run of the program.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Act {
    pub(crate) name: &'static str,
    base: Base,
    args: &'static [&'static str],
    effect: Effect,
    /// How it exits when all is well.
    code: i32,
}

/// What is there before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Base {
    /// A repository without restore points.
    New,
    /// Three VMs with restore points that share chunks, and packs that no segment names.
    Filled,
    /// The same, and so many index segments that the next backup merges them.
    Merging,
    /// As filled, and one pack has a wrong byte of which nobody knows.
    Damaged,
    /// As damaged, and a copy of the configuration is gone and an index segment cut short.
    Broken,
}

/// What it changes.
#[derive(Debug, Clone, Copy)]
enum Effect {
    Nothing,
    /// Backs up `next.raw`.
    Adds,
}

const BACKUP: &[&str] = &["backup", "image", "--threads", "1", "--vm", "web", "disk=next.raw"];

/// Every command that writes, and what a backup does at first and later.
pub(crate) const ACTS: &[Act] = &[
    Act { name: "first backup", base: Base::New, args: BACKUP, effect: Effect::Adds, code: 0 },
    Act { name: "backup", base: Base::Filled, args: BACKUP, effect: Effect::Adds, code: 0 },
    Act {
        name: "merging backup",
        base: Base::Merging,
        args: BACKUP,
        effect: Effect::Adds,
        code: 0,
    },
    Act {
        name: "scrub",
        base: Base::Damaged,
        args: &["scrub", "--level", "points"],
        effect: Effect::Nothing,
        code: 3,
    },
    Act {
        name: "rebuild-index",
        base: Base::Filled,
        args: &["rebuild-index"],
        effect: Effect::Nothing,
        code: 0,
    },
    Act {
        name: "repair",
        base: Base::Broken,
        args: &["repair", "--apply"],
        effect: Effect::Nothing,
        code: 3,
    },
    Act {
        name: "restore disk",
        base: Base::Filled,
        args: &["restore", "disk", "web@latest", "disk", "out.raw", "--force"],
        effect: Effect::Nothing,
        code: 0,
    },
];

/// A directory in which each act finds its repository, again and again.
pub(crate) struct Stage {
    pub(crate) lab: Lab,
    next: Arc<Vec<u8>>,
    bases: Vec<(Base, Told)>,
}

impl Stage {
    /// With a repository at `repo`, or in a directory of its own.
    pub(crate) fn new(repo: Option<&Path>) -> Self {
        let lab = repo.map_or_else(Lab::in_memory, Lab::around);
        let next = Arc::new([disk(1, 2), noise(700_000, 9)].concat());
        lab.file("next.raw", &next);
        let mut stage = Self { lab, next, bases: Vec::new() };
        stage.lab.run(["init"]).expect(0);
        let mut told = Told::default();
        stage.keep(Base::New, &told);
        let disks = [("web", 1, 1), ("db", 2, 1), ("web", 1, 2), ("mail", 3, 1), ("web", 1, 3)];
        for (vm, number, version) in disks {
            stage.back_up(vm, disk(number, version), &mut told);
        }
        stage.kill_a_backup();
        stage.keep(Base::Filled, &told);
        let mut more = told.clone();
        (2..=3).for_each(|version| stage.back_up("mail", disk(3, version), &mut more));
        stage.keep(Base::Merging, &more);
        stage.put(Base::Filled);
        stage.damage();
        told.is_damaged = true;
        stage.keep(Base::Damaged, &told);
        stage.break_more();
        stage.keep(Base::Broken, &told);
        stage
    }

    fn back_up(&self, vm: &str, bytes: Vec<u8>, told: &mut Told) {
        let document = self.lab.back_up(vm, &bytes);
        told.committed(id_of(&document), &Arc::new(bytes));
    }

    /// Leaves a registration and what the backup stored.
    fn kill_a_backup(&self) {
        let mut stream = self.lab.start_stream("db", &[]);
        stream.feed(&noise(300_000, 5));
        stream.kill();
    }

    /// Flips a byte of the largest pack.
    fn damage(&self) {
        let packs = files_below(&self.lab.repo().join("packs"));
        let pack = packs.into_iter().max_by_key(|path| path.metadata().unwrap().len()).unwrap();
        let mut bytes = fs::read(&pack).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::remove_file(&pack).unwrap();
        fs::write(&pack, bytes).unwrap();
    }

    fn break_more(&self) {
        let repo = self.lab.repo();
        fs::remove_file(repo.join("config.1")).unwrap();
        let segment = files_below(&repo.join("index")).into_iter().min().unwrap();
        let bytes = fs::read(&segment).unwrap();
        fs::remove_file(&segment).unwrap();
        fs::write(&segment, &bytes[..bytes.len() / 2]).unwrap();
    }

    fn keep(&mut self, base: Base, told: &Told) {
        copy(&self.lab.repo(), &self.kept(base));
        let mut told = told.clone();
        told.remember_what_is_readable(&self.lab.repo());
        self.bases.push((base, told));
    }

    fn kept(&self, base: Base) -> std::path::PathBuf {
        self.lab.path(format!("{base:?}"))
    }

    fn put(&self, base: Base) {
        clear(&self.lab.repo());
        copy(&self.kept(base), &self.lab.repo());
    }

    /// Puts the repository of an act in place; returns what was told of it.
    pub(crate) fn set(&self, act: &Act) -> Told {
        self.put(act.base);
        let base = self.bases.iter().find(|(base, _)| *base == act.base);
        base.map(|(_, told)| told.clone()).unwrap_or_default()
    }

    /// The act as a process to start.
    pub(crate) fn command(&self, act: &Act) -> Command {
        let mut command = self.lab.command(act.args);
        command.arg("--json");
        command
    }

    /// Notes what a finished process may have done, and fails if it ended in no proper way.
    pub(crate) fn note(&self, act: &Act, out: &Output, told: &mut Told) -> Result<Ended, Broken> {
        let ended = ended_of(act.code, out).ok_or(format!("{} ended badly: {out:?}", act.name))?;
        match (act.effect, &ended) {
            (Effect::Nothing, _) => {}
            (Effect::Adds, Ended::Done(document)) => {
                told.committed(id_of(document), &self.next);
            }
            (Effect::Adds, _) => told.attempted(&self.next),
        }
        Ok(ended)
    }

    /// Does the act again, with nothing in its way.
    pub(crate) fn repeat(&self, act: &Act, told: &mut Told) -> Result<(), Broken> {
        let out = self.command(act).output().unwrap();
        match self.note(act, &out, told)? {
            Ended::Done(_) => Ok(()),
            _ => Err(format!("{} does not work any more: {out:?}", act.name)),
        }
    }
}

/// How a run ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// It did all that it was asked for and printed this document.
    Done(Value),
    /// It failed with this kind of error.
    Failed(String),
    Killed,
}

/// How a run ended that exits with `code` when all is well. Nothing if that is no way in which the
/// program may end.
pub(crate) fn ended_of(code: i32, out: &Output) -> Option<Ended> {
    let Some(found) = out.status.code() else { return Some(Ended::Killed) };
    let document: Value = serde_json::from_slice(&out.stdout).ok()?;
    let kind = document["error"]["kind"].as_str().map(str::to_owned);
    match (kind, found) {
        (None, found) if found == 3 || found == code => Some(Ended::Done(document)),
        (Some(kind), 1) => Some(Ended::Failed(kind)),
        _ => None,
    }
}

/// A disk of 2.1 MB, half of it holes. Versions of one disk share most of their chunks.
pub(crate) fn disk(number: u64, version: u64) -> Vec<u8> {
    let mut bytes = vec![0; 2_100_000];
    bytes[..150_000].copy_from_slice(&noise(150_000, number));
    bytes[2_000_000..2_050_000].copy_from_slice(&noise(50_000, number * 100 + version));
    bytes
}

pub(crate) fn id_of(document: &Value) -> PointId {
    document["point"]["id"].as_str().unwrap().parse().unwrap()
}

/// All files below a directory.
pub(crate) fn files_below(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        match entry.file_type().unwrap().is_dir() {
            true => files.extend(files_below(&entry.path())),
            false => files.push(entry.path()),
        }
    }
    files
}

/// Empties a directory, which may be one that something is mounted on.
fn clear(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().map(Result::unwrap) {
        match entry.file_type().unwrap().is_dir() {
            true => fs::remove_dir_all(entry.path()).unwrap(),
            false => fs::remove_file(entry.path()).unwrap(),
        }
    }
}

/// Copies a directory with its modes. The target may be there.
fn copy(from: &Path, to: &Path) {
    let _there = fs::create_dir(to);
    fs::set_permissions(to, from.metadata().unwrap().permissions()).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), &target).unwrap()),
        }
    }
}
