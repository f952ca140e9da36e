//! What goes wrong on purpose: each fault takes one step of the protocol away, or a promise of the
//! store that a step relies on.
//!
//! A step that is missing shows in what the store is asked and when; so a store that answers as it
//! would have then is the same as a program without the step.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};

use backstop::error::Result;
use backstop::format::commit::Decision;
use backstop::format::layout::{Area, ObjectName};
use backstop::store::mapped::ObjectBytes;
use backstop::store::testing::MemoryStore;
use backstop::store::{Published, Store};

use super::turns::Actor;

/// One thing that goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Lie {
    /// Locks exclude nobody, as on a medium that has none.
    FreeLocks,
    /// Every session counts as dead, as one does whose lease ran out while it slept.
    DeadSessions,
    /// A commit takes the place of what was decided before.
    LateCommits,
    /// A prune does not see backups, and so waits for none (G6).
    NoWait,
    /// A prune sees the same commits in its second look as in the first (G7).
    NoSecondMark,
    /// A prune does not see in its second look what others have condemned meanwhile (G7).
    NoSecondLists,
    /// In its second look a prune lists packs before lists (G7).
    PacksBeforeLists,
    /// A backup reads the index before it reads what is condemned (B3 before B2).
    IndexBeforeLists,
    /// A backup registers when it has read everything (B1 after B3).
    LateRegistration,
    /// All prunes share one list.
    OneList,
    /// A prune that publishes a second list deletes its first.
    ReplacedLists,
}

type Objects = BTreeMap<ObjectName, Vec<u8>>;

/// What goes wrong in one schedule, for whom.
#[derive(Debug, Default)]
pub(crate) struct Lies {
    lies: BTreeSet<Lie>,
    prunes: BTreeSet<Actor>,
    memory: Mutex<Memory>,
}

#[derive(Debug, Default)]
struct Memory {
    /// How often an actor has listed an area.
    lists: BTreeMap<(Actor, Area), usize>,
    commits: BTreeMap<Actor, Vec<ObjectName>>,
    lists_seen: BTreeMap<Actor, Vec<ObjectName>>,
    /// What an actor sees of packs, or of the index, instead of what is there.
    old: BTreeMap<Actor, Objects>,
    /// Registrations, and whose they are.
    sessions: BTreeMap<ObjectName, Actor>,
    /// Those that nobody else sees yet.
    unseen: BTreeSet<ObjectName>,
}

impl Lies {
    pub(crate) fn new(lies: &[Lie], prunes: BTreeSet<Actor>) -> Self {
        Self { lies: lies.iter().copied().collect(), prunes, memory: Mutex::default() }
    }

    fn has(&self, lie: Lie) -> bool {
        self.lies.contains(&lie)
    }

    /// Whether what has that name is held by nobody, whoever has it.
    pub(crate) fn frees(&self, name: &ObjectName) -> bool {
        match name.area() {
            Area::Locks => self.has(Lie::FreeLocks),
            Area::Sessions => self.has(Lie::DeadSessions),
            _ => false,
        }
    }

    /// To be called when `actor` has registered.
    pub(crate) fn registered(
        &self,
        store: &MemoryStore,
        actor: Actor,
        name: &ObjectName,
    ) -> Result<()> {
        let mut memory = self.memory();
        memory.sessions.insert(name.clone(), actor);
        if self.prunes.contains(&actor) {
            return Ok(());
        }
        if self.has(Lie::LateRegistration) {
            memory.unseen.insert(name.clone());
        }
        if self.has(Lie::IndexBeforeLists) {
            memory.old.insert(actor, objects(store, Area::Index)?);
        }
        Ok(())
    }

    pub(crate) fn list(
        &self,
        store: &MemoryStore,
        actor: Actor,
        area: Area,
    ) -> Result<Vec<ObjectName>> {
        let mut memory = self.memory();
        let times = memory.lists.entry((actor, area)).or_default();
        *times += 1;
        let is_first = *times == 1;
        let mut names = store.list(area)?;
        if area == Area::Sessions {
            names.retain(|name| {
                memory.sessions.get(name) == Some(&actor) || !memory.unseen.contains(name)
            });
        }
        match self.prunes.contains(&actor) {
            true => self.list_of_prune(store, &mut memory, (actor, area, is_first), names),
            false => Ok(list_of_other(&mut memory, actor, area, names)),
        }
    }

    fn list_of_prune(
        &self,
        store: &MemoryStore,
        memory: &mut Memory,
        (actor, area, is_first): (Actor, Area, bool),
        mut names: Vec<ObjectName>,
    ) -> Result<Vec<ObjectName>> {
        match area {
            Area::Sessions if self.has(Lie::NoWait) => {
                let is_prune = |name: &ObjectName| {
                    memory.sessions.get(name).is_some_and(|of| self.prunes.contains(of))
                };
                names.retain(is_prune);
            }
            Area::Commits if !is_first && self.has(Lie::PacksBeforeLists) => {
                memory.old.insert(actor, objects(store, Area::Packs)?);
            }
            Area::Commits if self.has(Lie::NoSecondMark) => {
                return Ok(memory.commits.entry(actor).or_insert(names).clone());
            }
            Area::Condemned => {
                let seen = memory.lists_seen.entry(actor).or_insert_with(|| names.clone());
                if self.has(Lie::NoSecondLists) {
                    names.retain(|name| seen.contains(name));
                }
            }
            Area::Packs => {
                if let Some(old) = memory.old.get(&actor) {
                    return Ok(old.keys().cloned().collect());
                }
            }
            _ => {}
        }
        Ok(names)
    }

    pub(crate) fn len_bytes(
        &self,
        store: &MemoryStore,
        actor: Actor,
        name: &ObjectName,
    ) -> Result<u64> {
        match self.remembered(actor, name) {
            Some(bytes) => Ok(bytes.len() as u64),
            None => store.len_bytes(name),
        }
    }

    pub(crate) fn map(
        &self,
        store: &MemoryStore,
        actor: Actor,
        name: &ObjectName,
    ) -> Result<ObjectBytes> {
        match self.remembered(actor, name) {
            Some(bytes) => Ok(ObjectBytes::read(bytes)),
            None => store.map(name),
        }
    }

    fn remembered(&self, actor: Actor, name: &ObjectName) -> Option<Vec<u8>> {
        self.memory().old.get(&actor)?.get(name).cloned()
    }

    pub(crate) fn create(
        &self,
        store: &MemoryStore,
        name: &ObjectName,
        bytes: &[u8],
    ) -> Result<Published> {
        let is_commit = name.area() == Area::Commits
            && matches!(Decision::decode(bytes), Ok(Decision::Committed { .. }));
        if self.has(Lie::LateCommits) && is_commit {
            store.delete(name)?;
        }
        if name.area() == Area::Condemned
            && (self.has(Lie::OneList) || self.has(Lie::ReplacedLists))
        {
            let created = store.create(name, bytes)?;
            for other in store.list(Area::Condemned)? {
                let is_same_run = other.session_id() == name.session_id();
                if other != *name && (self.has(Lie::OneList) || is_same_run) {
                    store.delete(&other)?;
                }
            }
            return Ok(created);
        }
        store.create(name, bytes)
    }

    pub(crate) fn delete(&self, store: &MemoryStore, name: &ObjectName) -> Result<()> {
        if name.area() == Area::Condemned && self.has(Lie::OneList) {
            return store.list(Area::Condemned)?.iter().try_for_each(|list| store.delete(list));
        }
        store.delete(name)
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap()
    }
}

fn list_of_other(
    memory: &mut Memory,
    actor: Actor,
    area: Area,
    names: Vec<ObjectName>,
) -> Vec<ObjectName> {
    let Memory { old, sessions, unseen, .. } = memory;
    if area == Area::Commits {
        // It has read everything.
        old.remove(&actor);
        unseen.retain(|name| sessions.get(name) != Some(&actor));
    }
    match old.get(&actor) {
        Some(old) if area == Area::Index => old.keys().cloned().collect(),
        _ => names,
    }
}

/// All objects of an area.
pub(crate) fn objects(store: &MemoryStore, area: Area) -> Result<Objects> {
    let read = |name: ObjectName| {
        let bytes = store.read(&name, usize::MAX)?;
        Ok((name, bytes))
    };
    store.list(area)?.into_iter().map(read).collect()
}
