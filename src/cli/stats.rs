//! `backstop stats`

use serde::Serialize;

use crate::cli::exit::Exit;
use crate::cli::failure::Result;
use crate::cli::output::{count, fields};
use crate::cli::repo_arg::Run;
use crate::cli::size::Size;
use crate::repo::{RepoStats, stats};

/// Show what the repository holds and what space it takes
///
/// Reads names, lengths and restore points, and no packs.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  backstop stats
  backstop stats --json | jq .stats.ratio")]
pub(super) struct StatsArgs {}

#[derive(Serialize)]
struct StatsDocument {
    stats: RepoStatsDocument,
}

#[derive(Serialize)]
struct RepoStatsDocument {
    vms: u64,
    points: u64,
    disks: u64,
    logical_bytes: u64,
    latest_bytes: u64,
    stored_bytes: u64,
    ratio: Option<f64>,
    entries: u64,
    packs: u64,
    pack_bytes: u64,
    segments: u64,
    index_bytes: u64,
    other_bytes: u64,
}

pub(super) fn run(run: &Run, _args: &StatsArgs) -> Result<Exit> {
    let stats = stats(&run.open_repo()?)?;
    run.answer(&document(&stats), &text(&stats))?;
    Ok(Exit::Done)
}

fn document(stats: &RepoStats) -> StatsDocument {
    let stats = RepoStatsDocument {
        vms: stats.vms,
        points: stats.points,
        disks: stats.disks,
        logical_bytes: stats.logical_bytes,
        latest_bytes: stats.latest_bytes,
        stored_bytes: stats.stored_bytes(),
        ratio: stats.ratio(),
        entries: stats.entries,
        packs: stats.packs,
        pack_bytes: stats.pack_bytes,
        segments: stats.segments,
        index_bytes: stats.index_bytes,
        other_bytes: stats.other_bytes,
    };
    StatsDocument { stats }
}

fn text(stats: &RepoStats) -> String {
    let (vms, disks) = (count(stats.vms, "VM"), count(stats.disks, "disk"));
    let packs = count(stats.packs, "pack");
    let segments = count(stats.segments, "segment");
    let mut rows = vec![
        ("Restore points", format!("{} of {vms}, with {disks}", stats.points)),
        ("Disk space", format!("{}, all disks of all points", Size(stats.logical_bytes))),
        ("Newest points", format!("{}, those of each VM", Size(stats.latest_bytes))),
        ("Stored", Size(stats.stored_bytes()).to_string()),
        ("  packs", format!("{} in {packs}", Size(stats.pack_bytes))),
        ("  index", format!("{} in {segments}", Size(stats.index_bytes))),
        ("  other", Size(stats.other_bytes).to_string()),
        ("Chunks", format!("{}, with map nodes; every copy counts", stats.entries)),
    ];
    if let Some(ratio) = stats.ratio() {
        rows.push(("Ratio", format!("{ratio:.1}, disk space by stored")));
    }
    fields(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_repository_has_no_ratio() {
        assert!(!text(&RepoStats::default()).contains("Ratio"));
        let stats = RepoStats {
            points: 3,
            vms: 1,
            logical_bytes: 30,
            pack_bytes: 9,
            ..RepoStats::default()
        };
        let text = text(&stats);
        assert!(text.contains("Restore points  3 of 1 VM, with 0 disks\n"), "{text}");
        assert!(text.contains("Ratio           3.3, "), "{text}");
    }
}
