//! `backstop doctor`

use serde::Serialize;

use crate::cli::engine_arg::open_engine;
use crate::cli::engine_test::{StepDocument, all_steps, report_doubtful, step_document, text};
use crate::cli::exit::Exit;
use crate::cli::failure::Result;
use crate::cli::repo_arg::Run;
use crate::error::{Error, ErrorKind};
use crate::job::doctor::{environment, repository};
use crate::job::leftovers::{self, Leftover};
use crate::ovirt::check::Outcome;
use crate::ovirt::client::Engine;
use crate::repo::Repository;

/// Look for what is wrong with this machine, the repository and the way to the engine
///
/// Changes nothing, unless --clean ends what killed runs of this repository have left on the
/// engine: what they have written down, and backups that carry the name of such a run. What others
/// have created is never touched. The repository and the engine are looked at where they are named.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  backstop doctor
  backstop doctor --clean
  backstop doctor --json | jq '.leftovers'")]
pub(super) struct DoctorArgs {
    /// End what killed runs have left on the engine
    #[arg(long)]
    clean: bool,
}

#[derive(Serialize)]
struct DoctorDocument<'a> {
    steps: Vec<StepDocument<'a>>,
    leftovers: Vec<LeftoverDocument>,
}

#[derive(Serialize)]
struct LeftoverDocument {
    what: &'static str,
    id: String,
    vm_id: Option<String>,
    engine: String,
    session: String,
    ended: bool,
}

pub(super) fn run(run: &Run, args: &DoctorArgs) -> Result<Exit> {
    run.cancel_on_signal()?;
    let mut steps = environment();
    let repo = run.has_repo().then(|| run.open_repo()).transpose()?;
    steps.extend(repo.as_ref().map(repository));
    let engine = match run.has_config() {
        true => {
            let config = run.engine_config()?;
            let engine = open_engine(run, &config)?;
            steps.extend(all_steps(&config, &engine));
            Some(engine)
        }
        false => None,
    };
    report_doubtful(run, &steps);
    let is_bad = steps.iter().any(|step| step.outcome == Outcome::Bad);
    let is_in = steps.iter().any(|one| one.name == "login" && one.outcome == Outcome::Good);
    let can_look = engine.as_ref().filter(|_| is_in);
    let leftovers = match &repo {
        Some(repo) => see_to_leftovers(run, repo, can_look, args.clean)?,
        None => Vec::new(),
    };
    let text = text(&steps) + &leftovers_text(&leftovers);
    let document = DoctorDocument { steps: steps.iter().map(step_document).collect(), leftovers };
    run.answer(&document, &text)?;
    Ok(if is_bad { Exit::Failed } else { Exit::Done })
}

/// Leftovers, ended if that is wanted. Each that stays is a problem.
fn see_to_leftovers(
    run: &Run,
    repo: &Repository,
    engine: Option<&Engine>,
    clean: bool,
) -> Result<Vec<LeftoverDocument>> {
    let found = match engine {
        Some(engine) => leftovers::of_engine(repo, engine)?,
        None => leftovers::noted(repo)?,
    };
    let mut documents = Vec::new();
    for leftover in found {
        let ended = match engine.filter(|_| clean) {
            Some(engine) => leftovers::end(repo, engine, &leftover),
            None => Err(Error::new(ErrorKind::Remote, "`backstop doctor --clean` ends it")),
        };
        if let Err(error) = &ended {
            let what = format!(
                "a killed run has left the {} {}: {}",
                leftover.what.word(),
                leftover.id,
                error.chain()
            );
            run.problem(&Error::new(ErrorKind::Remote, what));
        }
        documents.push(document(leftover, ended.is_ok()));
    }
    Ok(documents)
}

fn document(leftover: Leftover, ended: bool) -> LeftoverDocument {
    let Leftover { session, what, id, vm_id, url, .. } = leftover;
    let session = session.to_string();
    LeftoverDocument { what: what.word(), id, vm_id, engine: url, session, ended }
}

fn leftovers_text(leftovers: &[LeftoverDocument]) -> String {
    let line = |leftover: &LeftoverDocument| {
        let state = if leftover.ended { "ended" } else { "left" };
        format!("{state:9} {:11}  {} on {}\n", leftover.what, leftover.id, leftover.engine)
    };
    leftovers.iter().map(line).collect()
}
