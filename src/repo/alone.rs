//! A repair goes beside no other session that writes.
//!
//! It takes a lock and then looks for sessions; every other session registers and then looks at the
//! lock. Of two that begin at the same time at least one sees the other. Both are locks of the
//! kernel, so none of a process that is gone is in the way.

use crate::base::limits::SMALL_OBJECT_BYTES_MAX;
use crate::error::{Error, ErrorKind, Result};
use crate::format::layout::{Area, ObjectName};
use crate::format::session::{SessionKind, SessionRecord};
use crate::repo::registration::describe;
use crate::repo::{Repository, holder};
use crate::store::{Held, Store};

/// While this lives, no backup, prune or rebuild is at work, and none begins.
#[derive(Debug)]
pub struct Alone {
    _lock: Box<dyn Held>,
}

impl Alone {
    /// Takes the lock. Mounts and restores may go on: they only read.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Busy`] where another repair, or a session that writes, is at work.
    pub fn begin(repo: &Repository) -> Result<Self> {
        let store = &**repo.store();
        let lock = lock_for(repo, SessionKind::Repair, &ObjectName::exclusive_lock(), "repair")?;
        for session in store.list(Area::Sessions)? {
            if store.is_held(&session)? && !only_reads(store, &session) {
                let who = holder::read(store, &session).who;
                let what = format!("a session that writes is at work ({who})");
                return Err(Error::new(ErrorKind::Busy, what).at(session.to_string()));
            }
        }
        Ok(Self { _lock: lock })
    }
}

/// The lock that a prune has while it is at work. [`ErrorKind::Busy`] where another one has it.
pub fn lock_prunes(repo: &Repository) -> Result<Box<dyn Held>> {
    lock_for(repo, SessionKind::Prune, &ObjectName::prune_lock(), "prune")
}

/// Whether a prune is at work.
pub fn is_pruned(repo: &Repository) -> Result<bool> {
    repo.store().is_held(&ObjectName::prune_lock())
}

pub(super) fn lock_for(
    repo: &Repository,
    kind: SessionKind,
    name: &ObjectName,
    doing: &str,
) -> Result<Box<dyn Held>> {
    let store = &**repo.store();
    let text = describe(repo, kind, None, None).encode();
    store.lock(name, &text)?.ok_or_else(|| {
        let who = holder::read(store, name).who;
        Error::new(ErrorKind::Busy, format!("another {doing} is running ({who})"))
    })
}

/// Whether a session only reads. One that does not say what it does may do anything.
fn only_reads(store: &dyn Store, session: &ObjectName) -> bool {
    let bytes = store.read(session, SMALL_OBJECT_BYTES_MAX);
    let record = bytes.ok().and_then(|bytes| SessionRecord::decode(&bytes).ok());
    record.is_some_and(|record| matches!(record.kind, SessionKind::Mount | SessionKind::Restore))
}

/// Fails with [`ErrorKind::Busy`] while a repair is at work. To be called by every session that
/// writes, after it has registered.
pub fn check_not_repaired(store: &dyn Store) -> Result<()> {
    let name = ObjectName::exclusive_lock();
    if !store.is_held(&name)? {
        return Ok(());
    }
    let who = holder::read(store, &name).who;
    Err(Error::new(ErrorKind::Busy, format!("the repository is being repaired ({who})")))
}
