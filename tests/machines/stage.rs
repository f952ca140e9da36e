//! A directory in which each act finds its repository, again and again.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use backstop::base::id::PointId;

use crate::acts::{Act, Base, Effect, Ended, disk, ended_of, files_below, id_of};
use crate::program::Lab;
use crate::repo::noise;
use crate::told::{Broken, Told};

/// Disks in the order of their backups: VM, number, version.
const FILLING: [(&str, u64, u64); 5] =
    [("web", 1, 1), ("db", 2, 1), ("web", 1, 2), ("mail", 3, 1), ("web", 1, 3)];

/// The directory.
pub(crate) struct Stage {
    pub(crate) lab: Lab,
    next: Vec<u8>,
    bases: Vec<(Base, Told)>,
}

impl Stage {
    /// With a repository at `repo`, or in a directory of its own.
    pub(crate) fn new(repo: Option<&Path>) -> Self {
        let lab = repo.map_or_else(Lab::in_memory, Lab::around);
        let next = [disk(1, 2), noise(700_000, 9)].concat();
        lab.file("next.raw", &next);
        let mut stage = Self { lab, next, bases: Vec::new() };
        stage.keep_sound_ones();
        stage.keep_damaged_ones();
        stage
    }

    fn keep_sound_ones(&mut self) {
        self.lab.run(["init", "--parity"]).expect(0);
        self.keep(Base::New, &Told::default());
        let filled = self.fill();
        self.keep(Base::Filled, &filled);
        let mut told = filled.clone();
        (2..=3).for_each(|version| self.back_up("mail", disk(3, version), &mut told));
        self.keep(Base::Merging, &told);
        self.put(Base::Filled);
        let mut told = filled.clone();
        for number in [1, 2] {
            let point = self.point_of(&told, number);
            self.lab.run(["forget", &point.to_string()]).expect(0);
            told.dropped(point);
        }
        self.keep(Base::Dropped, &told);
        self.put(Base::Filled);
        let damaged = self.damage();
        let parity = files_below(&self.lab.repo().join("parity"));
        let of_another = parity.iter().find(|path| path.file_name() != damaged.file_name());
        fs::remove_file(of_another.unwrap()).unwrap();
        self.keep(Base::Weak, &filled.damaged());
    }

    fn keep_damaged_ones(&mut self) {
        self.clear();
        self.lab.run(["init"]).expect(0);
        let told = self.fill().damaged();
        let _pack = self.damage();
        self.keep(Base::Damaged, &told);
        self.break_more();
        self.keep(Base::Broken, &told);
    }

    fn fill(&self) -> Told {
        let mut told = Told::default();
        for (vm, number, version) in FILLING {
            self.back_up(vm, disk(number, version), &mut told);
        }
        self.kill_a_backup();
        told
    }

    fn back_up(&self, vm: &str, bytes: Vec<u8>, told: &mut Told) {
        let document = self.lab.back_up(vm, &bytes);
        told.committed(id_of(&document), &bytes);
    }

    /// Leaves a registration and what the backup stored.
    fn kill_a_backup(&self) {
        let mut stream = self.lab.start_stream("db", &[]);
        stream.feed(&noise(300_000, 5));
        stream.kill();
    }

    /// Flips a byte of the largest pack, and says which that is.
    fn damage(&self) -> PathBuf {
        let packs = files_below(&self.lab.repo().join("packs"));
        let pack = packs.into_iter().max_by_key(|path| path.metadata().unwrap().len()).unwrap();
        let mut bytes = fs::read(&pack).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::remove_file(&pack).unwrap();
        fs::write(&pack, bytes).unwrap();
        pack
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

    fn kept(&self, base: Base) -> PathBuf {
        self.lab.path(format!("{base:?}"))
    }

    /// Empties the repository, and lets the host forget what it has seen of it.
    fn clear(&self) {
        [self.lab.repo(), self.lab.path("trust")].iter().for_each(|dir| clear(dir));
    }

    fn put(&self, base: Base) {
        self.clear();
        if base != Base::Nothing {
            copy(&self.kept(base), &self.lab.repo());
        }
    }

    /// The restore point of the first version of a disk.
    fn point_of(&self, told: &Told, number: u64) -> PointId {
        told.point_with(&disk(number, 1)).expect("the disk was backed up")
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
            (Effect::Nothing | Effect::Makes, _) => {}
            (Effect::Adds, Ended::Done(document)) => {
                told.committed(id_of(document), &self.next);
            }
            (Effect::Adds, _) => told.attempted(&self.next),
            (Effect::Drops(disk), Ended::Done(_)) => told.dropped(self.point_of(told, disk)),
            (Effect::Returns(disk), Ended::Done(_)) => told.returned(self.point_of(told, disk)),
            (Effect::Drops(disk) | Effect::Returns(disk), _) => {
                told.in_doubt(self.point_of(told, disk));
            }
        }
        Ok(ended)
    }

    /// Holds the repository to what was told, whatever became of the act. One that was being made
    /// need not be there.
    pub(crate) fn hold(&self, act: &Act, told: &Told) -> Result<(), Broken> {
        match act.effect {
            Effect::Makes => Ok(()),
            _ => told.hold(&self.lab.repo()).map(drop),
        }
    }

    /// Does the act again, with nothing in its way.
    pub(crate) fn repeat(&self, act: &Act, told: &mut Told) -> Result<(), Broken> {
        let out = self.command(act).output().unwrap();
        let done = match (self.note(act, &out, told)?, act.effect) {
            (Ended::Done(_), _) => return Ok(()),
            (Ended::Failed(kind), effect) => (kind, effect),
            (Ended::Killed, _) => return Err(format!("{} crashes: {out:?}", act.name)),
        };
        // The first time was enough, though nobody was told.
        match (&*done.0, done.1) {
            ("not_found", Effect::Drops(disk)) => told.dropped(self.point_of(told, disk)),
            ("not_found", Effect::Returns(disk)) => told.returned(self.point_of(told, disk)),
            // As the documentation of `init` says.
            ("already_exists", Effect::Makes) => drop(self.lab.run(["repair", "--apply"])),
            _ => return Err(format!("{} does not work any more: {out:?}", act.name)),
        }
        Ok(())
    }
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

/// A prune with nothing to delete or to write anew would prove little.
#[test]
fn the_acts_of_prune_and_repair_have_all_kinds_of_work() {
    let stage = Stage::new(None);
    let document_of = |name: &str| {
        let act = crate::acts::ACTS.iter().find(|act| act.name == name).unwrap();
        let mut told = stage.set(act);
        match stage.note(act, &stage.command(act).output().unwrap(), &mut told).unwrap() {
            Ended::Done(document) => document,
            other => panic!("{name}: {other:?}"),
        }
    };
    let pruned = document_of("prune");
    for number in ["dead_packs", "compacted_packs", "dropped_points"] {
        assert!(pruned["prune"][number].as_u64().unwrap() > 0, "{pruned}");
    }
    let kinds = |name| -> Vec<String> {
        let document = document_of(name);
        let actions = document["repair"]["actions"].as_array().unwrap().iter();
        actions.map(|action| action["kind"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(kinds("repair from parity"), ["restore_pack", "write_parity"]);
    assert_eq!(kinds("repair"), ["write_config", "replace_pack", "rebuild_index"]);
}
