//! A simulated disk with a file system that keeps only the promises that syncs force from it.

use std::collections::{BTreeMap, BTreeSet};

use crate::format::layout::ObjectName;
use crate::store::testing::seeded::SeededChance;

/// What a disk writes whole or not at all, in bytes.
const SECTOR_BYTES: usize = 512;

/// Number of a file, whether it has a name or not.
pub(super) type FileNumber = u64;

/// Files and their names, as programs see them and as the medium has them.
#[derive(Debug, Default, Clone)]
pub(super) struct Disk {
    files: BTreeMap<FileNumber, SimFile>,
    /// What programs see.
    names: BTreeMap<ObjectName, FileNumber>,
    /// What survives a crash for sure.
    durable: BTreeMap<ObjectName, FileNumber>,
    /// What each changed name led to after each change since its directory was last synced.
    changes: BTreeMap<ObjectName, Vec<Option<FileNumber>>>,
    next_file: FileNumber,
}

#[derive(Debug, Default, Clone)]
struct SimFile {
    bytes: Vec<u8>,
    synced_bytes: usize,
    had_name: bool,
}

impl Disk {
    /// A new file that is empty and has no name.
    pub(super) fn make_file(&mut self) -> FileNumber {
        self.next_file += 1;
        self.files.insert(self.next_file, SimFile::default());
        self.next_file
    }

    /// Appends to a file.
    pub(super) fn append(&mut self, file: FileNumber, bytes: &[u8]) {
        if let Some(file) = self.files.get_mut(&file) {
            file.bytes.extend_from_slice(bytes);
        }
    }

    /// Makes the bytes of a file durable.
    pub(super) fn sync_file(&mut self, file: FileNumber) {
        if let Some(file) = self.files.get_mut(&file) {
            file.synced_bytes = file.bytes.len();
        }
    }

    /// Names a file, unless the name is taken.
    pub(super) fn link(&mut self, file: FileNumber, name: &ObjectName) -> bool {
        let is_free = !self.names.contains_key(name);
        if is_free {
            self.change(name, Some(file));
        }
        is_free
    }

    /// Names a file, in the place of whatever has the name.
    pub(super) fn relink(&mut self, file: FileNumber, name: &ObjectName) {
        self.change(name, Some(file));
    }

    /// Takes a name away, if it is there.
    pub(super) fn unlink(&mut self, name: &ObjectName) {
        if self.names.contains_key(name) {
            self.change(name, None);
        }
    }

    fn change(&mut self, name: &ObjectName, file: Option<FileNumber>) {
        match file {
            Some(number) => {
                self.names.insert(name.clone(), number);
                self.files.entry(number).or_default().had_name = true;
            }
            None => drop(self.names.remove(name)),
        }
        self.changes.entry(name.clone()).or_default().push(file);
    }

    /// Makes the names durable that lie in the directory `directory`.
    pub(super) fn sync_directory(&mut self, directory: &str) {
        let (synced, pending) = std::mem::take(&mut self.changes)
            .into_iter()
            .partition(|(name, _)| directory_of(name) == directory);
        self.changes = pending;
        let synced: BTreeMap<ObjectName, Vec<Option<FileNumber>>> = synced;
        for (name, changes) in synced {
            let now = self.names.get(&name).copied();
            let before = match now {
                Some(file) => self.durable.insert(name, file),
                None => self.durable.remove(&name),
            };
            // A file has one name at most, so nothing leads to those that lost it for good.
            let lost =
                changes.into_iter().flatten().chain(before).filter(|file| Some(*file) != now);
            lost.for_each(|file| drop(self.files.remove(&file)));
        }
    }

    /// The directories with changes that are not durable yet.
    pub(super) fn changed_directories(&self) -> BTreeSet<String> {
        self.changes.keys().map(directory_of).collect()
    }

    /// The bytes of an object.
    pub(super) fn bytes(&self, name: &ObjectName) -> Option<&[u8]> {
        Some(&self.files.get(self.names.get(name)?)?.bytes)
    }

    /// All names.
    pub(super) fn names(&self) -> impl Iterator<Item = &ObjectName> {
        self.names.keys()
    }

    /// Lets go of a file if it never had a name.
    pub(super) fn forget_unnamed(&mut self, file: FileNumber) {
        if self.files.get(&file).is_some_and(|file| !file.had_name) {
            self.files.remove(&file);
        }
    }

    /// One of the disks that can be found after the power failed, by the dice.
    pub(super) fn after_crash(&self, dice: &SeededChance) -> Self {
        let mut found = Self { next_file: self.next_file, ..Self::default() };
        let mut names = self.durable.clone();
        for (name, changes) in &self.changes {
            // Names come through a crash one by one and in any order; of one name, in its own.
            let happened = dice.below(changes.len() + 1);
            match happened.checked_sub(1).map(|last| changes[last]) {
                None => {}
                Some(Some(file)) => drop(names.insert(name.clone(), file)),
                Some(None) => drop(names.remove(name)),
            }
        }
        for (name, file) in names {
            let contents = self.files.get(&file).map(|file| file.after_crash(dice));
            found.files.insert(file, contents.unwrap_or_default());
            found.durable.insert(name.clone(), file);
            found.names.insert(name, file);
        }
        found
    }
}

impl SimFile {
    fn after_crash(&self, dice: &SeededChance) -> Self {
        let (synced, rest) = self.bytes.split_at(self.synced_bytes);
        let mut bytes = synced.to_vec();
        match dice.below(4) {
            0 => {}
            1 => bytes.extend_from_slice(rest),
            2 => bytes.resize(self.bytes.len(), 0),
            _ => bytes.extend(torn(rest, dice)),
        }
        let synced_bytes = bytes.len();
        Self { bytes, synced_bytes, had_name: true }
    }
}

/// Some sectors made it, others read as zero, and the end may be missing.
fn torn(bytes: &[u8], dice: &SeededChance) -> Vec<u8> {
    let kept = dice.below(bytes.len() / SECTOR_BYTES + 2) * SECTOR_BYTES;
    let mut torn = bytes[..kept.min(bytes.len())].to_vec();
    for sector in torn.chunks_mut(SECTOR_BYTES) {
        if dice.below(2) == 0 {
            sector.fill(0);
        }
    }
    torn
}

/// The directory of an object, as a path below the root.
pub(super) fn directory_of(name: &ObjectName) -> String {
    let path = name.to_string();
    path.rsplit_once('/').map_or(String::new(), |(directory, _)| directory.to_owned())
}
