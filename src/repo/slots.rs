//! The key slots of an encrypted repository: reading them, and opening one.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use crate::base::id::{RepoId, SlotId};
use crate::crypto::{Keyring, SlotSecret, open_slot};
use crate::error::{Error, ErrorKind, Result};
use crate::format::codec::DecodeError;
use crate::format::config::Config;
use crate::format::key_slot::{KeySlot, SLOT_BYTES_MAX, SLOT_COPIES, SlotHeader};
use crate::format::layout::{Area, ObjectName};
use crate::repo::Environment;
use crate::store::Store;

/// Most key slots that a repository may have.
pub const KEY_SLOTS_MAX: usize = 64;

/// The key slots of a repository.
#[derive(Debug, Default)]
pub struct KeySlots {
    /// Those that can be read, from the oldest to the newest.
    pub slots: Vec<KeySlot>,
    /// All that are there, readable or not.
    pub ids: BTreeSet<SlotId>,
    /// What is wrong with copies of them, each with the name of the copy.
    pub problems: Vec<Error>,
}

/// A keyring, the slot that it comes from, and the secret that opened that.
pub struct Unlocked {
    /// The keys.
    pub keyring: Keyring,
    /// The slot.
    pub slot: SlotHeader,
    pub(super) secret: SlotSecret,
}

impl KeySlots {
    /// Reads all slots of the repository in `store`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Corrupt`] if there are more than [`KEY_SLOTS_MAX`]: no release makes so many,
    /// and trying them would take long. Damage of single copies is not an error.
    pub fn read(store: &dyn Store, repo: RepoId) -> Result<Self> {
        let names = store.list(Area::Keys)?;
        let ids = names.iter().filter_map(ObjectName::slot_id).collect::<BTreeSet<_>>();
        if ids.len() > KEY_SLOTS_MAX {
            let what = format!("there are more than {KEY_SLOTS_MAX} key slots");
            return Err(Error::corrupt(what).at(Area::Keys.directory()));
        }
        let mut found = Self { ids, ..Self::default() };
        for id in found.ids.clone() {
            found.read_slot(store, repo, id)?;
        }
        found.slots.sort_by_key(|slot| (slot.header.created.unix_seconds(), slot.header.slot));
        Ok(found)
    }

    fn read_slot(&mut self, store: &dyn Store, repo: RepoId, id: SlotId) -> Result<()> {
        let mut good: Vec<KeySlot> = Vec::new();
        let mut bad = Vec::new();
        for copy in 0..SLOT_COPIES {
            match read_copy(store, repo, id, copy) {
                Ok(slot) if good.first().is_some_and(|first| *first != slot) => {
                    let what = "the copies of the key slot differ";
                    bad.push(Error::corrupt(what).at(ObjectName::key_slot(id, copy).to_string()));
                    good.push(slot);
                }
                Ok(slot) if good.is_empty() => good.push(slot),
                Ok(_) => {}
                Err(error) => bad.push(error),
            }
        }
        if bad.len() == usize::from(SLOT_COPIES)
            && bad.iter().all(|error| error.kind() == ErrorKind::NotFound)
        {
            // It was removed meanwhile.
            self.ids.remove(&id);
            return Ok(());
        }
        for error in bad {
            self.problems.push(told(error)?);
        }
        self.slots.append(&mut good);
        Ok(())
    }

    /// The newest epoch that a slot names.
    pub(super) fn newest_epoch(&self) -> u32 {
        self.slots.iter().map(|slot| slot.header.epoch).max().unwrap_or(0)
    }

    /// Opens a slot with one of the secrets. Every slot is tried unless one opens.
    ///
    /// Copies that are damaged, and a slot of older keys, are reported.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Denied`] if no slot opens; [`ErrorKind::Corrupt`] if none does and some are
    /// damaged, so that what was given may well be right.
    pub fn open(&self, environment: &Environment, secrets: Vec<SlotSecret>) -> Result<Unlocked> {
        let mut slots: Vec<&KeySlot> = self.slots.iter().collect();
        // An interrupted rotation leaves slots of old keys that the same secret opens.
        slots.sort_by_key(|slot| Reverse(slot.header.epoch));
        let mut damaged = Vec::new();
        for secret in secrets {
            for slot in &slots {
                match open_slot(slot, &secret) {
                    Ok(None) => {}
                    Ok(Some(keyring)) => {
                        let slot = slot.header.clone();
                        self.report(environment, &damaged, &slot);
                        return Ok(Unlocked { keyring, slot, secret });
                    }
                    Err(error) => damaged.push(in_slot(error, slot.header.slot)),
                }
            }
        }
        Err(self.not_opened(environment, &damaged))
    }

    fn report(&self, environment: &Environment, damaged: &[Error], opened: &SlotHeader) {
        for problem in self.problems.iter().chain(damaged) {
            environment.monitor.problem(problem);
        }
        if opened.epoch < self.newest_epoch() {
            let what = "the key slot is older than the last rotation of keys and opens only what \
                        was stored before it";
            let name = ObjectName::key_slot(opened.slot, 0).to_string();
            environment.monitor.problem(&Error::corrupt(what).at(name));
        }
    }

    fn not_opened(&self, environment: &Environment, damaged: &[Error]) -> Error {
        for problem in self.problems.iter().chain(damaged) {
            environment.monitor.problem(problem);
        }
        let unreadable = self.ids.len()
            - self.slots.iter().map(|slot| slot.header.slot).collect::<BTreeSet<_>>().len();
        match (self.slots.len(), unreadable + damaged.len()) {
            (0, 0) => Error::corrupt("the repository is encrypted and has no key slots"),
            (_, 0) => Error::new(ErrorKind::Denied, "what was given opens none of the key slots"),
            (_, bad) => {
                let what = format!(
                    "what was given opens no key slot; it may be right, because {bad} of them \
                     cannot be tried"
                );
                Error::corrupt(what)
            }
        }
    }
}

/// Opens the encrypted repository of this configuration with one of the secrets. As for
/// [`KeySlots::open`].
pub fn unlock(
    store: &dyn Store,
    environment: &Environment,
    config: &Config,
    secrets: Vec<SlotSecret>,
) -> Result<Unlocked> {
    KeySlots::read(store, config.repo)?.open(environment, secrets)
}

/// One copy of a slot. [`ErrorKind::NotFound`] if it is missing.
pub fn read_copy(store: &dyn Store, repo: RepoId, id: SlotId, copy: u8) -> Result<KeySlot> {
    let name = ObjectName::key_slot(id, copy);
    let bytes = store.read(&name, SLOT_BYTES_MAX)?;
    let slot = KeySlot::decode(&bytes).map_err(|error| error.in_object(&name))?;
    let what = match (slot.header.slot == id, slot.header.repo == repo) {
        (true, true) => return Ok(slot),
        (false, _) => "the key slot is another one than its name says",
        (true, false) => "the key slot is that of another repository",
    };
    Err(Error::corrupt(what).at(name.to_string()))
}

pub(super) fn in_slot(error: DecodeError, id: SlotId) -> Error {
    error.in_object(ObjectName::key_slot(id, 0))
}

/// What to tell of a copy that cannot be read. Fails where that says nothing about the copy.
fn told(error: Error) -> Result<Error> {
    match error.kind() {
        ErrorKind::NotFound => {
            let what = "a copy of the key slot is missing";
            let name = error.path().map(ToOwned::to_owned).unwrap_or_default();
            Ok(Error::corrupt(what).at(name))
        }
        ErrorKind::Corrupt | ErrorKind::Io | ErrorKind::Unsupported => Ok(error),
        _ => Err(error),
    }
}
