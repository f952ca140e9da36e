//! `backstop rebuild-index`

use serde::Serialize;

use crate::base::id::PackId;
use crate::cli::exit::Exit;
use crate::cli::failure::Result;
use crate::cli::output::count;
use crate::cli::repo_arg::Run;
use crate::repo::{RebuildReport, rebuild_index};

/// Make the index anew from the packs
///
/// The index only says where to look, and packs describe themselves, so a lost or damaged index is
/// no lost data. Backups and mounts may go on meanwhile. Deletes only old parts of the index.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  backstop rebuild-index
  backstop rebuild-index --json | jq .rebuild.entries")]
pub(super) struct RebuildIndexArgs {}

#[derive(Serialize)]
struct RebuildDocument<'a> {
    rebuild: RebuiltDocument<'a>,
}

#[derive(Serialize)]
struct RebuiltDocument<'a> {
    packs: u64,
    entries: u64,
    catalogued_commits: u64,
    torn_packs: &'a [PackId],
    unreadable_packs: &'a [PackId],
    replaced_segments: u64,
    kept_old_segments: bool,
    seconds: f64,
}

pub(super) fn run(run: &Run, _args: &RebuildIndexArgs) -> Result<Exit> {
    let repo = run.open_repo()?;
    let cancel = run.cancel_on_signal()?;
    let report = rebuild_index(&repo, &cancel)?;
    run.answer(&document(&report), &text(&report))?;
    Ok(match has_damage(&report) {
        true => Exit::Problems,
        false => Exit::Done,
    })
}

fn has_damage(report: &RebuildReport) -> bool {
    report.kept_old_segments || !report.torn_packs.is_empty() || !report.unreadable_packs.is_empty()
}

fn document(report: &RebuildReport) -> RebuildDocument<'_> {
    let rebuild = RebuiltDocument {
        packs: report.packs,
        entries: report.entries,
        catalogued_commits: report.catalogued_commits,
        torn_packs: &report.torn_packs,
        unreadable_packs: &report.unreadable_packs,
        replaced_segments: report.replaced_segments,
        kept_old_segments: report.kept_old_segments,
        seconds: report.duration_ms as f64 / 1000.0,
    };
    RebuildDocument { rebuild }
}

fn text(report: &RebuildReport) -> String {
    let mut text = format!(
        "made the index anew: {} chunks and map nodes in {}, in {:.1} s\n",
        report.entries,
        count(report.packs, "pack"),
        report.duration_ms as f64 / 1000.0
    );
    if report.catalogued_commits > 0 {
        text +=
            &format!("made catalogues of {} anew\n", count(report.catalogued_commits, "commit"));
    }
    for (packs, what) in [
        (&report.torn_packs, "the table is damaged; what it named was looked for and decoded"),
        (&report.unreadable_packs, "nothing in it can be read"),
    ] {
        packs.iter().for_each(|pack| text += &format!("  pack {pack}: {what}\n"));
    }
    if report.kept_old_segments {
        text += "the old index is kept beside the new: the medium did not let all packs be read\n";
    }
    if has_damage(report) {
        text += "next: backstop scrub --level points    (lists what this damage reaches)\n";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damaged_packs_are_named_with_the_next_step() {
        let sound = RebuildReport { packs: 1, entries: 5, ..RebuildReport::default() };
        let line = "made the index anew: 5 chunks and map nodes in 1 pack, in 0.0 s\n";
        assert_eq!(text(&sound), line);
        let torn = RebuildReport { torn_packs: vec![PackId::from_bytes([7; 32])], ..sound };
        assert!(text(&torn).contains(&format!("pack {}", "07".repeat(32))));
        assert!(text(&torn).contains("next: backstop scrub"));
    }
}
