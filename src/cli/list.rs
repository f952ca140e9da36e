//! `backstop list`

use serde::Serialize;

use crate::cli::exit::Exit;
use crate::cli::failure::Result;
use crate::cli::output::{Column, table};
use crate::cli::point_document::{PointDocument, id_digits, short_id};
use crate::cli::repo_arg::Run;
use crate::cli::size::Size;
use crate::error::{Error, ErrorKind};
use crate::format::commit::PointRecord;

/// List restore points
///
/// Ordered by VM, then from the oldest to the newest. NEW is what the backup found in no other
/// restore point, STORED what that took after compression.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  backstop list
  backstop list web
  backstop list --json | jq -r '.points[] | [.name, .stats.stored_bytes] | @tsv'")]
pub(super) struct ListArgs {
    /// Only the restore points of this VM
    vm: Option<String>,
}

#[derive(Serialize)]
struct ListDocument<'a> {
    points: Vec<PointDocument<'a>>,
}

pub(super) fn run(run: &Run, args: &ListArgs) -> Result<Exit> {
    let mut points = run.open_repo()?.points()?;
    if let Some(vm) = &args.vm {
        points.retain(|point| point.vm == *vm);
        if points.is_empty() {
            let what = format!("there is no restore point of a VM named {vm:?}");
            return Err(Error::new(ErrorKind::NotFound, what).into());
        }
    }
    let document = ListDocument { points: points.iter().map(PointDocument::new).collect() };
    run.answer(&document, &text(&points))?;
    Ok(Exit::Done)
}

fn text(points: &[PointRecord]) -> String {
    use Column::{Left, Right};
    if points.is_empty() {
        return "no restore points yet; `backstop backup image --vm NAME PATH` makes one\n".into();
    }
    let digits = id_digits(points);
    let columns = [
        Left("VM"),
        Left("TIME"),
        Left("ID"),
        Right("DISKS"),
        Right("SIZE"),
        Right("NEW"),
        Right("STORED"),
    ];
    let row = |point: &PointRecord| {
        vec![
            point.vm.clone(),
            point.time.to_string(),
            short_id(point, digits),
            match point.is_incomplete() {
                true => {
                    format!("{} of {}", point.disks.len(), point.disks.len() + point.left_out.len())
                }
                false => point.disks.len().to_string(),
            },
            Size(point.size_bytes()).to_string(),
            Size(point.stats.new_plain_bytes).to_string(),
            Size(point.stats.stored_bytes).to_string(),
        ]
    };
    table(&columns, points.iter().map(row))
}
