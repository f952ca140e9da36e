//! What is attached on this machine, and how that is shown.

use std::ffi::OsString;
use std::path::PathBuf;

use serde::Serialize;

use crate::attach::{Attachment, Place, Registry, clear_dead};
use crate::base::id::PointId;
use crate::cli::failure::Result;
use crate::cli::output::{Column, table};
use crate::cli::repo_arg::Run;
use crate::cli::size::Size;
use crate::cli::sys;

/// Names another directory than the usual one.
const VARIABLE: &str = "BACKSTOP_RUNTIME_DIR";

/// An attachment as JSON.
#[derive(Serialize)]
pub(super) struct AttachmentDocument {
    /// Device or address.
    pub(super) place: Option<String>,
    state: &'static str,
    process: Option<u32>,
    repository: Option<String>,
    point: Option<PointId>,
    vm: Option<String>,
    time: Option<String>,
    disk: Option<String>,
    size_bytes: Option<u64>,
    writable: Option<bool>,
}

impl AttachmentDocument {
    pub(super) fn new(attachment: &Attachment) -> Self {
        let facts = attachment.facts.as_ref();
        Self {
            place: facts.map(|facts| facts.place.name()),
            state: state(attachment),
            process: facts.map(|facts| facts.process),
            repository: facts.map(|facts| facts.repository.to_string_lossy().into_owned()),
            point: facts.map(|facts| facts.point),
            vm: facts.map(|facts| facts.vm.clone()),
            time: facts.map(|facts| facts.time.rfc3339()),
            disk: facts.map(|facts| facts.disk.clone()),
            size_bytes: facts.map(|facts| facts.size_bytes),
            writable: facts.map(|facts| facts.is_writable),
        }
    }
}

/// Where the attachments of this user are.
pub(super) fn registry() -> Registry {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    Registry::new(root(variable(VARIABLE), variable("XDG_RUNTIME_DIR"), sys::is_root()))
}

fn root(given: Option<OsString>, of_session: Option<OsString>, is_root: bool) -> PathBuf {
    match (given, of_session) {
        (Some(given), _) => given.into(),
        (None, Some(of_session)) if !is_root => PathBuf::from(of_session).join("backstop"),
        (None, _) => "/run/backstop".into(),
    }
}

/// Clears what killed processes have left, and tells of what could not be.
pub(super) fn clear(run: &Run, registry: &Registry) -> Result<Vec<Attachment>> {
    let (cleared, problems) = clear_dead(registry)?;
    problems.iter().for_each(|problem| run.problem(problem));
    Ok(cleared)
}

pub(super) fn text(attachments: &[Attachment]) -> String {
    use Column::{Left, Right};
    if attachments.is_empty() {
        return "nothing is attached\n".into();
    }
    let columns = [Left("PLACE"), Left("VM"), Left("TIME"), Left("DISK"), Right("SIZE")];
    let columns = columns.into_iter().chain([Left("ACCESS"), Left("STATE")]);
    let row = |attachment: &Attachment| match &attachment.facts {
        Some(facts) => {
            let access = if facts.is_writable { "write" } else { "read" };
            let (time, size) = (facts.time.to_string(), Size(facts.size_bytes).to_string());
            let (vm, disk) = (facts.vm.clone(), facts.disk.clone());
            let state = state(attachment).into();
            vec![facts.place.name(), vm, time, disk, size, access.into(), state]
        }
        None => {
            let mut cells = vec!["-".to_owned(); 6];
            cells.push(state(attachment).into());
            cells
        }
    };
    table(&columns.collect::<Vec<_>>(), attachments.iter().map(row))
}

fn state(attachment: &Attachment) -> &'static str {
    match (attachment.is_alive, &attachment.facts) {
        (false, _) => "dead",
        (true, None) => "starting",
        (true, Some(_)) => "attached",
    }
}

/// Whether that is how somebody calls an attachment: a device with or without its directory, or an
/// address.
pub(super) fn is_called(attachment: &Attachment, typed: &str) -> bool {
    let Some(facts) = &attachment.facts else { return false };
    let name = facts.place.name();
    let is_short = match &facts.place {
        Place::Device { .. } => name.strip_prefix("/dev/") == Some(typed),
        Place::Nbd { address, .. } => address == typed,
    };
    name == typed || is_short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_registry_of_root_is_below_run_and_that_of_others_in_their_session() {
        let some = |path: &str| Some(OsString::from(path));
        assert_eq!(root(None, some("/run/user/0"), true), PathBuf::from("/run/backstop"));
        assert_eq!(root(None, some("/run/user/7"), false), PathBuf::from("/run/user/7/backstop"));
        assert_eq!(root(None, None, false), PathBuf::from("/run/backstop"));
        assert_eq!(root(some("/x"), some("/run/user/7"), false), PathBuf::from("/x"));
    }
}
