//! `backstop restore disk`

use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::base::id::{ChunkId, PointId};
use crate::cli::exit::Exit;
use crate::cli::failure::{Advise, Failure, Result};
use crate::cli::point_document::point_name;
use crate::cli::repo_arg::{Run, default_threads};
use crate::cli::restore_to_vm::ToVmArgs;
use crate::cli::size::{Rate, Size};
use crate::cli::terminal::say;
use crate::error::{Error, ErrorKind, IoContext};
use crate::format::commit::{DiskRecord, PointRecord};
use crate::format::session::SessionKind;
use crate::point::PointSelector;
use crate::repo::Registration;
use crate::restore::{RestoreOptions, RestoreReport, Target, restore_disk};

/// Restore one disk of a restore point, as a raw image or as a new disk of a VM
///
/// TARGET is a file that does not exist yet, a block device with --force, or `-` for standard
/// output. Every chunk is verified before it is written; a file is sparse where the disk is zero.
/// If anything is damaged the restore fails and says what.
///
/// With --to-vm the disk becomes a new disk of a VM of the engine, beside those that it has. The
/// host proves by a checksum that it holds what was sent. The VM gets the disk unplugged, unless
/// --activate is given: a guest that sees the same file system twice may take the wrong one.
#[derive(clap::Args, Debug)]
#[command(group = clap::ArgGroup::new("where").required(true).args(["target", "to_vm"]))]
#[command(after_help = "\
Examples:
  backstop restore disk web@latest web /var/lib/libvirt/images/web-restored.raw
  backstop restore disk db@2026-11-23T013000Z system /dev/vg0/db-new --force
  backstop restore disk mail@latest system - | ssh host 'cat > mail.raw'
  backstop restore disk web@latest system --to-vm web --name web-of-yesterday
  backstop restore disk db@2026-11-23T013000Z data --to-vm rescue --storage-domain fast")]
pub(super) struct RestoreDiskArgs {
    /// VM@latest, VM@2026-11-23T013000Z, or a prefix of an id
    point: PointSelector,

    /// Name of the disk, as `backstop show POINT` lists it
    disk: String,

    /// A file, a block device, or `-` for standard output
    target: Option<PathBuf>,

    /// Overwrite a file that exists, or a block device
    #[arg(long, requires = "target")]
    force: bool,

    #[command(flatten)]
    to_vm: ToVmArgs,
}

#[derive(Serialize)]
struct RestoreDocument<'a> {
    restore: RestoredDocument<'a>,
}

#[derive(Serialize)]
struct RestoredDocument<'a> {
    point: PointId,
    disk: &'a str,
    target: String,
    size_bytes: u64,
    data_bytes: u64,
    zero_bytes: u64,
    seconds: f64,
    map_root: ChunkId,
}

pub(super) fn run(run: &Run, args: &RestoreDiskArgs) -> Result<Exit> {
    match &args.target {
        Some(target) => run_to_target(run, args, target),
        None => args.to_vm.run(run, &args.point, &args.disk),
    }
}

fn run_to_target(run: &Run, args: &RestoreDiskArgs, place: &Path) -> Result<Exit> {
    let to_stdout = place == Path::new("-");
    if to_stdout {
        check_stdout(run.is_json(), io::stdout().is_terminal())?;
    }
    let repo = run.open_repo()?;
    let point = repo.find_point(&args.point)?;
    let disk = find_disk(&point, &args.disk)?;
    let _reading = Registration::reading(&repo, SessionKind::Restore, point.id)?;
    let cancel = run.cancel_on_signal()?;
    let options = RestoreOptions { threads: default_threads(), force: args.force, cancel };
    let report = restore_disk(&repo, disk, target(place)?, &options)
        .advise(ErrorKind::AlreadyExists, "--force overwrites it")
        .advise(ErrorKind::Full, "make room where TARGET lies, or name another place")
        .advise(ErrorKind::NotFound, "the directory of TARGET must exist")?;
    let text = text(&point, disk, place, &report);
    match to_stdout {
        true => {
            run.terminal().clear();
            say(&text);
        }
        false => run.answer(&document(&point, disk, place, &report), &(text + "\n"))?,
    }
    Ok(Exit::Done)
}

/// Standard output is either for the disk or for an answer, and never for a terminal.
fn check_stdout(is_json: bool, is_terminal: bool) -> Result<()> {
    if is_json {
        return Err(Failure::usage("--json cannot go with `-`: standard output carries the disk"));
    }
    if is_terminal {
        return Err(Failure::usage("`-` writes a disk to standard output: pipe it somewhere"));
    }
    Ok(())
}

pub(super) fn find_disk<'a>(point: &'a PointRecord, name: &str) -> Result<&'a DiskRecord> {
    point.disk(name).ok_or_else(|| {
        let names: Vec<_> = point.disks.iter().map(|disk| format!("{:?}", disk.name)).collect();
        let (point, names) = (point_name(point), names.join(", "));
        let what = format!("{point} has no disk named {name:?}; its disks are {names}");
        let hint = Some("give one of these names as DISK".to_owned());
        Failure::Work { error: Error::new(ErrorKind::NotFound, what), hint }
    })
}

fn target(path: &Path) -> Result<Target> {
    if path != Path::new("-") {
        return Ok(Target::Path(path.to_owned()));
    }
    // A file of its own, because the standard library's stdout looks for the ends of lines.
    let stdout = io::stdout().as_fd().try_clone_to_owned().context("cannot write", path)?;
    Ok(Target::Stream(Box::new(File::from(stdout))))
}

fn document<'a>(
    point: &PointRecord,
    disk: &'a DiskRecord,
    target: &Path,
    report: &RestoreReport,
) -> RestoreDocument<'a> {
    let restore = RestoredDocument {
        point: point.id,
        disk: &disk.name,
        target: target.to_string_lossy().into_owned(),
        size_bytes: report.size_bytes(),
        data_bytes: report.data_bytes,
        zero_bytes: report.zero_bytes,
        seconds: report.duration_ms as f64 / 1000.0,
        map_root: report.map_root,
    };
    RestoreDocument { restore }
}

fn text(point: &PointRecord, disk: &DiskRecord, target: &Path, report: &RestoreReport) -> String {
    let place = match target == Path::new("-") {
        true => "standard output".to_owned(),
        false => target.display().to_string(),
    };
    format!(
        "restored disk {:?} of {} to {place}: {}, of which {} are zero; all verified, in {:.1} s \
         ({})",
        disk.name,
        point_name(point),
        Size(report.size_bytes()),
        Size(report.zero_bytes),
        report.duration_ms as f64 / 1000.0,
        Rate { bytes: report.size_bytes(), millis: report.duration_ms },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_on_standard_output_leaves_no_room_for_an_answer_or_a_terminal() {
        assert!(check_stdout(false, false).is_ok());
        assert!(matches!(check_stdout(true, false), Err(Failure::Usage(_))));
        assert!(matches!(check_stdout(false, true), Err(Failure::Usage(_))));
    }
}
