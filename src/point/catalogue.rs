//! Catalogues: objects that hold copies of many commits, so that looking at all restore points does
//! not take a small read for each.
//!
//! A catalogue proves nothing about which restore points there are: only the names in `commit/` and
//! `forget/` do. Whatever is wrong with one, the commits themselves are read instead.

use std::collections::BTreeSet;

use crate::base::id::RepoId;
use crate::base::limits::CATALOGUE_BYTES_MAX;
use crate::error::{Error, ErrorKind, Result};
use crate::format::catalogue::Catalogue;
use crate::format::layout::{Area, ObjectName};
use crate::store::Store;

/// Looks at the list of catalogues before a reader takes it that those it misses are gone.
const LOOKS_MAX: usize = 4;

/// Calls `take` with each catalogue, or with what is wrong with it. One that is deleted meanwhile
/// was merged into another: the list is then read again. Ends early when `take` wants no more.
pub fn each_catalogue(
    store: &dyn Store,
    repo: RepoId,
    mut take: impl FnMut(&ObjectName, Result<&Catalogue<'_>>) -> bool,
) -> Result<()> {
    let mut seen = BTreeSet::new();
    for _ in 0..LOOKS_MAX {
        let mut names = store.list(Area::Catalogues)?;
        names.retain(|name| !seen.contains(name));
        names.sort_unstable();
        let mut has_missed = false;
        for name in names {
            let wants_more = with_catalogue(store, repo, &name, |read| match read {
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    has_missed = true;
                    true
                }
                read => take(&name, read),
            });
            if !wants_more {
                return Ok(());
            }
            seen.insert(name);
        }
        if !has_missed {
            break;
        }
    }
    Ok(())
}

/// Calls `take` with the catalogue of that name, or with what is wrong with it.
pub fn with_catalogue<T>(
    store: &dyn Store,
    repo: RepoId,
    name: &ObjectName,
    take: impl FnOnce(Result<&Catalogue<'_>>) -> T,
) -> T {
    let bytes = match store.read(name, CATALOGUE_BYTES_MAX) {
        Ok(bytes) => bytes,
        Err(error) => return take(Err(error)),
    };
    match decode(&bytes, name, repo) {
        Ok(catalogue) => take(Ok(&catalogue)),
        Err(error) => take(Err(error)),
    }
}

fn decode<'a>(bytes: &'a [u8], name: &ObjectName, repo: RepoId) -> Result<Catalogue<'a>> {
    let catalogue = Catalogue::decode(bytes).map_err(|error| error.in_object(name))?;
    let foreign = if catalogue.repo != repo {
        "the catalogue is that of another repository"
    } else if name.catalogue_id() != Some(catalogue.id) {
        "the catalogue is another one than its name says"
    } else {
        return Ok(catalogue);
    };
    Err(Error::corrupt(foreign).at(name.to_string()))
}
