//! The way to the engine and to the disks, step by step, each step with its remedy.

mod steps;
mod transfer;

use crate::ovirt::client::Engine;
use crate::ovirt::probe::Prober;
use crate::ovirt::trust::Anchor;

pub use steps::check;

/// Port of the service for transfers on every host.
pub const TRANSFER_PORT: u16 = 54322;
/// Port of its proxy on the engine.
pub const PROXY_PORT: u16 = 54323;

/// By which way images travel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Way {
    /// From the host, or through the engine where the host cannot be reached.
    #[default]
    Auto,
    /// From the host only.
    Direct,
    /// Through the engine only.
    Proxy,
}

/// What is to be checked, and with what.
pub struct Subject<'a> {
    /// A session with the engine.
    pub engine: &'a Engine,
    /// Who must have signed the certificate of the API.
    pub api_anchor: &'a Anchor,
    /// Who must have signed those of hosts and of the proxy.
    pub internal_anchor: &'a Anchor,
    /// Connects to places.
    pub prober: &'a Prober,
    /// By which way images are to travel.
    pub way: Way,
}

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is proven to work.
    Good,
    /// Backups work, and something should be mended.
    Doubtful,
    /// It does not work.
    Bad,
    /// It was not tried, because an earlier step failed.
    NotTried,
}

impl Outcome {
    /// The word for people and scripts.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Good => "ok",
            Self::Doubtful => "warning",
            Self::Bad => "failed",
            Self::NotTried => "not_tried",
        }
    }
}

/// One step, done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Its name; never changes.
    pub name: &'static str,
    /// How it ended.
    pub outcome: Outcome,
    /// What was seen.
    pub detail: String,
    /// What to do, if anything.
    pub remedy: Option<String>,
}

impl Step {
    /// It works.
    pub fn good(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, outcome: Outcome::Good, detail: detail.into(), remedy: None }
    }

    /// It does not work.
    pub fn bad(name: &'static str, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        let remedy = Some(remedy.into());
        Self { name, outcome: Outcome::Bad, detail: detail.into(), remedy }
    }

    /// The rest works.
    pub fn doubtful(
        name: &'static str,
        detail: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { outcome: Outcome::Doubtful, ..Self::bad(name, detail, remedy) }
    }

    /// Another step has to work first.
    #[must_use]
    pub fn not_tried(name: &'static str, needs: &str) -> Self {
        let detail = format!("needs the step `{needs}`");
        Self { name, outcome: Outcome::NotTried, detail, remedy: None }
    }
}
