//! What sessions create on engines, written down so that it is ended even after a crash.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use crate::base::id::SessionId;
use crate::base::limits::SMALL_OBJECT_BYTES_MAX;
use crate::base::sync::lock;
use crate::error::{Error, ErrorKind, Result};
use crate::format::journal::EngineNote;
use crate::format::layout::{Area, ObjectName};
use crate::repo::Repository;
use crate::store::{Published, Store};

/// The notes of one session. They stay until [`EngineJournal::done`] says that the thing is over,
/// whatever becomes of the session.
#[derive(Debug)]
pub struct EngineJournal {
    store: Arc<dyn Store>,
    session: SessionId,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next: u32,
    /// Names of notes by the id of the thing.
    open: BTreeMap<String, ObjectName>,
}

impl EngineJournal {
    /// The journal of a session, which must be registered.
    #[must_use]
    pub fn new(repo: &Repository, session: SessionId) -> Self {
        Self { store: Arc::clone(repo.store()), session, state: Mutex::default() }
    }

    /// Writes down a thing before it is created, or as soon as its id is known. Durable when this
    /// returns.
    pub fn note(&self, note: &EngineNote) -> Result<()> {
        let mut state = lock(&self.state);
        let name = ObjectName::engine_note(self.session, state.next);
        state.next += 1;
        match self.store.create(&name, &note.encode())? {
            Published::Created => {}
            Published::Existed => {
                let what = "the note of another session has this name";
                return Err(Error::new(ErrorKind::AlreadyExists, what).at(name.to_string()));
            }
        }
        state.open.insert(note.id.clone(), name);
        Ok(())
    }

    /// The thing of that id is over.
    pub fn done(&self, id: &str) -> Result<()> {
        match lock(&self.state).open.remove(id) {
            Some(name) => self.store.delete(&name),
            None => Ok(()),
        }
    }
}

/// A note whose session is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftoverNote {
    /// The session.
    pub session: SessionId,
    /// What it has created, or was about to.
    pub note: EngineNote,
    name: ObjectName,
}

impl LeftoverNote {
    /// The thing is over: the note goes.
    pub fn settle(&self, repo: &Repository) -> Result<()> {
        repo.store().delete(&self.name)
    }
}

impl Repository {
    /// The notes of sessions that are gone. One that cannot be read is reported and left out.
    pub fn leftover_notes(&self) -> Result<Vec<LeftoverNote>> {
        let store = &**self.store();
        let mut notes = Vec::new();
        for name in store.list(Area::Engine)? {
            let Some(session) = name.session_id() else { continue };
            if self.is_at_work(session)? {
                continue;
            }
            let bytes = store.read(&name, SMALL_OBJECT_BYTES_MAX);
            let note = bytes.and_then(|bytes| {
                EngineNote::decode(&bytes).map_err(|error| error.in_object(&name))
            });
            match note {
                Ok(note) => notes.push(LeftoverNote { session, note, name }),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => self.monitor().problem(&error),
            }
        }
        Ok(notes)
    }

    /// Whether the session of that id is registered and alive.
    pub fn is_at_work(&self, session: SessionId) -> Result<bool> {
        self.store().is_held(&ObjectName::session(session))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::id::PointId;
    use crate::format::journal::EngineThing;
    use crate::repo::{Environment, RestoreSession};
    use crate::store::testing::MemoryStore;

    fn note(id: &str) -> EngineNote {
        EngineNote {
            url: "https://engine.example.test".to_owned(),
            vm_id: None,
            what: EngineThing::Backup,
            id: id.to_owned(),
            disk_id: None,
            text: "a test".to_owned(),
        }
    }

    #[test]
    fn a_note_is_a_leftover_once_its_session_is_gone_and_until_it_is_settled() {
        let store = Arc::new(MemoryStore::new());
        let repo = Repository::create(store, Environment::default()).unwrap();
        let session = RestoreSession::begin(&repo, "web", PointId::from_bytes([1; 16])).unwrap();
        let journal = EngineJournal::new(&repo, session.id());
        for id in ["over", "left"] {
            journal.note(&note(id)).unwrap();
        }
        journal.done("over").unwrap();
        journal.done("never noted").unwrap();
        assert_eq!(repo.leftover_notes().unwrap(), []);
        drop(session);
        let left = repo.leftover_notes().unwrap();
        assert_eq!(left.len(), 1);
        assert_eq!(left[0].note, note("left"));
        left[0].settle(&repo).unwrap();
        assert_eq!(repo.leftover_notes().unwrap(), []);
    }
}
