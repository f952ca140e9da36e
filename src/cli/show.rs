//! `backstop show`

use serde::Serialize;

use crate::cli::exit::Exit;
use crate::cli::failure::Result;
use crate::cli::output::fields;
use crate::cli::point_document::{PointDocument, disk_table, engine_text, stats_fields};
use crate::cli::repo_arg::Run;
use crate::cli::size::Size;
use crate::format::commit::PointRecord;
use crate::point::PointSelector;

/// Show one restore point in full
///
/// POINT is VM@latest, VM@TIME as `backstop list` shows it, or at least four digits of an id.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  backstop show web@latest
  backstop show 'mail server@2026-11-23T013000Z'
  backstop show 5f2a91c0 --json | jq .point.disks")]
pub(super) struct ShowArgs {
    /// VM@latest, VM@2026-11-23T013000Z, or a prefix of an id
    point: PointSelector,
}

#[derive(Serialize)]
struct ShowDocument<'a> {
    point: PointDocument<'a>,
}

pub(super) fn run(run: &Run, args: &ShowArgs) -> Result<Exit> {
    let point = run.open_repo()?.find_point(&args.point)?;
    run.answer(&ShowDocument { point: PointDocument::new(&point) }, &text(&point))?;
    Ok(Exit::Done)
}

fn text(point: &PointRecord) -> String {
    let number = match &point.previous {
        Some(previous) => format!("{} (the one before is {})", point.sequence, previous.point),
        None => point.sequence.to_string(),
    };
    let head = fields([
        ("VM", point.vm.clone()),
        ("Time", point.time.to_string()),
        ("ID", point.id.to_string()),
        ("Number", number),
        ("Size", Size(point.size_bytes()).to_string()),
        ("Written by", point.written_by.clone()),
    ]);
    let (disks, engine) = (disk_table(&point.disks), engine_text(point));
    format!("{head}\n{disks}\n{engine}{}", stats_fields(&point.stats))
}
