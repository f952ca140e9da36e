//! The commands that the machines go through, each on a repository that gives it work to do.
//!
//! A new command joins all of them by a line in [`ACTS`].

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use backstop::base::id::PointId;
use serde_json::Value;

use crate::repo::noise;

/// One run of the program.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Act {
    pub(crate) name: &'static str,
    pub(crate) base: Base,
    pub(crate) args: &'static [&'static str],
    pub(crate) effect: Effect,
    /// How it exits when all is well.
    pub(crate) code: i32,
}

/// What is there before. All have parity but the damaged and the broken one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Base {
    /// An empty directory.
    Nothing,
    /// A repository without restore points.
    New,
    /// Three VMs with restore points that share chunks, and packs that no segment names.
    Filled,
    /// The same, and so many index segments that the next backup merges them.
    Merging,
    /// As filled, and two restore points are dropped: one pack is dead and others are sparse.
    Dropped,
    /// As filled, and a pack has a wrong byte of which nobody knows, and one has no parity.
    Weak,
    /// As filled, and one pack has a wrong byte of which nobody knows.
    Damaged,
    /// As damaged, and a copy of the configuration is gone and an index segment cut short.
    Broken,
}

/// What it changes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Effect {
    Nothing,
    /// Makes the repository.
    Makes,
    /// Backs up `next.raw`.
    Adds,
    /// Drops the restore point of the first version of the disk of that number.
    Drops(u64),
    /// Brings it back.
    Returns(u64),
}

const BACKUP: &[&str] = &["backup", "image", "--threads", "1", "--vm", "web", "disk=next.raw"];
/// Writes packs anew that the default would leave.
const PRUNE: &[&str] = &["prune", "--wait", "0s", "--live-share", "90"];
const REPAIR: &[&str] = &["repair", "--apply", "--threads", "1"];

const SCRUB: &[&str] = &["scrub", "--level", "points"];

/// An act that ends with 0 when all is well.
const fn act(name: &'static str, base: Base, args: &'static [&'static str], effect: Effect) -> Act {
    Act { name, base, args, effect, code: 0 }
}

/// Every command that writes, and what it does at first and later.
pub(crate) const ACTS: &[Act] = &[
    act("init", Base::Nothing, &["init", "--parity"], Effect::Makes),
    act("first backup", Base::New, BACKUP, Effect::Adds),
    act("backup", Base::Filled, BACKUP, Effect::Adds),
    act("merging backup", Base::Merging, BACKUP, Effect::Adds),
    act("forget", Base::Filled, &["forget", "mail@latest"], Effect::Drops(3)),
    act("undo", Base::Dropped, &["forget", "--undo", "db@latest"], Effect::Returns(2)),
    act("hold", Base::Filled, &["hold", "mail@latest"], Effect::Nothing),
    act("prune", Base::Dropped, PRUNE, Effect::Nothing),
    act("rebuild-index", Base::Filled, &["rebuild-index"], Effect::Nothing),
    act("repair from parity", Base::Weak, REPAIR, Effect::Nothing),
    Act { code: 3, ..act("repair", Base::Broken, REPAIR, Effect::Nothing) },
    Act { code: 3, ..act("scrub", Base::Damaged, SCRUB, Effect::Nothing) },
    act(
        "restore disk",
        Base::Filled,
        &["restore", "disk", "web@latest", "disk", "out.raw", "--force"],
        Effect::Nothing,
    ),
];

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
        (Some(kind), 1 | 5) => Some(Ended::Failed(kind)),
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
pub(crate) fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        match entry.file_type().unwrap().is_dir() {
            true => files.extend(files_below(&entry.path())),
            false => files.push(entry.path()),
        }
    }
    files
}
