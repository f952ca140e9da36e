//! Changes of key slots.
//!
//! | step | what | if it stops here |
//! |---|---|---|
//! | 1 | both copies of a new slot are durable, `.0` first | a slot more, which its secret opens |
//! | 2 | each is read back, and its secret opens it | as 1 |
//! | 3 | old slots are deleted, `.1` first | an old slot with one copy less, which still opens |
//!
//! So there is always a slot that opens with what opened one before, or with what was proved to.

use crate::base::id::{RepoId, SlotId};
use crate::crypto::{Keyring, SlotSecret, open_slot, wrap_keyring};
use crate::error::{Error, ErrorKind, Result};
use crate::format::key_slot::{KeySlot, SLOT_COPIES, SlotHeader};
use crate::format::layout::{Area, ObjectName};
use crate::format::session::SessionKind;
use crate::repo::alone::lock_for;
use crate::repo::slots::{KEY_SLOTS_MAX, KeySlots, Unlocked, in_slot, read_copy};
use crate::repo::{Environment, Repository};
use crate::store::{Held, Published, Store};

/// Changes the key slots of a repository. While it lives, nobody else does.
pub struct KeyChange<'a> {
    repo: &'a Repository,
    unlocked: &'a Unlocked,
    found: KeySlots,
    _lock: Box<dyn Held>,
}

impl<'a> KeyChange<'a> {
    /// Begins, with the slot that opened the repository.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Busy`] if somebody else changes slots; [`ErrorKind::Denied`] if somebody
    /// removed the slot meanwhile, or if it is older than the last rotation.
    pub fn begin(repo: &'a Repository, unlocked: &'a Unlocked) -> Result<Self> {
        let lock = lock_keys(repo)?;
        let found = KeySlots::read(&**repo.store(), repo.id())?;
        let denied = |what: &'static str| Err(Error::new(ErrorKind::Denied, what));
        if !found.ids.contains(&unlocked.slot.slot) {
            return denied("the key slot that opened the repository was removed meanwhile");
        }
        if unlocked.slot.epoch < found.newest_epoch() {
            return denied(
                "the key slot that opened the repository is older than the last \
                           rotation of keys",
            );
        }
        Ok(Self { repo, unlocked, found, _lock: lock })
    }

    /// The slots as they were found.
    #[must_use]
    pub fn found(&self) -> &KeySlots {
        &self.found
    }

    /// Adds a slot that `secret` opens.
    pub fn add(&self, secret: &SlotSecret, label: &str) -> Result<SlotHeader> {
        if self.found.ids.len() >= KEY_SLOTS_MAX - 1 {
            let what = format!("there are {} key slots already", self.found.ids.len());
            return Err(Error::new(ErrorKind::Invalid, what));
        }
        self.write(&self.unlocked.keyring, secret, label)
    }

    /// Removes a slot.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Denied`] for the slot that opened the repository: that one is proved, and one
    /// that is has to stay.
    pub fn remove(&self, slot: SlotId) -> Result<()> {
        if slot == self.unlocked.slot.slot {
            let what = match self.found.ids.len() {
                1 => "it is the last key slot, and without one nobody can read the repository",
                _ => "the key slot opened the repository just now, and of no other is that known",
            };
            return Err(Error::new(ErrorKind::Denied, what));
        }
        delete(self.store(), slot)
    }

    /// Puts a slot that `secret` opens in the place of the one that opened the repository.
    pub fn replace(&self, secret: &SlotSecret) -> Result<SlotHeader> {
        let old = &self.unlocked.slot;
        let slot = self.write(&self.unlocked.keyring, secret, &old.label)?;
        delete(self.store(), old.slot)?;
        Ok(slot)
    }

    /// The slots that a rotation removes: all but the one that opened the repository.
    #[must_use]
    pub fn revoked(&self) -> Vec<SlotId> {
        let others = self.found.ids.iter().filter(|id| **id != self.unlocked.slot.slot);
        others.copied().collect()
    }

    /// Begins a new epoch of keys: what is stored from now on is sealed with keys that no slot of
    /// before holds. The secret that opened the repository opens the new slot; all others are
    /// removed, since nobody can wrap the new keys for them without their secrets.
    pub fn rotate(&self) -> Result<SlotHeader> {
        let keyring = self.unlocked.keyring.with_new_epoch(&*self.environment().chance);
        let keyring = keyring.ok_or_else(|| {
            Error::new(ErrorKind::Unsupported, "the keys were rotated as often as they can be")
        })?;
        let slot = self.write(&keyring, &self.unlocked.secret, &self.unlocked.slot.label)?;
        for old in &self.found.ids {
            delete(self.store(), *old)?;
        }
        Ok(slot)
    }

    fn write(&self, keyring: &Keyring, secret: &SlotSecret, label: &str) -> Result<SlotHeader> {
        write_slot(
            self.store(),
            self.environment(),
            self.repo.id(),
            &Wrap { keyring, secret, label },
        )
    }

    fn store(&self) -> &dyn Store {
        &**self.repo.store()
    }

    fn environment(&self) -> &Environment {
        self.repo.environment()
    }
}

/// The lock of whoever writes or deletes key slots. [`ErrorKind::Busy`] where another one has it.
pub fn lock_keys(repo: &Repository) -> Result<Box<dyn Held>> {
    lock_for(repo, SessionKind::Keys, &ObjectName::keys_lock(), "change of key slots")
}

/// What a new slot wraps.
pub(super) struct Wrap<'a> {
    pub(super) keyring: &'a Keyring,
    pub(super) secret: &'a SlotSecret,
    pub(super) label: &'a str,
}

/// Writes a slot, durably, and proves that what was written opens.
pub(super) fn write_slot(
    store: &dyn Store,
    environment: &Environment,
    repo: RepoId,
    wrap: &Wrap<'_>,
) -> Result<SlotHeader> {
    let Wrap { keyring, secret, label } = *wrap;
    let (now, chance) = (environment.clock.now(), &*environment.chance);
    let slot = wrap_keyring(keyring, secret, repo, label, now, chance)
        .map_err(|error| Error::new(ErrorKind::Unsupported, error.to_string()))?;
    for copy in 0..SLOT_COPIES {
        let name = ObjectName::key_slot(slot.header.slot, copy);
        if store.create(&name, &slot.encode())? == Published::Existed {
            let what = "another key slot has this name";
            return Err(Error::new(ErrorKind::AlreadyExists, what).at(name.to_string()));
        }
    }
    prove(store, repo, &slot, secret)?;
    Ok(slot.header)
}

fn prove(store: &dyn Store, repo: RepoId, slot: &KeySlot, secret: &SlotSecret) -> Result<()> {
    let id = slot.header.slot;
    for copy in 0..SLOT_COPIES {
        if read_copy(store, repo, id, copy)? != *slot {
            let what = "the key slot does not read back as it was written";
            return Err(Error::corrupt(what).at(ObjectName::key_slot(id, copy).to_string()));
        }
    }
    match open_slot(slot, secret).map_err(|error| in_slot(error, id))? {
        Some(_) => Ok(()),
        None => {
            let what = "the new key slot does not open with its own secret";
            Err(Error::corrupt(what).at(ObjectName::key_slot(id, 0).to_string()))
        }
    }
}

pub(super) fn delete(store: &dyn Store, slot: SlotId) -> Result<()> {
    for copy in (0..SLOT_COPIES).rev() {
        store.delete(&ObjectName::key_slot(slot, copy))?;
    }
    store.barrier(Area::Keys)
}

/// Moves slots out of the way that an interrupted making of a repository left beside `ours`.
pub(super) fn clear_leftovers(store: &dyn Store, ours: SlotId) -> Result<()> {
    let names = store.list(Area::Keys)?;
    let mut others = names.iter().filter(|name| name.slot_id() != Some(ours));
    others.try_for_each(|name| store.set_aside(name))
}
