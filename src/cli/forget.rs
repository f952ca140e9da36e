//! `backstop forget`

use std::num::NonZeroU32;
use std::time::Duration;

use serde::Serialize;

use crate::base::clock::UtcTime;
use crate::base::id::PointId;
use crate::base::zone::{Period, Zone};
use crate::cli::duration;
use crate::cli::exit::Exit;
use crate::cli::failure::{Advise, Failure, Result};
use crate::cli::output::{Column, count, table};
use crate::cli::point_document::{id_digits, point_name, short_id};
use crate::cli::repo_arg::Run;
use crate::error::ErrorKind;
use crate::format::commit::PointRecord;
use crate::point::PointSelector;
use crate::prune::forget::{Judged, dropped, forget, judge, undo};
use crate::prune::retention::{Policy, Reason};
use crate::repo::Repository;

/// Drop restore points, by a policy or by name
///
/// With --keep options, names are VMs, each judged by itself; without names, all VMs are. A restore
/// point that any rule keeps is kept. The newest complete restore point of a VM is always kept, and
/// so is what is held. Without --keep options, names are restore points. Nothing is deleted: what
/// was dropped can be brought back until `backstop prune` gives its space back.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  backstop forget --keep-last 3 --keep-daily 14 --keep-monthly 12 --dry-run
  backstop forget web mail --keep-within 30d
  backstop forget --keep-daily 7 --time-zone Europe/Berlin
  backstop forget web@2026-11-23T013000Z
  backstop forget --undo web@2026-11-23T013000Z")]
pub(super) struct ForgetArgs {
    /// VMs, where a policy is given; else restore points: VM@TIME or the first digits of an id
    #[arg(value_name = "NAME")]
    names: Vec<String>,

    #[command(flatten)]
    keep: KeepArgs,

    /// Only say what would be dropped, and of each restore point why it is kept
    #[arg(short = 'n', long)]
    dry_run: bool,

    /// Bring dropped restore points back
    #[arg(long, conflicts_with_all = ["dry_run", "keep"])]
    undo: bool,
}

/// The rules of the policy.
#[derive(clap::Args, Debug)]
#[group(id = "keep", multiple = true)]
struct KeepArgs {
    /// Keep the newest N
    #[arg(long, value_name = "N")]
    keep_last: Option<NonZeroU32>,

    /// Keep one of each of the newest N hours that have any
    #[arg(long, value_name = "N")]
    keep_hourly: Option<NonZeroU32>,

    /// Keep one of each of the newest N days that have any
    #[arg(long, value_name = "N")]
    keep_daily: Option<NonZeroU32>,

    /// Keep one of each of the newest N weeks that have any
    #[arg(long, value_name = "N")]
    keep_weekly: Option<NonZeroU32>,

    /// Keep one of each of the newest N months that have any
    #[arg(long, value_name = "N")]
    keep_monthly: Option<NonZeroU32>,

    /// Keep one of each of the newest N years that have any
    #[arg(long, value_name = "N")]
    keep_yearly: Option<NonZeroU32>,

    /// Keep all that are at most so much older than the VM's newest: 36h, 30d, 8w, 2y
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    keep_within: Option<Duration>,

    /// The calendar that hours, days and the others are counted in [default: UTC]
    #[arg(long, value_name = "ZONE", requires = "keep")]
    time_zone: Option<Zone>,
}

impl KeepArgs {
    fn policy(&self) -> Policy {
        let counts = [
            self.keep_hourly,
            self.keep_daily,
            self.keep_weekly,
            self.keep_monthly,
            self.keep_yearly,
        ];
        let periods = Period::ALL.into_iter().zip(counts);
        Policy {
            last: self.keep_last,
            periods: periods.filter_map(|(period, count)| Some((period, count?))).collect(),
            within_seconds: self.keep_within.map(|within| within.as_secs()),
            zone: self.time_zone.clone().unwrap_or(Zone::UTC),
        }
    }
}

#[derive(Serialize)]
struct ForgetDocument {
    forget: ForgottenDocument,
}

#[derive(Serialize)]
struct ForgottenDocument {
    dry_run: bool,
    undo: bool,
    time_zone: String,
    points: Vec<JudgedDocument>,
}

#[derive(Serialize)]
struct JudgedDocument {
    id: PointId,
    vm: String,
    time: UtcTime,
    name: String,
    dropped: bool,
    reasons: Vec<String>,
}

impl JudgedDocument {
    fn new(judged: &Judged, is_dropped: bool) -> Self {
        let Judged { point, reasons } = judged;
        Self {
            id: point.id,
            vm: point.vm.clone(),
            time: point.time,
            name: point_name(point),
            dropped: is_dropped,
            reasons: reasons.iter().map(reason).collect(),
        }
    }
}

pub(super) fn run(run: &Run, args: &ForgetArgs) -> Result<Exit> {
    let policy = args.keep.policy();
    if policy.is_empty() && args.names.is_empty() {
        let what = "say what to keep (--keep-last 7), or name the restore points to drop";
        return Err(Failure::usage(what));
    }
    let repo = run.open_repo()?;
    let judged = match (args.undo, policy.is_empty()) {
        (true, _) => pick(&args.names, &dropped(&repo)?)
            .advise(ErrorKind::NotFound, "what a prune has taken cannot be brought back")?,
        (false, true) => pick(&args.names, &repo.points()?)?,
        (false, false) => judge(&repo, &args.names, &policy)?,
    };
    if args.undo {
        judged.iter().try_for_each(|judged| undo(&repo, judged.point.id)).advise(
            ErrorKind::Busy,
            "once the prune is over the restore point is gone, or comes back if the prune failed",
        )?;
    } else if !args.dry_run {
        drop_all(&repo, &judged)?;
    }
    let points = judged
        .iter()
        .map(|judged| JudgedDocument::new(judged, !args.undo && judged.reasons.is_empty()));
    let forget = ForgottenDocument {
        dry_run: args.dry_run,
        undo: args.undo,
        time_zone: policy.zone.to_string(),
        points: points.collect(),
    };
    run.answer(&ForgetDocument { forget }, &text(args, &judged))?;
    Ok(Exit::Done)
}

/// The restore points of those names, each once; there is no policy, so nothing keeps them.
fn pick(names: &[String], points: &[PointRecord]) -> crate::error::Result<Vec<Judged>> {
    let mut picked: Vec<Judged> = Vec::new();
    for name in names {
        let point = name.parse::<PointSelector>()?.pick(points)?;
        if !picked.iter().any(|judged| judged.point.id == point.id) {
            picked.push(Judged { point: point.clone(), reasons: Vec::new() });
        }
    }
    Ok(picked)
}

fn drop_all(repo: &Repository, judged: &[Judged]) -> Result<()> {
    for judged in judged.iter().filter(|judged| judged.reasons.is_empty()) {
        let dropped = repo.confirm(&judged.point).and_then(|()| forget(repo, judged.point.id));
        match dropped {
            // Somebody else dropped it meanwhile.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            forgotten => forgotten.advise(
                ErrorKind::Refused,
                "`backstop unhold POINT` takes the hold back, `backstop show POINT` tells of it",
            )?,
        }
    }
    Ok(())
}

fn reason(reason: &Reason) -> String {
    match reason {
        Reason::Last(count) => format!("last {count}"),
        Reason::Period(period, name) => {
            let word = match period {
                Period::Hour => "hour",
                Period::Day => "day",
                Period::Week => "week",
                Period::Month => "month",
                Period::Year => "year",
            };
            format!("{word} {name}")
        }
        Reason::Within(seconds) => format!("within {}", duration::text(*seconds)),
        Reason::Held => "held".to_owned(),
        Reason::LastGood => "last good of its VM".to_owned(),
    }
}

fn text(args: &ForgetArgs, judged: &[Judged]) -> String {
    use Column::Left;
    let points: Vec<_> = judged.iter().map(|judged| judged.point.clone()).collect();
    let digits = id_digits(&points);
    let (drop, kept) = match (args.undo, args.dry_run) {
        (true, _) => ("back", "back"),
        (false, true) => ("drop", "keep"),
        (false, false) => ("dropped", "kept"),
    };
    let row = |judged: &Judged| {
        let reasons: Vec<_> = judged.reasons.iter().map(reason).collect();
        let (what, why) = match (reasons.is_empty(), args.undo) {
            (true, true) => (drop, "brought back".to_owned()),
            (true, false) if args.keep.policy().is_empty() => (drop, "named".to_owned()),
            (true, false) => (drop, "no rule keeps it".to_owned()),
            (false, _) => (kept, reasons.join(", ")),
        };
        let point = &judged.point;
        vec![
            point.vm.clone(),
            point.time.to_string(),
            short_id(point, digits),
            what.to_owned(),
            why,
        ]
    };
    let columns = [Left("VM"), Left("TIME"), Left("ID"), Left("ACTION"), Left("WHY")];
    let mut text = table(&columns, judged.iter().map(row));
    let drops = judged.iter().filter(|judged| judged.reasons.is_empty()).count() as u64;
    text += &match (args.undo, args.dry_run) {
        (true, _) => format!("{} brought back\n", count(drops, "restore point")),
        (false, true) => {
            format!("{} would be dropped; nothing was\n", count(drops, "restore point"))
        }
        (false, false) if drops == 0 => "nothing to drop\n".to_owned(),
        (false, false) => format!(
            "dropped {}\n`backstop forget --undo POINT` brings one back until a prune takes it\n",
            count(drops, "restore point")
        ),
    };
    text
}
