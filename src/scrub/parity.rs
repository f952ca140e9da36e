//! The parity of packs: whether it is there, and good.

use std::collections::HashSet;

use crate::base::cancel::Cancel;
use crate::base::id::{PackId, RepoId};
use crate::error::{Error, ErrorKind, Result};
use crate::format::config::Config;
use crate::format::layout::{Area, ObjectName};
use crate::format::parity::{PARITY_BYTES_MAX, Parity};
use crate::scrub::ScrubLevel;
use crate::scrub::objects::damage;
use crate::store::Store;

/// Packs of `packs` that have no parity or a damaged one, each with what is wrong; from level
/// `hash` on the parity is read. To be called after the packs were listed.
pub(super) fn lacking_parity(
    store: &dyn Store,
    config: &Config,
    packs: &HashSet<PackId>,
    level: ScrubLevel,
    cancel: &Cancel,
) -> Result<Vec<(PackId, Error)>> {
    let mut lacking = Vec::new();
    if !config.has_parity() {
        return Ok(lacking);
    }
    let names = store.list(Area::Parity)?;
    let there: HashSet<PackId> = names.iter().filter_map(ObjectName::protected_pack).collect();
    for pack in packs {
        if cancel.is_requested() {
            return Err(Error::new(ErrorKind::Cancelled, "the scrub was interrupted"));
        }
        let checked = match there.contains(pack) {
            true if level < ScrubLevel::Hash => Ok(()),
            true => check(store, config.repo, *pack),
            false => Err(missing(*pack)),
        };
        let Err(error) = checked else { continue };
        match error.kind() {
            // A prune has deleted the pack, too.
            ErrorKind::NotFound if !is_there(store, *pack) => {}
            ErrorKind::NotFound => lacking.push((*pack, missing(*pack))),
            _ => lacking.push((*pack, damage(error)?)),
        }
    }
    lacking.sort_unstable_by_key(|(pack, _)| *pack);
    Ok(lacking)
}

fn check(store: &dyn Store, repo: RepoId, pack: PackId) -> Result<()> {
    let name = ObjectName::parity(pack);
    let bytes = store.read(&name, PARITY_BYTES_MAX)?;
    let parity = Parity::decode(&bytes).map_err(|error| error.in_object(&name))?;
    let problem = if parity.pack != pack || parity.repo != repo {
        "the parity is that of another pack".to_owned()
    } else {
        match parity.recovery_shards().filter(Option::is_none).count() {
            0 => return Ok(()),
            damaged => format!("{damaged} of its recovery shards are damaged"),
        }
    };
    Err(Error::corrupt(problem).at(name.to_string()))
}

fn missing(pack: PackId) -> Error {
    let what = "the pack has no parity";
    Error::new(ErrorKind::NotFound, what).at(ObjectName::parity(pack).to_string())
}

fn is_there(store: &dyn Store, pack: PackId) -> bool {
    store.len_bytes(&ObjectName::pack(pack)).is_ok()
}
