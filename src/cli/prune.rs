//! `backstop prune`

use std::time::Duration;

use serde::Serialize;

use crate::base::id::SessionId;
use crate::cli::duration;
use crate::cli::exit::Exit;
use crate::cli::failure::{Advise, Result};
use crate::cli::output::{count, fields};
use crate::cli::repo_arg::Run;
use crate::cli::size::Size;
use crate::error::ErrorKind;
use crate::prune::{PruneOptions, PruneReport, prune};

/// Give back the space of what no restore point needs
///
/// Deletes packs in which nothing is needed, and rewrites packs of which little is. Backups, mounts
/// and restores go on meanwhile: what a running backup may refer to is condemned, and deleted once
/// the backup has ended, by this run if that is within --wait and otherwise by a later one. If
/// anything is missing or cannot be read, nothing is deleted.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  backstop prune --dry-run
  backstop prune --wait 2h
  backstop prune --live-share 100
  backstop prune --json | jq .prune.deleted_bytes")]
pub(super) struct PruneArgs {
    /// Only say what would be done
    #[arg(short = 'n', long)]
    dry_run: bool,

    /// Wait at most so long for running backups: 90s, 15m, 2h
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = duration::parse)]
    wait: Duration,

    /// Rewrite a pack if less than so many percent of it are needed: 0 rewrites none, 100 leaves
    /// nothing that is not needed
    #[arg(long, value_name = "PERCENT", default_value_t = 50)]
    #[arg(value_parser = clap::value_parser!(u8).range(0..=100))]
    live_share: u8,
}

#[derive(Serialize)]
struct PruneDocument<'a> {
    prune: PrunedDocument<'a>,
}

#[derive(Serialize)]
struct PrunedDocument<'a> {
    dry_run: bool,
    points: u64,
    dropped_points: u64,
    packs: u64,
    pack_bytes: u64,
    dead_packs: u64,
    compacted_packs: u64,
    postponed_packs: u64,
    kept_packs: u64,
    rewritten_bytes: u64,
    index_bytes: u64,
    deleted_packs: u64,
    deleted_bytes: u64,
    unneeded_bytes: u64,
    waits_for: &'a [SessionId],
    seconds: f64,
}

pub(super) fn run(run: &Run, args: &PruneArgs) -> Result<Exit> {
    let repo = run.open_repo()?;
    let options = PruneOptions {
        dry_run: args.dry_run,
        wait: args.wait,
        live_percent: args.live_share,
        cancel: run.cancel_on_signal()?,
    };
    let report = prune(&repo, &options)
        .advise(ErrorKind::Corrupt, "`backstop scrub` names what is damaged or gone")
        .advise(
            ErrorKind::Full,
            "a prune writes a little before it deletes: free some room by other means, then run it \
             again",
        )?;
    let mut waits_for = Vec::new();
    for session in &report.waits_for {
        waits_for.extend(repo.session_process(*session)?);
    }
    run.answer(&document(args, &report), &text(args, &report, &waits_for))?;
    Ok(Exit::Done)
}

fn document<'a>(args: &PruneArgs, report: &'a PruneReport) -> PruneDocument<'a> {
    let prune = PrunedDocument {
        dry_run: args.dry_run,
        points: report.points,
        dropped_points: report.dropped_points,
        packs: report.packs,
        pack_bytes: report.pack_bytes,
        dead_packs: report.dead_packs,
        compacted_packs: report.compacted_packs,
        postponed_packs: report.postponed_packs,
        kept_packs: report.kept_packs,
        rewritten_bytes: report.rewritten_bytes,
        index_bytes: report.index_bytes,
        deleted_packs: report.deleted_packs,
        deleted_bytes: report.deleted_bytes,
        unneeded_bytes: report.unneeded_bytes,
        waits_for: &report.waits_for,
        seconds: report.duration_ms as f64 / 1000.0,
    };
    PruneDocument { prune }
}

fn text(args: &PruneArgs, report: &PruneReport, waits_for: &[String]) -> String {
    let packs = |number, bytes| format!("{}, {}", count(number, "pack"), Size(bytes));
    let rewritten = |word| {
        let packs = count(report.compacted_packs, "pack");
        format!("{packs}, as {word}{}", Size(report.rewritten_bytes))
    };
    let deleted = packs(report.deleted_packs, report.deleted_bytes);
    let given_back = Size(report.deleted_bytes.saturating_sub(report.rewritten_bytes));
    let room = Size(report.rewritten_bytes + report.index_bytes);
    let mut rows = vec![
        ("Restore points", format!("{}, {} dropped", report.points, report.dropped_points)),
        ("Packs", packs(report.packs, report.pack_bytes)),
    ];
    match args.dry_run {
        true => rows.extend([
            ("Would delete", deleted),
            ("Would rewrite", rewritten("at most ")),
            ("Would give back", format!("{given_back} or more")),
            ("Needs first", format!("{room} of room")),
        ]),
        false => rows.extend([
            ("Deleted", deleted),
            ("Rewritten", rewritten("")),
            ("Given back", given_back.to_string()),
        ]),
    }
    rows.push(("Not needed", format!("{} in packs that stay", Size(report.unneeded_bytes))));
    fields(rows) + &next(args, report, waits_for)
}

/// What is left to do. `waits_for` are the processes that are still at work.
fn next(args: &PruneArgs, report: &PruneReport, waits_for: &[String]) -> String {
    let mut text = String::new();
    if report.postponed_packs > 0 {
        let packs = count(report.postponed_packs, "pack");
        text += &format!("{packs} could not be rewritten for want of room\n");
    }
    if !report.waits_for.is_empty() {
        let sessions = count(report.waits_for.len() as u64, "session");
        text += &format!("{sessions} at work may refer to what is to go; it is condemned\n");
        waits_for.iter().for_each(|who| text += &format!("  {who}\n"));
    }
    text += match (args.dry_run, report.waits_for.is_empty(), report.postponed_packs) {
        (true, ..) => "nothing was changed\n",
        (_, false, _) => "next: backstop prune    (once they have ended; it finishes this)\n",
        (_, _, 1..) => "next: backstop prune    (with the room that this run has made)\n",
        _ => "",
    };
    text
}
