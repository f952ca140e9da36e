//! What a scrub found, as people read it.

use std::collections::BTreeSet;
use std::ops::Range;

use crate::cli::output::{count, shell_word};
use crate::cli::scrub_document::entry_kind;
use crate::cli::size::{Rate, Size};
use crate::scrub::{AffectedDisk, Finding, Recording, ScrubLevel, ScrubReport};

/// Findings and disks that text names, each. `--json` has them all.
const NAMED: usize = 20;
/// Ranges of a disk that text names.
const RANGES_NAMED: usize = 4;

/// The answer.
pub(super) fn text(report: &ScrubReport) -> String {
    let checked = checked(report);
    if report.is_clean() {
        return format!("no damage found ({checked})\n{}{}", remarks(report), deeper(report));
    }
    let (findings, affected) = (findings(report), affected(report));
    let (remarks, next) = (remarks(report), next(report));
    format!("DAMAGE FOUND ({checked})\n\n{findings}{affected}{remarks}\n{next}")
}

fn checked(report: &ScrubReport) -> String {
    let counts = &report.counts;
    let looked_at = match report.recording {
        Recording::WithoutKeys => "without keys".to_owned(),
        _ => count(counts.points, "restore point"),
    };
    let mut parts = vec![
        format!("level {}", report.level),
        looked_at,
        format!("{} with {}", count(counts.packs, "pack"), Size(counts.pack_bytes)),
    ];
    if counts.chunks > 0 {
        parts.push(count(counts.chunks, "chunk"));
    }
    parts.push(format!("{:.1} s", report.duration_ms as f64 / 1000.0));
    if report.level > ScrubLevel::List {
        parts.push(Rate { bytes: counts.pack_bytes, millis: report.duration_ms }.to_string());
    }
    parts.join(", ")
}

fn findings(report: &ScrubReport) -> String {
    let all = report.findings.len() as u64 + report.findings_omitted;
    list(report.findings.iter().map(finding), all)
}

/// A finding in words.
pub(super) fn finding(finding: &Finding) -> String {
    match finding {
        Finding::Object { name, problem } => format!("{name}: {problem}"),
        Finding::MissingPack { pack, entries } => {
            format!("pack {pack} is missing, with {entries} chunks and map nodes in it")
        }
        Finding::DamagedPack { pack, problem } => format!("pack {pack}: {problem}"),
        Finding::DamagedChunk { copy, kind, offset_bytes, good_copies, .. } => {
            let what = match entry_kind(*kind) {
                "data" => "chunk",
                _ => "map node",
            };
            let copies = match good_copies {
                0 => "there is no other copy".to_owned(),
                _ => format!("another copy is good ({good_copies})"),
            };
            let (chunk, pack) = (copy.chunk, copy.pack);
            format!("{what} {chunk} is damaged in pack {pack} at byte {offset_bytes}; {copies}")
        }
    }
}

fn affected(report: &ScrubReport) -> String {
    let all = report.affected.len() as u64 + report.affected_omitted;
    if all == 0 {
        return "no disk of any restore point is affected\n".to_owned();
    }
    let lines = list(report.affected.iter().map(affected_disk), all);
    format!("\nThese disks cannot be read in full, all others can:\n{lines}")
}

/// A disk that cannot be read in full, in words.
pub(super) fn affected_disk(disk: &AffectedDisk) -> String {
    let AffectedDisk { vm, time, disk: name, bytes, ranges, ranges_omitted, .. } = disk;
    let shown: Vec<_> = ranges.iter().take(RANGES_NAMED).map(range).collect();
    let more = (ranges.len() - shown.len()) as u64 + ranges_omitted;
    let more = if more > 0 { format!(" and {}", count(more, "more range")) } else { String::new() };
    format!("{vm}@{time} disk {name:?}: {} at bytes {}{more}", Size(*bytes), shown.join(", "))
}

fn range(range: &Range<u64>) -> String {
    format!("{}..{}", range.start, range.end)
}

/// What is worth a look without being damage.
fn remarks(report: &ScrubReport) -> String {
    let counts = &report.counts;
    let mut lines = String::new();
    if counts.misread_packs > 0 {
        lines += &format!(
            "{} read wrong once and right when read again: this machine's memory or cables may be \
             to blame\n",
            count(counts.misread_packs, "pack")
        );
    }
    if counts.unindexed_packs > 0 {
        lines += &format!(
            "{} not in the index, of interrupted backups as a rule; `backstop rebuild-index` adds \
             what is in them\n",
            count(counts.unindexed_packs, "pack")
        );
    }
    lines
}

/// What a level that found nothing has not looked at.
fn deeper(report: &ScrubReport) -> &'static str {
    match report.level {
        _ if report.recording == Recording::WithoutKeys => {
            "whether anything is missing, only a scrub with keys can tell\n"
        }
        ScrubLevel::List => "packs were not read; `backstop scrub` reads them\n",
        ScrubLevel::Hash | ScrubLevel::Chunks | ScrubLevel::Points => "",
    }
}

fn next(report: &ScrubReport) -> String {
    let known = match &report.recording {
        Recording::Failed { problem } => format!(
            "The damage could not be written down ({problem}), so that backups will not mend it.\n"
        ),
        Recording::WithoutKeys => {
            "Without keys it cannot be said which disks are hit, nor written down what is damaged: \
             scrub with them next.\n"
                .to_owned()
        }
        // Small objects and segments are no chunks: no backup stores them anew.
        _ if report.findings.iter().all(|finding| is_object(finding, "")) => String::new(),
        _ => "The damage is written down: a backup that meets the same bytes again stores them \
              anew, and with that mends every restore point that needs them.\n"
            .to_owned(),
    };
    let vms: BTreeSet<_> = report.affected.iter().map(|disk| disk.vm.as_str()).collect();
    let is_about = |area: &str| report.findings.iter().any(|finding| is_object(finding, area));
    let mut steps = Vec::new();
    if is_about("index") || (report.counts.unindexed_packs > 0 && !vms.is_empty()) {
        let rebuild = "run `backstop rebuild-index`, then scrub again: packs know what the index \
                       has lost";
        steps.push(rebuild.to_owned());
    }
    steps.push("look at the medium of the repository: damage tends to grow".to_owned());
    if !report.findings.is_empty() {
        let repair = "run `backstop repair`: it says what can be healed, and with --apply heals it";
        steps.push(repair.to_owned());
    }
    if !vms.is_empty() {
        let vms: Vec<_> = vms.into_iter().map(shell_word).collect();
        steps.push(format!("back up again what these VMs were backed up from: {}", vms.join(", ")));
    }
    steps.push("run `backstop scrub --level points` to see what is mended".to_owned());
    let steps: String = steps.iter().map(|step| format!("next: {step}\n")).collect();
    known + &steps
}

fn is_object(finding: &Finding, prefix: &str) -> bool {
    matches!(finding, Finding::Object { name, .. } if name.starts_with(prefix))
}

/// Some lines, and how many more there are.
pub(super) fn list(lines: impl Iterator<Item = String>, all: u64) -> String {
    let mut text: String = lines.take(NAMED).map(|line| format!("  {line}\n")).collect();
    if let Some(more @ 1..) = all.checked_sub(NAMED as u64) {
        text += &format!("  and {more} more; --json has them\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::UtcTime;
    use crate::base::id::{PackId, PointId};
    use crate::scrub::ScrubCounts;

    fn report() -> ScrubReport {
        let disk = AffectedDisk {
            vm: "mail server".to_owned(),
            point: PointId::from_bytes([1; 16]),
            time: UtcTime::EPOCH,
            disk: "system".to_owned(),
            bytes: 6 << 20,
            ranges: (0..6).map(|n| (n * 4) << 20..(n * 4 + 1) << 20).collect(),
            ranges_omitted: 2,
            cause: "the pack is missing".to_owned(),
        };
        ScrubReport {
            level: ScrubLevel::Chunks,
            counts: ScrubCounts { points: 1, packs: 3, pack_bytes: 5 << 20, ..Default::default() },
            findings: vec![Finding::MissingPack { pack: PackId::from_bytes([7; 32]), entries: 6 }],
            findings_omitted: 0,
            affected: vec![disk],
            affected_omitted: 0,
            recording: Recording::Recorded { copies: 0, packs: 1 },
            duration_ms: 1000,
        }
    }

    #[test]
    fn damage_is_named_with_the_disks_that_it_reaches_and_what_to_do() {
        let text = text(&report());
        let place = "mail server@1970-01-01T000000Z disk \"system\": 6 MiB at bytes 0..1048576, ";
        assert!(text.contains(place), "{text}");
        assert!(text.contains("and 4 more ranges\n"), "{text}");
        assert!(text.contains(" is missing, with 6 chunks"), "{text}");
        assert!(text.contains("were backed up from: 'mail server'\n"), "{text}");
    }

    #[test]
    fn a_lost_index_is_rebuilt_before_anything_else() {
        let rebuild = "next: run `backstop rebuild-index`";
        assert!(!text(&report()).contains(rebuild));
        let mut lost = report();
        lost.counts.unindexed_packs = 3;
        let text = text(&lost);
        assert!(text.find(rebuild).unwrap() < text.find("next: look at").unwrap(), "{text}");
    }

    #[test]
    fn of_damaged_objects_it_is_not_said_that_a_backup_mends_them() {
        let object = |name: &str| Finding::Object { name: name.to_owned(), problem: String::new() };
        let findings = vec![object("config.1"), object("index/0123")];
        let report = ScrubReport { findings, recording: Recording::NothingNew, ..report() };
        let text = text(&report);
        assert!(!text.contains("written down"), "{text}");
        assert!(text.contains("next: run `backstop repair`"), "{text}");
        assert!(text.contains("next: run `backstop rebuild-index`"), "{text}");
    }

    #[test]
    fn long_lists_end_with_a_count() {
        let mut report = report();
        report.findings = vec![report.findings[0].clone(); 25];
        report.findings_omitted = 100;
        assert!(text(&report).contains("  and 105 more; --json has them\n"));
    }

    #[test]
    fn a_clean_report_says_what_was_not_looked_at() {
        let clean = ScrubReport { findings: Vec::new(), affected: Vec::new(), ..report() };
        assert!(
            text(&clean).starts_with("no damage found (level chunks, 1 restore point, 3 packs")
        );
        let list = ScrubReport { level: ScrubLevel::List, ..clean };
        assert!(text(&list).contains("packs were not read"));
    }
}
