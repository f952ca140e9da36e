//! A store in memory whose power can be cut at every step.
//!
//! Publishing goes through the steps that a file system needs: write, sync the file, link, sync the
//! directory. Before each step the power may fail; what is then found after a reboot is drawn from
//! everything that a real disk might show.

use std::collections::BTreeSet;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::base::sync::lock;
use crate::error::{Error, ErrorKind, IoContext, Result};
use crate::format::layout::{Area, ObjectName};
use crate::store::mapped::ObjectBytes;
use crate::store::testing::disk::{Disk, FileNumber, directory_of};
use crate::store::testing::seeded::SeededChance;
use crate::store::{Held, Published, Space, Staged, Store};

/// A step that the store leaves out, so that a test can show that it would notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Omit {
    /// Nothing is left out: the store keeps its contract.
    #[default]
    Nothing,
    /// The bytes of an object are not synced before it gets its name.
    FileSync,
    /// Directories are not synced, neither by publishing nor by a barrier.
    DirectorySync,
}

/// A store in memory. Clones share it, as sessions share a repository.
#[derive(Debug, Clone)]
pub struct MemoryStore {
    shared: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    disk: Disk,
    held: BTreeSet<ObjectName>,
    omit: Omit,
    steps: u64,
    /// The step before which the power fails.
    crash_at: Option<u64>,
    /// The steps that fail, and with which error number.
    failing: Range<u64>,
    errno: i32,
    is_dead: bool,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::omitting(Omit::Nothing)
    }

    /// An empty store that leaves a step out.
    #[must_use]
    pub fn omitting(omit: Omit) -> Self {
        Self::of(State { omit, ..State::default() })
    }

    fn of(state: State) -> Self {
        Self { shared: Arc::new(Mutex::new(state)) }
    }

    /// Leaves a step out from now on, where it was not left out before.
    pub fn omit(&self, omit: Omit) {
        self.state().omit = omit;
    }

    /// Number of steps so far that changed or synced anything.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.state().steps
    }

    /// Cuts the power before the `steps`-th step from now (counted from 1). From then on every call
    /// fails, until [`MemoryStore::reboot`].
    pub fn crash_after(&self, steps: u64) {
        let mut state = self.state();
        state.crash_at = Some(state.steps + steps);
    }

    /// Lets `times` steps fail with an error number of the operating system, the `steps`-th from
    /// now (counted from 1) first, and those that were to fail before no more. What a failing step
    /// was to do does not happen.
    pub fn fail_steps(&self, steps: u64, times: u64, errno: i32) {
        let mut state = self.state();
        let first = state.steps + steps;
        state.failing = first..first.saturating_add(times);
        state.errno = errno;
    }

    /// Cuts the power now.
    pub fn crash(&self) {
        self.state().is_dead = true;
    }

    /// Whether the power is gone.
    #[must_use]
    pub fn is_crashed(&self) -> bool {
        self.state().is_dead
    }

    /// Cuts the power, if it is still there, and gives one of the stores that can be found
    /// afterwards, chosen by `seed`. Nothing is held in it. This one stays dead.
    #[must_use]
    pub fn reboot(&self, seed: u64) -> Self {
        let mut state = self.state();
        state.is_dead = true;
        let disk = state.disk.after_crash(&SeededChance::new(seed));
        Self::of(State { disk, omit: state.omit, ..State::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.shared)
    }

    /// The state, unless the power is gone.
    fn alive(&self) -> Result<MutexGuard<'_, State>> {
        let state = self.state();
        if state.is_dead { Err(power_is_gone()) } else { Ok(state) }
    }

    /// The state, for a step that changes or syncs something.
    fn step(&self) -> Result<MutexGuard<'_, State>> {
        let mut state = self.alive()?;
        state.steps += 1;
        if state.crash_at == Some(state.steps) {
            state.is_dead = true;
            return Err(power_is_gone());
        }
        if state.failing.contains(&state.steps) {
            let error = io::Error::from_raw_os_error(state.errno);
            return Err(error).context("the medium fails", Path::new("memory"));
        }
        Ok(state)
    }

    fn sync_directory(&self, directory: &str) -> Result<()> {
        let mut state = self.step()?;
        if state.omit != Omit::DirectorySync {
            state.disk.sync_directory(directory);
        }
        Ok(())
    }

    fn begin(&self) -> Result<MemoryStaged> {
        let file = self.alive()?.disk.make_file();
        Ok(MemoryStaged { store: self.clone(), file, is_torn: false })
    }

    /// Gives an object a second name in the quarantine; whether there is such an object. Its bytes
    /// are durable, so a file of the same bytes is the same as far as anybody can see.
    fn copy_aside(&self, name: &ObjectName) -> Result<bool> {
        let mut state = self.step()?;
        let Some(bytes) = state.disk.bytes(name).map(<[u8]>::to_vec) else { return Ok(false) };
        let file = state.disk.make_file();
        state.disk.append(file, &bytes);
        state.disk.sync_file(file);
        let mut free = (0..).map(|number| ObjectName::quarantined(name, number));
        let aside = free.find(|aside| state.disk.link(file, aside));
        drop(state);
        aside.map_or(Ok(()), |aside| self.sync_directory(&directory_of(&aside)))?;
        Ok(true)
    }

    fn hold(&self, name: &ObjectName) -> Box<dyn Held> {
        Box::new(MemoryHeld { store: self.clone(), name: name.clone() })
    }
}

impl Store for MemoryStore {
    fn stage(&self) -> Result<Box<dyn Staged>> {
        Ok(Box::new(self.begin()?))
    }

    fn len_bytes(&self, name: &ObjectName) -> Result<u64> {
        self.alive()?.disk.bytes(name).map(|bytes| bytes.len() as u64).ok_or_else(|| missing(name))
    }

    fn read_exact_at(&self, name: &ObjectName, offset_bytes: u64, out: &mut [u8]) -> Result<()> {
        let state = self.alive()?;
        let bytes = state.disk.bytes(name).ok_or_else(|| missing(name))?;
        let start = usize::try_from(offset_bytes).unwrap_or(usize::MAX);
        let Some(part) = bytes.get(start..start.saturating_add(out.len())) else {
            let what = format!("the object ends within a read of {} bytes", out.len());
            return Err(Error::corrupt(what).at(name.to_string()).at_byte(offset_bytes));
        };
        out.copy_from_slice(part);
        Ok(())
    }

    fn map(&self, name: &ObjectName) -> Result<ObjectBytes> {
        let state = self.alive()?;
        let bytes = state.disk.bytes(name).ok_or_else(|| missing(name))?;
        Ok(ObjectBytes::read(bytes.to_vec()))
    }

    fn list(&self, area: Area) -> Result<Vec<ObjectName>> {
        let state = self.alive()?;
        Ok(state.disk.names().filter(|name| name.area() == area).cloned().collect())
    }

    fn delete(&self, name: &ObjectName) -> Result<()> {
        self.step()?.disk.unlink(name);
        Ok(())
    }

    fn set_aside(&self, name: &ObjectName) -> Result<()> {
        if self.copy_aside(name)? {
            self.step()?.disk.unlink(name);
            self.sync_directory(&directory_of(name))?;
        }
        Ok(())
    }

    fn replace(&self, name: &ObjectName, bytes: &[u8]) -> Result<()> {
        let mut staged = self.begin()?;
        staged.append(bytes)?;
        let mut state = self.step()?;
        if state.omit != Omit::FileSync {
            state.disk.sync_file(staged.file);
        }
        drop(state);
        self.copy_aside(name)?;
        self.step()?.disk.relink(staged.file, name);
        self.sync_directory(&directory_of(name))
    }

    fn barrier(&self, area: Area) -> Result<()> {
        let changed = self.alive()?.disk.changed_directories();
        let is_inside = |directory: &&String| {
            directory.split('/').next().is_some_and(|first| first == area.directory())
        };
        changed.iter().filter(is_inside).try_for_each(|directory| self.sync_directory(directory))
    }

    fn register(&self, name: &ObjectName, bytes: &[u8]) -> Result<Box<dyn Held>> {
        let mut staged = self.begin()?;
        staged.append(bytes)?;
        match staged.finish(name, true)? {
            Published::Created => Ok(self.hold(name)),
            Published::Existed => {
                let what = "the name is taken";
                Err(Error::new(ErrorKind::AlreadyExists, what).at(name.to_string()))
            }
        }
    }

    fn is_held(&self, name: &ObjectName) -> Result<bool> {
        let state = self.alive()?;
        Ok(state.held.contains(name) && state.disk.bytes(name).is_some())
    }

    fn lock(&self, name: &ObjectName, text: &[u8]) -> Result<Option<Box<dyn Held>>> {
        let mut state = self.alive()?;
        if !state.held.insert(name.clone()) {
            return Ok(None);
        }
        // Not durable, and need not be: nobody holds a lock after a crash.
        let file = state.disk.make_file();
        state.disk.append(file, text);
        state.disk.unlink(name);
        state.disk.link(file, name);
        drop(state);
        Ok(Some(self.hold(name)))
    }

    fn space(&self) -> Result<Option<Space>> {
        self.alive().map(|_| None)
    }
}

#[derive(Debug)]
struct MemoryStaged {
    store: MemoryStore,
    file: FileNumber,
    is_torn: bool,
}

impl MemoryStaged {
    /// The steps that make an object. One that is to be held is so before it can be seen.
    fn finish(&mut self, name: &ObjectName, is_held: bool) -> Result<Published> {
        if self.is_torn {
            let what = "the object is not published because not all of it could be written";
            return Err(Error::new(ErrorKind::Io, what).at(name.to_string()));
        }
        let mut state = self.store.step()?;
        if state.omit != Omit::FileSync {
            state.disk.sync_file(self.file);
        }
        drop(state);
        let mut state = self.store.step()?;
        let is_ours = state.disk.link(self.file, name);
        if is_ours && is_held {
            state.held.insert(name.clone());
        }
        drop(state);
        self.store.sync_directory(&directory_of(name)).inspect_err(|_| {
            // Whoever registers gets nothing to hold then.
            if is_ours {
                self.store.state().held.remove(name);
            }
        })?;
        Ok(if is_ours { Published::Created } else { Published::Existed })
    }
}

impl Staged for MemoryStaged {
    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        let step = self.store.step();
        self.is_torn |= step.is_err();
        step?.disk.append(self.file, bytes);
        Ok(())
    }

    fn publish(mut self: Box<Self>, name: &ObjectName) -> Result<Published> {
        self.finish(name, false)
    }
}

impl Drop for MemoryStaged {
    fn drop(&mut self) {
        let mut state = self.store.state();
        if !state.is_dead {
            state.disk.forget_unnamed(self.file);
        }
    }
}

#[derive(Debug)]
struct MemoryHeld {
    store: MemoryStore,
    name: ObjectName,
}

impl Held for MemoryHeld {}

impl Drop for MemoryHeld {
    fn drop(&mut self) {
        self.store.state().held.remove(&self.name);
    }
}

fn missing(name: &ObjectName) -> Error {
    Error::new(ErrorKind::NotFound, "there is no such object").at(name.to_string())
}

fn power_is_gone() -> Error {
    Error::new(ErrorKind::Io, "the power is gone")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::id::{PackId, SessionId};
    use std::collections::BTreeMap;

    const SEEDS: u64 = 12;
    const OBJECTS: u8 = 6;

    /// What a run was told about each object: its bytes, and whether the store vouched for them.
    #[derive(Default)]
    struct Told {
        published: BTreeMap<ObjectName, bool>,
        deleted: BTreeMap<ObjectName, bool>,
    }

    fn pack(number: u8) -> ObjectName {
        ObjectName::pack(PackId::from_bytes([number; 32]))
    }

    fn bytes_of(name: &ObjectName) -> Vec<u8> {
        name.leaf().bytes().cycle().take(1500).collect()
    }

    fn publish(store: &MemoryStore, told: &mut Told, name: ObjectName) -> Result<()> {
        told.published.insert(name.clone(), false);
        let mut staged = store.stage()?;
        for part in bytes_of(&name).chunks(700) {
            staged.append(part)?;
        }
        assert_eq!(staged.publish(&name)?, Published::Created);
        told.published.insert(name, true);
        Ok(())
    }

    fn work(store: &MemoryStore, told: &mut Told) -> Result<()> {
        for number in 0..OBJECTS {
            publish(store, told, pack(number))?;
            publish(store, told, ObjectName::commit(SessionId::from_bytes([number; 16])))?;
        }
        for number in 0..OBJECTS / 2 {
            told.deleted.insert(pack(number), false);
            store.delete(&pack(number))?;
        }
        store.barrier(Area::Packs)?;
        told.deleted.values_mut().for_each(|is_done| *is_done = true);
        publish(store, told, pack(OBJECTS))
    }

    /// The promises that the store found after the crash does not keep.
    fn broken_promises(found: &MemoryStore, told: &Told) -> usize {
        let mut broken = 0;
        for (name, is_vouched_for) in &told.published {
            let deleted = told.deleted.get(name);
            let is_kept = match found.read(name, 10_000) {
                Ok(bytes) => bytes == bytes_of(name) && deleted != Some(&true),
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    !is_vouched_for || deleted.is_some()
                }
                Err(_) => false,
            };
            broken += usize::from(!is_kept);
        }
        broken
    }

    /// Crashes before every step, with several outcomes each, and counts promises that were broken.
    fn crash_everywhere(omit: Omit) -> usize {
        let mut broken = 0;
        for step in 1.. {
            let store = MemoryStore::omitting(omit);
            store.crash_after(step);
            let mut told = Told::default();
            let is_done = work(&store, &mut told).is_ok();
            assert_eq!(store.is_crashed(), !is_done);
            for seed in 0..SEEDS {
                broken += broken_promises(&store.reboot(step * SEEDS + seed), &told);
            }
            if is_done {
                assert!(step > u64::from(OBJECTS) * 2 * 6, "{step} steps are too few");
                break;
            }
        }
        broken
    }

    #[test]
    fn what_was_vouched_for_survives_a_crash_before_any_step() {
        assert_eq!(crash_everywhere(Omit::Nothing), 0);
    }

    #[test]
    fn a_store_that_leaves_out_a_sync_is_caught() {
        assert!(crash_everywhere(Omit::FileSync) > 100);
        assert!(crash_everywhere(Omit::DirectorySync) > 100);
    }

    #[test]
    fn after_the_power_is_gone_every_call_fails_until_the_reboot_which_frees_all_locks() {
        let store = MemoryStore::new();
        let name = ObjectName::session(SessionId::from_bytes([1; 16]));
        let _held = store.register(&name, b"who").unwrap();
        let _lock = store.lock(&ObjectName::vm_lock("vm"), b"who").unwrap().unwrap();
        store.crash();
        assert!(store.read(&name, 3).is_err() && store.list(Area::Sessions).is_err());
        assert!(store.create(&pack(1), b"").is_err() && store.is_held(&name).is_err());
        let found = store.reboot(0);
        assert_eq!(found.read(&name, 3).unwrap(), b"who");
        assert!(!found.is_held(&name).unwrap());
        assert!(found.lock(&ObjectName::vm_lock("vm"), b"").unwrap().is_some());
    }

    #[test]
    fn one_seed_gives_one_outcome() {
        let store = MemoryStore::omitting(Omit::FileSync);
        work(&store, &mut Told::default()).unwrap();
        let outcome = |seed| {
            let found = store.reboot(seed);
            let names = found.list(Area::Packs).unwrap();
            names.into_iter().map(|name| found.read(&name, 2000).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(outcome(3), outcome(3));
        assert!((0..SEEDS).any(|seed| outcome(seed) != outcome(3)));
    }
}
