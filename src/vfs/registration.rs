//! The mount as a session of the repository, so that others know of it.

use crate::error::ErrorKind;
use crate::format::session::SessionKind;
use crate::repo::{Registration, Repository};

/// Registers a mount, where the medium can be written. Reading must work where that fails, on a
/// full medium for example, so a failure is told and gives none.
pub(super) fn register(repo: &Repository) -> Option<Registration> {
    match Registration::begin(repo, SessionKind::Mount, None) {
        Ok(registration) => Some(registration),
        Err(error) if error.kind() == ErrorKind::Denied => None,
        Err(error) => {
            repo.monitor().problem(&error);
            None
        }
    }
}
