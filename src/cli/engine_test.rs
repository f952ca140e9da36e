//! `backstop engine test`

use std::time::Duration;

use serde::Serialize;

use crate::cli::config::EngineConfig;
use crate::cli::engine_arg::open_engine;
use crate::cli::exit::Exit;
use crate::cli::failure::Result;
use crate::cli::repo_arg::Run;
use crate::error::{Error, ErrorKind};
use crate::ovirt::check::{Outcome, Step, Subject, check};
use crate::ovirt::client::Engine;
use crate::ovirt::probe::Prober;

/// Patience for one connection of a probe, and for each answer on it.
const PROBE: Duration = Duration::from_secs(10);

/// Try the way to the engine and to its hosts, step by step
///
/// Proves the URL and the certificate, the login, the version, the permissions, the internal
/// certificate authority, and that images can be had from hosts or through the engine's proxy.
/// Every step that fails comes with a remedy. Changes nothing on the engine.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  backstop engine test
  backstop --config ./config.toml engine test --json")]
pub(super) struct EngineTestArgs {}

#[derive(Serialize)]
struct EngineTestDocument<'a> {
    engine: EngineDocument,
    steps: Vec<StepDocument<'a>>,
}

#[derive(Serialize)]
struct EngineDocument {
    url: String,
}

/// A step as JSON.
#[derive(Serialize)]
pub(super) struct StepDocument<'a> {
    name: &'static str,
    outcome: &'static str,
    detail: &'a str,
    remedy: Option<&'a str>,
}

pub(super) fn run(run: &Run, _args: &EngineTestArgs) -> Result<Exit> {
    let config = run.engine_config()?;
    let engine = open_engine(run, &config)?;
    let steps = all_steps(&config, &engine);
    report_doubtful(run, &steps);
    let document = EngineTestDocument {
        engine: EngineDocument { url: config.url.to_string() },
        steps: steps.iter().map(step_document).collect(),
    };
    run.answer(&document, &text(&steps))?;
    let is_bad = steps.iter().any(|step| step.outcome == Outcome::Bad);
    Ok(if is_bad { Exit::Failed } else { Exit::Done })
}

/// Every step of the way to the engine.
pub(super) fn all_steps(config: &EngineConfig, engine: &Engine) -> Vec<Step> {
    check(&Subject {
        engine,
        api_anchor: &config.api_anchor(),
        internal_anchor: &config.internal_anchor(),
        prober: &Prober { map: config.addresses.clone(), patience: PROBE },
        way: config.way,
    })
}

/// What should be mended is a problem.
pub(super) fn report_doubtful(run: &Run, steps: &[Step]) {
    for step in steps.iter().filter(|step| step.outcome == Outcome::Doubtful) {
        let what = format!("{}: {}", step.name, step.detail);
        run.problem(&Error::new(ErrorKind::Remote, what));
    }
}

pub(super) fn step_document(step: &Step) -> StepDocument<'_> {
    StepDocument {
        name: step.name,
        outcome: step.outcome.word(),
        detail: &step.detail,
        remedy: step.remedy.as_deref(),
    }
}

pub(super) fn text(steps: &[Step]) -> String {
    let line = |step: &Step| {
        let outcome = step.outcome.word().replace('_', " ");
        let remedy = step.remedy.as_ref().map(|remedy| format!("  remedy: {remedy}\n"));
        format!("{outcome:9} {:11}  {}\n{}", step.name, step.detail, remedy.unwrap_or_default())
    };
    steps.iter().map(line).collect()
}
