//! What commands that speak with an engine share.

use std::fmt::Write;
use std::sync::Arc;

use crate::base::chance::{Chance, SystemChance};
use crate::cli::config::EngineConfig;
use crate::cli::failure::{Advise, Result};
use crate::cli::password;
use crate::cli::repo_arg::Run;
use crate::error::ErrorKind;
use crate::ovirt::client::{Engine, EngineOptions, Patience};

/// A session with the engine of the configuration. Nothing is sent yet.
pub(super) fn open_engine(run: &Run, config: &EngineConfig) -> Result<Engine> {
    let password = password::read(&config.password);
    let advice =
        "the configuration's [engine] names where the password is; docs/engine.md explains";
    let password = password.advise(ErrorKind::NotFound, advice)?;
    let chance = Arc::new(SystemChance);
    let options = EngineOptions {
        url: config.url.clone(),
        user: config.user.clone(),
        password,
        anchor: config.api_anchor(),
        patience: Patience::default(),
        correlation: correlation(&*chance),
        chance,
        cancel: run.cancel(),
    };
    Ok(Engine::new(options)?)
}

/// A name for the session that can be searched for in the log of the engine.
fn correlation(chance: &dyn Chance) -> String {
    let mut name = "backstop-".to_owned();
    for byte in chance.bytes::<8>() {
        // Writing to a string cannot fail.
        let _ = write!(name, "{byte:02x}");
    }
    name
}
