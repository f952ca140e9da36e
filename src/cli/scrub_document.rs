//! What a scrub found, as scripts see it.

use std::ops::Range;

use serde::Serialize;

use crate::base::clock::UtcTime;
use crate::base::id::{ChunkId, PackId, PointId};
use crate::format::entry::EntryKind;
use crate::scrub::{AffectedDisk, Finding, Recording, ScrubCounts, ScrubReport};

/// The document of `backstop scrub`; `docs/cli.md` explains it.
#[derive(Debug, Serialize)]
pub(super) struct ScrubDocument<'a> {
    scrub: ReportDocument<'a>,
}

#[derive(Debug, Serialize)]
struct ReportDocument<'a> {
    level: String,
    clean: bool,
    findings: Vec<FindingDocument<'a>>,
    findings_omitted: u64,
    affected: Vec<AffectedDocument<'a>>,
    affected_omitted: u64,
    recording: RecordingDocument<'a>,
    checked: CheckedDocument,
    seconds: f64,
}

/// One thing that is damaged.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum FindingDocument<'a> {
    Object {
        object: String,
        problem: &'a str,
    },
    MissingPack {
        pack: PackId,
        entries: u64,
    },
    DamagedPack {
        pack: PackId,
        problem: &'a str,
    },
    DamagedChunk {
        chunk: ChunkId,
        entry_kind: &'static str,
        pack: PackId,
        offset_bytes: u32,
        plain_bytes: u32,
        good_copies: usize,
    },
}

/// A disk that cannot be read in full.
#[derive(Debug, Serialize)]
pub(super) struct AffectedDocument<'a> {
    point: PointId,
    vm: &'a str,
    time: UtcTime,
    name: String,
    disk: &'a str,
    bytes: u64,
    ranges: Vec<RangeDocument>,
    ranges_omitted: u64,
    cause: &'a str,
}

/// A part of a disk: `end_byte` is the first byte after it.
#[derive(Debug, Serialize)]
struct RangeDocument {
    start_byte: u64,
    end_byte: u64,
}

#[derive(Debug, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
enum RecordingDocument<'a> {
    NothingNew,
    WithoutKeys,
    Recorded { copies: u64, packs: u64 },
    Failed { problem: &'a str },
}

#[derive(Debug, Serialize)]
struct CheckedDocument {
    objects: u64,
    segments: u64,
    index_entries: u64,
    packs: u64,
    pack_bytes: u64,
    chunks: u64,
    chunk_bytes: u64,
    points: u64,
    disks: u64,
    unindexed_packs: u64,
    misread_packs: u64,
}

impl<'a> ScrubDocument<'a> {
    pub(super) fn new(report: &'a ScrubReport) -> Self {
        let scrub = ReportDocument {
            level: report.level.to_string(),
            clean: report.is_clean(),
            findings: report.findings.iter().map(FindingDocument::new).collect(),
            findings_omitted: report.findings_omitted,
            affected: report.affected.iter().map(AffectedDocument::new).collect(),
            affected_omitted: report.affected_omitted,
            recording: RecordingDocument::new(&report.recording),
            checked: CheckedDocument::new(&report.counts),
            seconds: report.duration_ms as f64 / 1000.0,
        };
        Self { scrub }
    }
}

impl<'a> FindingDocument<'a> {
    pub(super) fn new(finding: &'a Finding) -> Self {
        match finding {
            Finding::Object { name, problem } => Self::Object { object: name.to_string(), problem },
            Finding::MissingPack { pack, entries } => {
                Self::MissingPack { pack: *pack, entries: *entries }
            }
            Finding::DamagedPack { pack, problem } => Self::DamagedPack { pack: *pack, problem },
            Finding::DamagedChunk { copy, kind, offset_bytes, plain_len, good_copies } => {
                Self::DamagedChunk {
                    chunk: copy.chunk,
                    entry_kind: entry_kind(*kind),
                    pack: copy.pack,
                    offset_bytes: *offset_bytes,
                    plain_bytes: *plain_len,
                    good_copies: *good_copies,
                }
            }
        }
    }
}

/// What an entry of a pack is.
pub(super) fn entry_kind(kind: EntryKind) -> &'static str {
    match kind {
        EntryKind::Data => "data",
        EntryKind::MapNode => "map_node",
    }
}

impl<'a> AffectedDocument<'a> {
    pub(super) fn new(affected: &'a AffectedDisk) -> Self {
        Self {
            point: affected.point,
            vm: &affected.vm,
            time: affected.time,
            name: format!("{}@{}", affected.vm, affected.time),
            disk: &affected.disk,
            bytes: affected.bytes,
            ranges: affected.ranges.iter().map(RangeDocument::new).collect(),
            ranges_omitted: affected.ranges_omitted,
            cause: &affected.cause,
        }
    }
}

impl RangeDocument {
    fn new(range: &Range<u64>) -> Self {
        Self { start_byte: range.start, end_byte: range.end }
    }
}

impl<'a> RecordingDocument<'a> {
    fn new(recording: &'a Recording) -> Self {
        match recording {
            Recording::NothingNew => Self::NothingNew,
            Recording::WithoutKeys => Self::WithoutKeys,
            Recording::Recorded { copies, packs } => {
                Self::Recorded { copies: *copies, packs: *packs }
            }
            Recording::Failed { problem } => Self::Failed { problem },
        }
    }
}

impl CheckedDocument {
    fn new(counts: &ScrubCounts) -> Self {
        Self {
            objects: counts.objects,
            segments: counts.segments,
            index_entries: counts.index_entries,
            packs: counts.packs,
            pack_bytes: counts.pack_bytes,
            chunks: counts.chunks,
            chunk_bytes: counts.chunk_bytes,
            points: counts.points,
            disks: counts.disks,
            unindexed_packs: counts.unindexed_packs,
            misread_packs: counts.misread_packs,
        }
    }
}
