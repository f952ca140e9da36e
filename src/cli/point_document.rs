//! A restore point as scripts and people see it.

use serde::Serialize;

use crate::base::clock::UtcTime;
use crate::base::id::{ChunkId, PointId};
use crate::cli::output::{Column, fields, table};
use crate::cli::size::{Rate, Size};
use crate::format::commit::{BackupStats, DiskRecord, PointRecord};
use crate::format::engine::{Configuration, EngineDisk, EngineRecord, LeftOut};

/// Fewest digits of an id that text shows.
const ID_DIGITS_MIN: usize = 8;

/// A restore point as JSON. Every command that shows one shows it so; `docs/cli.md` explains it.
#[derive(Debug, Serialize)]
pub(super) struct PointDocument<'a> {
    id: PointId,
    vm: &'a str,
    time: UtcTime,
    name: String,
    sequence: u64,
    previous: Option<PointId>,
    size_bytes: u64,
    incomplete: bool,
    disks: Vec<DiskDocument<'a>>,
    #[serde(skip_serializing_if = "<[LeftOut]>::is_empty")]
    left_out: &'a [LeftOut],
    #[serde(skip_serializing_if = "Option::is_none")]
    configuration: Option<&'a Configuration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    engine: Option<&'a EngineRecord>,
    stats: StatsDocument,
    written_by: &'a str,
}

#[derive(Debug, Serialize)]
struct DiskDocument<'a> {
    name: &'a str,
    size_bytes: u64,
    map_root: ChunkId,
    format: &'a str,
    path: &'a str,
    backing_files: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    engine: Option<&'a EngineDisk>,
}

/// What a backup did, as JSON.
#[derive(Debug, Serialize)]
pub(super) struct StatsDocument {
    read_bytes: u64,
    zero_bytes: u64,
    duplicate_bytes: u64,
    new_plain_bytes: u64,
    stored_bytes: u64,
    seconds: f64,
}

impl<'a> PointDocument<'a> {
    pub(super) fn new(point: &'a PointRecord) -> Self {
        Self {
            id: point.id,
            vm: &point.vm,
            time: point.time,
            name: point_name(point),
            sequence: point.sequence,
            previous: point.previous.as_ref().map(|previous| previous.point),
            size_bytes: point.size_bytes(),
            incomplete: point.is_incomplete(),
            disks: point.disks.iter().map(DiskDocument::new).collect(),
            left_out: &point.left_out,
            configuration: point.configuration.as_ref(),
            engine: point.engine.as_ref(),
            stats: StatsDocument::new(&point.stats),
            written_by: &point.written_by,
        }
    }
}

impl<'a> DiskDocument<'a> {
    fn new(disk: &'a DiskRecord) -> Self {
        Self {
            name: &disk.name,
            size_bytes: disk.size_bytes,
            map_root: disk.map_root,
            format: &disk.source.format,
            path: &disk.source.path,
            backing_files: &disk.source.backing_files,
            engine: disk.engine.as_ref(),
        }
    }
}

impl StatsDocument {
    pub(super) fn new(stats: &BackupStats) -> Self {
        Self {
            read_bytes: stats.read_bytes,
            zero_bytes: stats.zero_bytes,
            duplicate_bytes: stats.duplicate_bytes,
            new_plain_bytes: stats.new_plain_bytes,
            stored_bytes: stats.stored_bytes,
            seconds: seconds(stats),
        }
    }
}

/// How long a backup took.
fn seconds(stats: &BackupStats) -> f64 {
    stats.duration_ms as f64 / 1000.0
}

/// The name that commands take: `web@2026-11-23T013000Z`.
pub(super) fn point_name(point: &PointRecord) -> String {
    format!("{}@{}", point.vm, point.time)
}

/// Digits that tell the ids of all `points` apart.
pub(super) fn id_digits(points: &[PointRecord]) -> usize {
    let mut ids: Vec<_> = points.iter().map(|point| point.id.to_string()).collect();
    ids.sort_unstable();
    let common = |a: &str, b: &str| a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
    let digits = ids.windows(2).map(|pair| common(&pair[0], &pair[1]) + 1);
    digits.max().unwrap_or_default().max(ID_DIGITS_MIN)
}

/// The first digits of the id, for tables.
pub(super) fn short_id(point: &PointRecord, digits: usize) -> String {
    point.id.to_string().chars().take(digits).collect()
}

/// A table of the disks.
pub(super) fn disk_table(disks: &[DiskRecord]) -> String {
    use Column::{Left, Right};
    let columns = [Left("DISK"), Right("SIZE"), Left("FORMAT"), Left("READ FROM")];
    let row = |disk: &DiskRecord| {
        let DiskRecord { name, size_bytes, source, .. } = disk;
        let from = std::iter::once(&source.path).chain(&source.backing_files);
        let from: Vec<_> = from.map(String::as_str).collect();
        let from = match &disk.engine {
            Some(engine) => format!("the engine, {}", engine.read.word()),
            None => from.join(", over "),
        };
        let format = disk.engine.as_ref().map_or(&source.format, |engine| &engine.format);
        vec![name.clone(), Size(*size_bytes).to_string(), format.clone(), from]
    };
    table(&columns, disks.iter().map(row))
}

/// How a VM came from an engine, in lines; nothing if it did not. Each disk that was read in full
/// comes with the reason.
pub(super) fn engine_text(point: &PointRecord) -> String {
    let Some(engine) = &point.engine else { return String::new() };
    let consistency = &engine.consistency;
    let received = format!("{}, {}", Size(engine.received_bytes), engine.transports.join(", "));
    let mut text = fields([
        ("Engine", engine.url.clone()),
        ("Backup", engine.kind.word().to_owned()),
        ("Consistency", format!("{} (asked: {})", consistency.reached, consistency.asked)),
        ("Over the wire", received),
        ("Configuration", configuration_text(point.configuration.as_ref())),
    ]);
    let reasons = point.disks.iter().filter_map(|disk| {
        let reason = disk.engine.as_ref()?.full_reason.as_ref()?;
        Some(format!("disk {} was read in full: {reason}\n", disk.name))
    });
    let left = point
        .left_out
        .iter()
        .map(|left| format!("incomplete: disk {} is left out: {}\n", left.name, left.reason));
    let more = engine.fallbacks.iter().chain(&engine.warnings).map(|what| format!("{what}\n"));
    text.extend(reasons.chain(left).chain(more));
    text.push('\n');
    text
}

fn configuration_text(configuration: Option<&Configuration>) -> String {
    match configuration {
        Some(Configuration { size_bytes, redacted: true, .. }) => {
            format!("{}, without secrets", Size(*size_bytes))
        }
        Some(Configuration { size_bytes, .. }) => format!("{}, with secrets", Size(*size_bytes)),
        None => "not stored".to_owned(),
    }
}

/// What a backup did, in lines.
pub(super) fn stats_fields(stats: &BackupStats) -> String {
    let bytes = stats.zero_bytes + stats.duplicate_bytes + stats.new_plain_bytes;
    let rate = Rate { bytes, millis: stats.duration_ms };
    fields([
        ("Read", Size(stats.read_bytes).to_string()),
        ("Zero", Size(stats.zero_bytes).to_string()),
        ("Duplicate", Size(stats.duplicate_bytes).to_string()),
        ("New", Size(stats.new_plain_bytes).to_string()),
        ("Stored", stored(stats)),
        ("Duration", format!("{:.1} s, {rate} of disk", seconds(stats))),
    ])
}

fn stored(stats: &BackupStats) -> String {
    let size = Size(stats.stored_bytes);
    match stats.new_plain_bytes {
        0 => size.to_string(),
        new => format!("{size} ({:.0} % of new)", stats.stored_bytes as f64 * 100.0 / new as f64),
    }
}
