//! `backstop repair`

use std::sync::Arc;

use serde::Serialize;

use crate::cli::exit::Exit;
use crate::cli::failure::{Advise, Result};
use crate::cli::repo_arg::{Run, default_threads};
use crate::cli::scrub_document::{AffectedDocument, FindingDocument};
use crate::cli::scrub_text::{affected_disk, finding, list};
use crate::cli::terminal::Terminal;
use crate::error::{Error, ErrorKind};
use crate::monitor::Monitor;
use crate::repair::{Action, RepairOptions, RepairReport, repair};
use crate::scrub::Finding;

/// Heal what is damaged, as far as it can be healed
///
/// Says what it would do, and with --apply does it. Deletes nothing: what it replaces is moved to
/// the directory `quarantine` of the repository. Reads every pack. While it acts, backups wait for
/// another time and mounts go on. Exits with 3 if something is to be healed or cannot be.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Heals:
  missing or damaged copies of the configuration and of key slots, missing directories
  a damaged, incomplete or lost index, damaged catalogues of commits
  damaged packs: from parity, where the repository has it; otherwise what is good in them moves
    to new packs
  map nodes, from their second copy
What has no other copy it names, with the disks and bytes that it hits. The next backup of the
same data heals that.

Examples:
  backstop repair
  backstop repair --apply
  backstop repair --json | jq '.repair.actions'")]
pub(super) struct RepairArgs {
    /// Do what the command without this option only says
    #[arg(long)]
    apply: bool,

    /// Threads that read and check packs [default: one per processor]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: Option<u16>,
}

pub(super) fn run(run: &Run, args: &RepairArgs) -> Result<Exit> {
    let repo = run.open_repo_watched_by(Arc::new(ProgressOnly(run.shared_terminal())))?;
    let options = RepairOptions {
        apply: args.apply,
        threads: args.threads.map_or_else(default_threads, usize::from),
        cancel: run.cancel_on_signal()?,
    };
    let report = repair(&repo, &options);
    let advice = "make room and run the command again: what it has done is kept";
    let report = report.advise(ErrorKind::Full, advice)?;
    run.answer(&document(&report), &text(&report))?;
    Ok(match report.is_whole() && (report.is_applied || report.actions.list.is_empty()) {
        true => Exit::Done,
        false => Exit::Problems,
    })
}

/// Shows progress. The report names every problem, and those that are healed are none.
struct ProgressOnly(Arc<Terminal>);

impl Monitor for ProgressOnly {
    fn phase(&self, name: &str, total_bytes: Option<u64>) {
        self.0.phase(name, total_bytes);
    }

    fn advance(&self, bytes: u64) {
        self.0.advance(bytes);
    }

    fn problem(&self, _problem: &Error) {}
}

#[derive(Serialize)]
struct RepairDocument<'a> {
    repair: ReportDocument<'a>,
}

#[derive(Serialize)]
struct ReportDocument<'a> {
    applied: bool,
    whole: bool,
    actions: Vec<ActionDocument<'a>>,
    actions_omitted: u64,
    unhealed: Vec<FindingDocument<'a>>,
    unhealed_omitted: u64,
    lost: Vec<FindingDocument<'a>>,
    lost_omitted: u64,
    affected: Option<Vec<AffectedDocument<'a>>>,
    affected_omitted: u64,
    seconds: f64,
}

#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum ActionDocument<'a> {
    MakeDirectory { path: &'a str },
    WriteConfig { object: &'a str, problem: &'a str },
    WriteKeySlot { object: &'a str, problem: &'a str },
    SetAside { object: &'a str, problem: &'a str },
    RestorePack { pack: String, problem: &'a str, shards: u64 },
    WriteParity { pack: String, problem: &'a str },
    ReplacePack { pack: String, problem: &'a str, saved: u64, saved_bytes: u64 },
    RebuildIndex { reasons: &'a [String] },
    RebuildCatalogues { reasons: &'a [String] },
    CopyNodes { nodes: u64 },
}

impl<'a> ActionDocument<'a> {
    fn new(action: &'a Action) -> Self {
        match action {
            Action::MakeDirectory { path } => Self::MakeDirectory { path },
            Action::WriteConfig { name, problem } => Self::WriteConfig { object: name, problem },
            Action::WriteKeySlot { name, problem } => Self::WriteKeySlot { object: name, problem },
            Action::SetAside { name, problem } => Self::SetAside { object: name, problem },
            Action::RestorePack { pack, problem, shards } => {
                Self::RestorePack { pack: pack.to_string(), problem, shards: *shards }
            }
            Action::WriteParity { pack, problem } => {
                Self::WriteParity { pack: pack.to_string(), problem }
            }
            Action::ReplacePack { pack, problem, saved, saved_bytes } => Self::ReplacePack {
                pack: pack.to_string(),
                problem,
                saved: *saved,
                saved_bytes: *saved_bytes,
            },
            Action::RebuildIndex { reasons } => Self::RebuildIndex { reasons },
            Action::RebuildCatalogues { reasons } => Self::RebuildCatalogues { reasons },
            Action::CopyNodes { nodes } => Self::CopyNodes { nodes: *nodes },
        }
    }
}

fn document(report: &RepairReport) -> RepairDocument<'_> {
    let affected = report.affected.as_ref();
    let repair = ReportDocument {
        applied: report.is_applied,
        whole: report.is_whole(),
        actions: report.actions.list.iter().map(ActionDocument::new).collect(),
        actions_omitted: report.actions.omitted,
        unhealed: report.unhealed.list.iter().map(FindingDocument::new).collect(),
        unhealed_omitted: report.unhealed.omitted,
        lost: report.lost.list.iter().map(FindingDocument::new).collect(),
        lost_omitted: report.lost.omitted,
        affected: affected.map(|named| named.list.iter().map(AffectedDocument::new).collect()),
        affected_omitted: affected.map_or(0, |named| named.omitted),
        seconds: report.duration_ms as f64 / 1000.0,
    };
    RepairDocument { repair }
}

fn text(report: &RepairReport) -> String {
    let actions = &report.actions;
    let all = actions.list.len() as u64 + actions.omitted;
    let mut text = match (all, report.is_applied) {
        (0, _) => "nothing to heal\n".to_owned(),
        (_, true) => "healed; what was replaced is in quarantine/ of the repository:\n".to_owned(),
        (_, false) => "this is to be done; nothing was changed:\n".to_owned(),
    };
    text += &list(actions.list.iter().map(Action::to_string), all);
    text += &findings("\nThese have no other copy and stay as they are:\n", &report.unhealed.list);
    text += &findings("\nOf these chunks no copy can be read:\n", &report.lost.list);
    match &report.affected {
        Some(affected) if !affected.list.is_empty() => {
            let all = affected.list.len() as u64 + affected.omitted;
            text += "\nThese disks cannot be read in full, all others can:\n";
            text += &list(affected.list.iter().map(affected_disk), all);
            text += "next: back up again what they were backed up from: a backup that meets the \
                     same bytes stores them anew, and that heals every restore point\n";
        }
        Some(_) => {}
        None => text += "which disks are hit is known only once that is done\n",
    }
    text += next(report);
    text
}

fn findings(title: &str, found: &[Finding]) -> String {
    match found.len() as u64 {
        0 => String::new(),
        all => title.to_owned() + &list(found.iter().map(finding), all),
    }
}

fn next(report: &RepairReport) -> &'static str {
    match (report.actions.list.is_empty(), report.is_applied) {
        (true, _) => "",
        (false, false) => "next: backstop repair --apply\n",
        (false, true) => "next: backstop scrub --level points    (shows that it is so)\n",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::id::PackId;
    use crate::scrub::Named;

    fn report() -> RepairReport {
        let action = Action::ReplacePack {
            pack: PackId::from_bytes([7; 32]),
            problem: "its bytes are not those of its name".to_owned(),
            saved: 31,
            saved_bytes: 31 << 20,
        };
        RepairReport {
            is_applied: false,
            actions: Named { list: vec![action], omitted: 0 },
            unhealed: Named::default(),
            lost: Named::default(),
            affected: Some(Named::default()),
            duration_ms: 1000,
        }
    }

    #[test]
    fn a_plan_says_that_nothing_was_changed_and_how_to_do_it() {
        let plan = text(&report());
        assert!(plan.starts_with("this is to be done; nothing was changed:\n  copy 31 good"));
        assert!(plan.ends_with("next: backstop repair --apply\n"), "{plan}");
        let done = text(&RepairReport { is_applied: true, ..report() });
        assert!(done.starts_with("healed; what was replaced is in quarantine/"), "{done}");
    }

    #[test]
    fn a_sound_repository_needs_no_next_step() {
        assert_eq!(
            text(&RepairReport { actions: Named::default(), ..report() }),
            "nothing to heal\n"
        );
    }
}
