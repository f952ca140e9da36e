//! The two copies of every key slot.

use crate::error::{Error, ErrorKind, Result};
use crate::format::key_slot::{KeySlot, SLOT_COPIES};
use crate::format::layout::ObjectName;
use crate::repair::report::Action;
use crate::repo::{KeySlots, Repository, lock_keys, read_copy};

/// Says which copies have to be written from their others, and writes them if `is_applied`. Nobody
/// needs to know the secret of a slot for that.
pub(super) fn heal_slots(repo: &Repository, is_applied: bool) -> Result<Vec<Action>> {
    let mut actions = Vec::new();
    if !repo.config().is_encrypted() {
        return Ok(actions);
    }
    let _lock = if is_applied { Some(lock_keys(repo)?) } else { None };
    let store = &**repo.store();
    for id in KeySlots::read(store, repo.id())?.ids {
        let copies = (0..SLOT_COPIES).map(|copy| (copy, read_copy(store, repo.id(), id, copy)));
        let (good, bad): (Vec<_>, Vec<_>) = copies.partition(|(_, slot)| slot.is_ok());
        let Some((_, Ok(good))) = good.first() else { continue };
        for (copy, slot) in bad {
            let Some(problem) = slot.err().and_then(problem) else { continue };
            let name = ObjectName::key_slot(id, copy);
            if is_applied {
                store.replace(&name, &KeySlot::encode(good))?;
            }
            actions.push(Action::WriteKeySlot { name: name.to_string(), problem });
        }
    }
    Ok(actions)
}

/// What is wrong with a copy, if writing it again would help.
fn problem(error: Error) -> Option<String> {
    match error.kind() {
        ErrorKind::NotFound => Some("it is missing".to_owned()),
        ErrorKind::Corrupt | ErrorKind::Io => Some(error.chain()),
        _ => None,
    }
}
