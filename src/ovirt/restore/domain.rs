//! Where a new disk is stored.

use crate::error::{Error, ErrorKind, Result};
use crate::format::engine::StorageDomain as Recorded;
use crate::ovirt::client::{ApiPath, Engine};
use crate::ovirt::wire::{StorageDomain, StorageDomainList};

/// The storage domains that can hold disks.
pub fn domains(engine: &Engine) -> Result<Vec<StorageDomain>> {
    let list: StorageDomainList = engine.get(&ApiPath::new(&["storagedomains"]))?;
    let all = list.storage_domain.into_iter();
    Ok(all.filter(|domain| domain.holds == "data").collect())
}

/// The storage domain for a disk: the one that is `wanted` by name or id; else the one that it was
/// on, by id and then by name; else the only one.
pub fn choose_domain<'a>(
    domains: &'a [StorageDomain],
    wanted: Option<&str>,
    recorded: Option<&Recorded>,
) -> Result<&'a StorageDomain> {
    let by_id = |id: &str| domains.iter().find(|domain| domain.id == id);
    let by_name = |name: &str| domains.iter().find(|domain| domain.name == name);
    let names: Vec<_> = domains.iter().map(|domain| domain.name.as_str()).collect();
    let names = match names.is_empty() {
        true => "the engine shows none".to_owned(),
        false => format!("the engine shows {}", names.join(", ")),
    };
    let missing = |what: String| Error::new(ErrorKind::NotFound, format!("{what}; {names}"));
    if let Some(wanted) = wanted {
        let found = by_id(wanted).or_else(|| by_name(wanted));
        return found.ok_or_else(|| missing(format!("no storage domain is named {wanted:?}")));
    }
    if let Some(Recorded { id, name }) = recorded {
        let found = by_id(id).or_else(|| by_name(name).filter(|_| !name.is_empty()));
        return found.ok_or_else(|| {
            missing(format!("the storage domain that the disk was on, {name:?}, is not there"))
        });
    }
    match domains {
        [only] => Ok(only),
        _ => Err(missing("the restore point does not say on which storage domain it was".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domain(id: &str, name: &str) -> StorageDomain {
        let (id, name) = (id.to_owned(), name.to_owned());
        let (holds, available) = ("data".to_owned(), None);
        StorageDomain { id, name, holds, available, storage: Default::default() }
    }

    #[test]
    fn a_disk_goes_where_it_is_wanted_or_was_or_can_only_go() {
        let two = [domain("1", "fast"), domain("2", "slow")];
        let was = |id: &str, name: &str| Recorded { id: id.to_owned(), name: name.to_owned() };
        let id = |found: Result<&StorageDomain>| found.map(|found| found.id.clone()).ok();
        let one = |id: &str| Some(id.to_owned());
        assert_eq!(id(choose_domain(&two, Some("slow"), Some(&was("1", "fast")))), one("2"));
        assert_eq!(id(choose_domain(&two, Some("1"), None)), one("1"));
        assert_eq!(id(choose_domain(&two, Some("none"), Some(&was("1", "fast")))), None);
        assert_eq!(id(choose_domain(&two, None, Some(&was("2", "renamed")))), one("2"));
        assert_eq!(id(choose_domain(&two, None, Some(&was("9", "fast")))), one("1"));
        assert_eq!(id(choose_domain(&two[..1], None, Some(&was("9", "gone")))), None);
        assert_eq!(id(choose_domain(&[domain("1", "")], None, Some(&was("9", "")))), None);
        assert_eq!(id(choose_domain(&two, None, None)), None);
        assert_eq!(id(choose_domain(&two[1..], None, None)), one("2"));
    }
}
