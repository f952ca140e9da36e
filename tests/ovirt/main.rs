//! The engine's client, facts and rules, against an engine that answers what a test tells it to.

mod backup;
mod changes;
mod client;
mod configuration;
mod daemon;
mod gather;
mod page;
mod transfer;
mod trust;
mod upload;
mod waiting;

#[path = "../support/engine.rs"]
mod engine;

use std::sync::Arc;
use std::time::Duration;

use backstop::base::cancel::Cancel;
use backstop::base::chance::SystemChance;
use backstop::base::secret::Secret;
use backstop::ovirt::address::EngineUrl;
use backstop::ovirt::client::{Engine, EngineOptions, Patience};
use backstop::ovirt::trust::Anchor;

use crate::engine::{FakeEngine, PASSWORD, USER};

/// Patience that a test can bear.
pub(crate) fn patience() -> Patience {
    let millis = Duration::from_millis;
    Patience { first_pause: millis(1), longest_pause: millis(5), ..Patience::default() }
}

pub(crate) fn options(url: &str) -> EngineOptions {
    EngineOptions {
        url: EngineUrl::parse(url).unwrap(),
        user: USER.to_owned(),
        password: Secret::from(PASSWORD),
        anchor: Anchor::File("/nowhere.pem".into()),
        patience: patience(),
        correlation: "backstop-test".to_owned(),
        chance: Arc::new(SystemChance),
        cancel: Cancel::default(),
    }
}

pub(crate) fn client(fake: &FakeEngine) -> Engine {
    Engine::new(options(&fake.url())).unwrap()
}
