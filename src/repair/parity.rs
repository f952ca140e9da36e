//! Packs come back from their parity, and parity from its pack.

use crate::base::cancel::Cancel;
use crate::base::id::PackId;
use crate::error::{Error, ErrorKind, Result};
use crate::format::layout::ObjectName;
use crate::format::parity::{PARITY_BYTES_MAX, Parity};
use crate::pack;
use crate::repair::report::Action;
use crate::repair::salvage::read_bytes;
use crate::repo::Repository;
use crate::scrub::Survey;
use crate::store::Store;

/// Brings back, byte for byte, what the survey calls damaged and parity reaches. From then on the
/// survey calls it whole.
pub(super) fn bring_back_packs(
    repo: &Repository,
    survey: &mut Survey<'_>,
    cancel: &Cancel,
    is_applied: bool,
) -> Result<Vec<Action>> {
    let store = &**repo.store();
    let mut bytes = Vec::new();
    let mut actions = Vec::new();
    for id in survey.damaged_packs() {
        check_not_cancelled(cancel)?;
        let Some(parity) = read_parity(store, id)? else { continue };
        let problem = match read_bytes(store, id, &mut bytes) {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            problem => problem?,
        };
        // What is whole needs nothing; what is out of reach is salvaged.
        let Some(problem) = problem else { continue };
        let Ok(shards) = pack::bring_back(&parity, &mut bytes) else { continue };
        if is_applied {
            store.replace(&ObjectName::pack(id), &bytes)?;
        }
        survey.mark_whole(id);
        actions.push(Action::RestorePack { pack: id, problem, shards: shards as u64 });
    }
    Ok(actions)
}

/// Writes the parity that is missing or damaged of packs that are whole.
pub(super) fn write_parity(
    repo: &Repository,
    survey: &Survey<'_>,
    cancel: &Cancel,
    is_applied: bool,
) -> Result<Vec<Action>> {
    let store = &**repo.store();
    let mut bytes = Vec::new();
    let mut actions = Vec::new();
    let damaged = survey.damaged_packs();
    for (id, problem) in survey.packs_without_parity() {
        check_not_cancelled(cancel)?;
        match read_bytes(store, id, &mut bytes) {
            Ok(None) => {}
            // One that would be brought back would be whole by now.
            Ok(Some(_)) if is_applied || damaged.contains(&id) => continue,
            Ok(Some(_)) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        }
        if is_applied {
            let parity = pack::parity_of(repo.id(), id, &bytes)?;
            store.replace(&ObjectName::parity(id), &parity.encode())?;
        }
        actions.push(Action::WriteParity { pack: id, problem });
    }
    Ok(actions)
}

fn read_parity(store: &dyn Store, id: PackId) -> Result<Option<Parity>> {
    let bytes = match store.read(&ObjectName::parity(id), PARITY_BYTES_MAX) {
        Err(error) => {
            let is_no_use =
                matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Corrupt | ErrorKind::Io);
            return if is_no_use { Ok(None) } else { Err(error) };
        }
        Ok(bytes) => bytes,
    };
    Ok(Parity::decode(&bytes).ok().filter(|parity| parity.pack == id))
}

fn check_not_cancelled(cancel: &Cancel) -> Result<()> {
    match cancel.is_requested() {
        true => Err(Error::new(ErrorKind::Cancelled, "the repair was interrupted")),
        false => Ok(()),
    }
}
