//! The three copies of the configuration.

use crate::base::limits::SMALL_OBJECT_BYTES_MAX;
use crate::error::{Error, ErrorKind, Result};
use crate::format::config::{CONFIG_COPIES, Config};
use crate::format::layout::ObjectName;
use crate::repair::report::Action;
use crate::store::Store;

/// Says which copies have to be written, and writes them if `is_applied`. The good ones stay, so
/// that there is always one.
///
/// # Errors
///
/// [`ErrorKind::Corrupt`] where good copies differ and none has the majority.
pub(super) fn heal_config(
    store: &dyn Store,
    opened: &Config,
    is_applied: bool,
) -> Result<Vec<Action>> {
    let copies: Vec<_> = (0..CONFIG_COPIES).map(|copy| read(store, copy)).collect();
    let good: Vec<&Config> = copies.iter().filter_map(|copy| copy.as_ref().ok()).collect();
    let votes = |config: &Config| good.iter().filter(|other| **other == config).count();
    if good.iter().any(|config| votes(config) * 2 <= good.len() && good.len() > 1)
        || votes(opened) * 2 <= good.len()
    {
        let what = "good copies of the configuration differ; move the wrong one away by hand";
        return Err(Error::corrupt(what).at(ObjectName::config(0).to_string()));
    }
    let mut actions = Vec::new();
    for (number, copy) in (0..CONFIG_COPIES).zip(&copies) {
        let name = ObjectName::config(number);
        let Err(problem) = copy else { continue };
        if !matches!(problem.kind(), ErrorKind::Corrupt | ErrorKind::Io | ErrorKind::NotFound) {
            continue;
        }
        let problem = match problem.kind() {
            ErrorKind::NotFound => "it is missing".to_owned(),
            _ => problem.chain(),
        };
        if is_applied {
            store.replace(&name, &opened.encode())?;
        }
        actions.push(Action::WriteConfig { name: name.to_string(), problem });
    }
    Ok(actions)
}

fn read(store: &dyn Store, copy: u8) -> Result<Config> {
    let name = ObjectName::config(copy);
    let bytes = store.read(&name, SMALL_OBJECT_BYTES_MAX)?;
    Config::decode(&bytes).map_err(|error| error.in_object(&name))
}
