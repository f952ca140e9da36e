//! `backstop attach` with a loop device.

use std::path::PathBuf;
use std::sync::Mutex;

use serde::Serialize;

use crate::attach::{Facts, Subject, attach_loop};
use crate::base::id::PointId;
use crate::base::sync::lock;
use crate::cli::attach::{AttachArgs, Wanted, absolute, leave_directory};
use crate::cli::attachments::{clear, registry};
use crate::cli::background::{Inherited, Side, Waiting, split};
use crate::cli::exit::Exit;
use crate::cli::failure::{Advise, Failure, Result};
use crate::cli::output::shell_word;
use crate::cli::point_document::point_name;
use crate::cli::repo_arg::Run;
use crate::cli::restore_disk::find_disk;
use crate::cli::writable_arg::OverlayDocument;
use crate::error::{Error, ErrorKind};
use crate::format::commit::PointRecord;
use crate::fuse::MountOptions;
use crate::repo::Repository;

#[derive(Serialize)]
struct AttachDocument<'a> {
    attach: AttachedDocument<'a>,
}

#[derive(Serialize)]
struct AttachedDocument<'a> {
    point: PointId,
    disk: &'a str,
    size_bytes: u64,
    device: String,
    partitions: Vec<String>,
    process: u32,
    overlay: Option<OverlayDocument>,
}

pub(super) fn run(run: &Run, args: &AttachArgs, wanted: Wanted<'_>) -> Result<Exit> {
    let inherited = Inherited::look()?;
    let options = MountOptions { overlay: args.overlay()?, ..MountOptions::default() };
    clear(run, &registry())?;
    let repo = run.open_repo()?;
    let point = repo.find_point(wanted.point)?;
    find_disk(&point, wanted.disk)?;
    let waiting = match args.foreground {
        true => Waiting::nobody(),
        false => match split(&inherited)? {
            Side::Front(exit) => return Ok(exit),
            Side::Back(waiting) => waiting,
        },
    };
    serve(run, args, repo, (&point, wanted.disk), &options, waiting)
}

fn serve(
    run: &Run,
    args: &AttachArgs,
    repo: Repository,
    (point, disk): (&PointRecord, &str),
    options: &MountOptions,
    waiting: Waiting,
) -> Result<Exit> {
    let repo_path = absolute(run.repo_path()?)?;
    if !args.foreground && run.repo_path()?.is_absolute() {
        leave_directory()?;
    }
    let entry = registry()
        .create(&*repo.environment().chance)
        .advise(ErrorKind::Denied, "loop devices take root; `attach --nbd` and `mount` do not")?;
    let subject = Subject { repo_path: &repo_path, point, disk: find_disk(point, disk)? };
    let waiting = Mutex::new(waiting);
    let ready = |facts: &Facts, partitions: &[PathBuf]| {
        let overlay = options.overlay.as_ref().map(OverlayDocument::new);
        let document = document(facts, partitions, overlay);
        run.answer(&document, &text(args, point, facts, partitions)).map_err(error_of)?;
        let exit = run.exit(Exit::Done);
        lock(&waiting).release(exit, || Ok(entry.new_log()?)).map_err(error_of)
    };
    attach_loop(repo, subject, &entry, options, args.partscan, ready)
        .advise(ErrorKind::Denied, "loop devices take root; `attach --nbd` and `mount` do not")
        .advise(ErrorKind::NotFound, "`modprobe loop` and `modprobe fuse` load what is missing")
        .advise(ErrorKind::Busy, "`losetup -a` and `backstop attach --list` say who has them")?;
    Ok(Exit::Done)
}

/// What the library is told of a failure to answer.
fn error_of(failure: Failure) -> Error {
    match failure {
        Failure::Usage(what) => Error::new(ErrorKind::Invalid, what),
        Failure::Work { error, .. } => error,
    }
}

fn document<'a>(
    facts: &'a Facts,
    partitions: &[PathBuf],
    overlay: Option<OverlayDocument>,
) -> AttachDocument<'a> {
    let attach = AttachedDocument {
        point: facts.point,
        disk: &facts.disk,
        size_bytes: facts.size_bytes,
        device: facts.place.name(),
        partitions: partitions.iter().map(|path| path.display().to_string()).collect(),
        process: facts.process,
        overlay,
    };
    AttachDocument { attach }
}

/// The device alone on its line, for scripts without JSON.
fn text(args: &AttachArgs, point: &PointRecord, facts: &Facts, partitions: &[PathBuf]) -> String {
    let device = facts.place.name();
    let partitions: String =
        partitions.iter().map(|path| format!("{}\n", path.display())).collect();
    format!(
        "{device}\n{partitions}\
         disk {} of {} is attached there\n{}\
         to end this: backstop detach {}\n",
        facts.disk,
        point_name(point),
        args.writing.text(),
        shell_word(&device),
    )
}
