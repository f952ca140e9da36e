//! `backstop hold` and `backstop unhold`

use serde::Serialize;

use crate::base::id::PointId;
use crate::cli::exit::Exit;
use crate::cli::failure::Result;
use crate::cli::point_document::point_name;
use crate::cli::repo_arg::Run;
use crate::point::PointSelector;
use crate::prune::forget::{hold, release};
use crate::store::Published;

/// Keep a restore point from being dropped
///
/// No policy drops it, and `backstop forget` refuses to, until `backstop unhold`.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  backstop hold web@2026-11-23T013000Z --note 'before the upgrade'
  backstop hold 5f2a91c0")]
pub(super) struct HoldArgs {
    /// VM@latest, VM@2026-11-23T013000Z, or a prefix of an id
    point: PointSelector,

    /// Why, for people
    #[arg(long, value_name = "TEXT", default_value = "")]
    note: String,
}

/// Let a restore point be dropped again
///
/// Takes back what `backstop hold` did. Drops nothing by itself.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  backstop unhold web@2026-11-23T013000Z")]
pub(super) struct UnholdArgs {
    /// VM@latest, VM@2026-11-23T013000Z, or a prefix of an id
    point: PointSelector,
}

#[derive(Serialize)]
struct HoldDocument {
    hold: HeldDocument,
}

#[derive(Serialize)]
struct HeldDocument {
    id: PointId,
    name: String,
    held: bool,
}

pub(super) fn run(run: &Run, args: &HoldArgs) -> Result<Exit> {
    let repo = run.open_repo()?;
    let point = repo.find_point(&args.point)?;
    let name = point_name(&point);
    let text = match hold(&repo, point.id, &args.note)? {
        Published::Created => format!("{name} is held\n"),
        Published::Existed => format!("{name} was held already\n"),
    };
    let hold = HeldDocument { id: point.id, name, held: true };
    run.answer(&HoldDocument { hold }, &text)?;
    Ok(Exit::Done)
}

pub(super) fn run_unhold(run: &Run, args: &UnholdArgs) -> Result<Exit> {
    let repo = run.open_repo()?;
    let point = repo.find_point(&args.point)?;
    release(&repo, point.id)?;
    let name = point_name(&point);
    let text = format!("{name} is not held\n");
    let hold = HeldDocument { id: point.id, name, held: false };
    run.answer(&HoldDocument { hold }, &text)?;
    Ok(Exit::Done)
}
