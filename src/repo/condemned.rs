//! What prunes have condemned, list by list.

use crate::base::id::SessionId;
use crate::base::limits::SMALL_OBJECT_BYTES_MAX;
use crate::base::pack_set::PackSet;
use crate::error::{ErrorKind, Result};
use crate::format::layout::{Area, ObjectName};
use crate::format::lists::Condemned;
use crate::store::Store;

/// One list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CondemnedList {
    /// The object.
    pub name: ObjectName,
    /// The prune that published it.
    pub run: SessionId,
    /// What it says.
    pub condemned: Condemned,
}

/// All lists. Fails where one cannot be read: nothing else knows what it said. One that is deleted
/// meanwhile is left out.
pub fn condemned_lists(store: &dyn Store) -> Result<Vec<CondemnedList>> {
    let mut lists = Vec::new();
    for name in store.list(Area::Condemned)? {
        let Some(run) = name.session_id() else { continue };
        let bytes = match store.read(&name, SMALL_OBJECT_BYTES_MAX) {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            read => read?,
        };
        let condemned = Condemned::decode(&bytes).map_err(|error| error.in_object(&name))?;
        lists.push(CondemnedList { name, run, condemned });
    }
    Ok(lists)
}

/// All packs of all lists.
#[must_use]
pub fn condemned_packs<'a>(lists: impl IntoIterator<Item = &'a CondemnedList>) -> PackSet {
    lists.into_iter().flat_map(|list| list.condemned.packs.iter().copied()).collect()
}
