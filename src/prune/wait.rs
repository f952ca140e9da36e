//! Waits for sessions that may still refer to condemned packs (step G6).

use std::collections::HashSet;
use std::time::{Duration, Instant};

use crate::base::cancel::Cancel;
use crate::base::id::SessionId;
use crate::error::{Error, ErrorKind, Result};
use crate::format::commit::Decision;
use crate::format::layout::{Area, ObjectName};
use crate::format::session::SessionKind;
use crate::prune::census::is_there;
use crate::prune::roots::{is_waited_for, read_session};
use crate::repo::Repository;
use crate::store::Store;

/// How often a session is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The sessions that a prune waits for, as they are registered now. Those whose process is gone are
/// fenced, so that they can never commit. With `backups` false, only the others.
pub(super) fn waiting(store: &dyn Store, backups: bool) -> Result<HashSet<SessionId>> {
    let mut waiting = HashSet::new();
    for name in store.list(Area::Sessions)? {
        let Some(id) = name.session_id() else { continue };
        if is_decided(store, id)? {
            continue;
        }
        // A registration that cannot be read is of a session that may do anything.
        let kind = match read_session(store, &name) {
            Ok(Some(session)) => Some(session.kind),
            Ok(None) => continue,
            Err(error) if error.kind() == ErrorKind::Corrupt => None,
            Err(error) => return Err(error),
        };
        let counts = kind != Some(SessionKind::Backup) || backups;
        if counts && kind.is_none_or(is_waited_for) {
            waiting.insert(id);
        }
    }
    Ok(waiting)
}

/// Whether a session can no longer commit, or has. One whose process is gone is fenced here.
pub(super) fn is_decided(store: &dyn Store, id: SessionId) -> Result<bool> {
    let commit = ObjectName::commit(id);
    if is_there(store, &commit)? {
        return Ok(true);
    }
    if store.is_held(&ObjectName::session(id))? {
        return Ok(false);
    }
    // Whether this decides it or the session did meanwhile, it is decided.
    let _decided = store.create(&commit, &Decision::Fenced.encode())?;
    Ok(true)
}

/// Waits until `sessions` are decided, at most for `patience`; those that are not stay in it.
pub(super) fn wait_for(
    repo: &Repository,
    sessions: &mut HashSet<SessionId>,
    patience: Duration,
    cancel: &Cancel,
) -> Result<()> {
    let began = Instant::now();
    loop {
        let mut left = HashSet::new();
        for id in sessions.drain() {
            if !is_decided(&**repo.store(), id)? {
                left.insert(id);
            }
        }
        *sessions = left;
        if sessions.is_empty() || began.elapsed() >= patience {
            return Ok(());
        }
        if cancel.is_requested() {
            return Err(Error::new(ErrorKind::Cancelled, "the prune was interrupted"));
        }
        repo.environment().clock.sleep(LOOK_EVERY.min(patience));
    }
}
