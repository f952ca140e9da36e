//! Checkpoints: the marks from which later backups can begin.

use std::collections::BTreeMap;

use crate::base::id::RepoId;
use crate::error::{Error, Result};
use crate::ovirt::backup::tag::Tag;
use crate::ovirt::client::{ApiPath, Engine};
use crate::ovirt::wire::{Checkpoint, CheckpointList, CheckpointState};

/// The checkpoints of a VM, the oldest first. Engines and clusters without any have none.
pub fn list(engine: &Engine, vm: &str) -> Result<Vec<Checkpoint>> {
    let list: Option<CheckpointList> = engine.find(&ApiPath::new(&["vms", vm, "checkpoints"]))?;
    Ok(in_order(list.unwrap_or_default().checkpoint))
}

/// What stands against beginning from the checkpoint `wanted`; nothing if it is fit.
#[must_use]
pub fn unfit(checkpoints: &[Checkpoint], wanted: &str) -> Option<String> {
    match checkpoints.iter().find(|checkpoint| checkpoint.id == wanted) {
        None => Some(format!("the engine does not know the checkpoint {wanted} any more")),
        Some(Checkpoint { state: None | Some(CheckpointState::Created), .. }) => None,
        Some(Checkpoint { state: Some(state), .. }) => {
            Some(format!("the checkpoint {wanted} is {state}"))
        }
    }
}

/// Deletes the checkpoints of this repository's sessions but `keep`, and no other. Stops at the
/// first that cannot be deleted.
pub fn remove_own_but(
    engine: &Engine,
    vm: &str,
    repo: RepoId,
    keep: Option<&str>,
) -> Result<usize> {
    let mut removed = 0;
    for checkpoint in list(engine, vm)? {
        let tag: Option<Tag> = checkpoint.description.parse().ok();
        let is_own = tag.is_some_and(|tag| tag.repo == repo);
        if !is_own || keep == Some(checkpoint.id.as_str()) {
            continue;
        }
        engine
            .delete(&ApiPath::new(&["vms", vm, "checkpoints", &checkpoint.id]))
            .map_err(Error::from)?;
        removed += 1;
    }
    Ok(removed)
}

/// Deletes the checkpoints that one session has made: it failed, and nothing will begin from them.
pub fn remove_of_session(engine: &Engine, vm: &str, tag: Tag) -> Result<()> {
    let text = tag.to_string();
    for checkpoint in list(engine, vm)?.iter().filter(|checkpoint| checkpoint.description == text) {
        engine
            .delete(&ApiPath::new(&["vms", vm, "checkpoints", &checkpoint.id]))
            .map_err(Error::from)?;
    }
    Ok(())
}

/// From the one without a parent on; what belongs to no chain comes last.
fn in_order(mut all: Vec<Checkpoint>) -> Vec<Checkpoint> {
    let parents: BTreeMap<String, Option<String>> =
        all.iter().map(|one| (one.id.clone(), one.parent_id.clone())).collect();
    let depth = |id: &str| {
        let mut depth = 0;
        let mut at = id;
        while let Some(Some(parent)) = parents.get(at) {
            depth += 1;
            // A chain that bites its tail has no beginning.
            if depth > parents.len() {
                break;
            }
            at = parent;
        }
        depth
    };
    all.sort_by_key(|one| depth(&one.id));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint(id: &str, parent: Option<&str>, state: Option<CheckpointState>) -> Checkpoint {
        let parent_id = parent.map(ToOwned::to_owned);
        Checkpoint { id: id.to_owned(), description: String::new(), parent_id, state }
    }

    #[test]
    fn the_oldest_comes_first_whatever_the_engine_sends() {
        let all = vec![
            checkpoint("c", Some("b"), None),
            checkpoint("a", None, None),
            checkpoint("x", Some("y"), None),
            checkpoint("y", Some("x"), None),
            checkpoint("b", Some("a"), None),
        ];
        let order: Vec<_> = in_order(all).into_iter().map(|one| one.id).collect();
        assert_eq!(order, ["a", "b", "c", "x", "y"]);
    }

    #[test]
    fn only_a_checkpoint_that_is_there_and_sound_is_fit() {
        let all = [
            checkpoint("old", None, None),
            checkpoint("good", Some("old"), Some(CheckpointState::Created)),
            checkpoint("bad", Some("good"), Some(CheckpointState::Invalid)),
        ];
        for fit in ["old", "good"] {
            assert_eq!(unfit(&all, fit), None);
        }
        assert!(unfit(&all, "bad").unwrap().ends_with("is invalid"));
        assert!(unfit(&all, "gone").unwrap().contains("does not know"));
    }
}
