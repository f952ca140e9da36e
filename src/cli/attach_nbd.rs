//! `backstop attach` over NBD.

use std::sync::Arc;

use serde::Serialize;

use crate::attach::nbd::{Address, Export, Server, ServerOptions};
use crate::attach::{Facts, Subject, nbd_facts};
use crate::base::id::PointId;
use crate::cli::attach::{AttachArgs, Wanted, absolute, leave_directory};
use crate::cli::attachments::{clear, registry};
use crate::cli::background::{Inherited, Side, Waiting, split};
use crate::cli::exit::Exit;
use crate::cli::failure::{Advise, Result};
use crate::cli::output::shell_word;
use crate::cli::point_document::point_name;
use crate::cli::repo_arg::Run;
use crate::cli::restore_disk::find_disk;
use crate::cli::signals::EndSignals;
use crate::cli::writable_arg::OverlayDocument;
use crate::error::ErrorKind;
use crate::format::commit::PointRecord;
use crate::repo::Repository;
use crate::vfs::{Access, OverlayOptions, Tree, TreeOptions};

/// What to do where nobody may write down what is attached.
const NO_REGISTRY: &str = "set BACKSTOP_RUNTIME_DIR to a directory that is for this user alone";

#[derive(Serialize)]
struct AttachDocument<'a> {
    attach: AttachedDocument<'a>,
}

#[derive(Serialize)]
struct AttachedDocument<'a> {
    point: PointId,
    disk: &'a str,
    size_bytes: u64,
    nbd: String,
    process: u32,
    overlay: Option<OverlayDocument>,
}

pub(super) fn run(
    run: &Run,
    args: &AttachArgs,
    wanted: Wanted<'_>,
    address: &Address,
) -> Result<Exit> {
    let inherited = Inherited::look()?;
    let overlay = args.overlay()?;
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
    serve(run, args, repo, (&point, wanted.disk), (address, overlay), waiting)
}

fn serve(
    run: &Run,
    args: &AttachArgs,
    repo: Repository,
    (point, disk): (&PointRecord, &str),
    (address, overlay): (&Address, Option<OverlayOptions>),
    mut waiting: Waiting,
) -> Result<Exit> {
    let repo_path = absolute(run.repo_path()?)?;
    let entry =
        registry().create(&*repo.environment().chance).advise(ErrorKind::Denied, NO_REGISTRY)?;
    // Before the socket is there: a signal in between would leave it behind.
    let signals = EndSignals::catch()?;
    let server = listen(run, args, repo, (point, disk), (address, overlay.as_ref()))?;
    if !args.foreground && run.repo_path()?.is_absolute() {
        leave_directory()?;
    }
    let subject = Subject { repo_path: &repo_path, point, disk: find_disk(point, disk)? };
    let facts = nbd_facts(subject, &server, overlay.is_some());
    entry.write(&facts)?;
    let document = document(&facts, &server, overlay.as_ref().map(OverlayDocument::new));
    run.answer(&document, &text(args, point, &server))?;
    waiting.release(run.exit(Exit::Done), || Ok(entry.new_log()?))?;
    signals.wait();
    drop(server);
    Ok(Exit::Done)
}

fn listen(
    run: &Run,
    args: &AttachArgs,
    repo: Repository,
    (point, disk): (&PointRecord, &str),
    (address, overlay): (&Address, Option<&OverlayOptions>),
) -> Result<Server> {
    let access = if overlay.is_some() { Access::Write } else { Access::Read };
    let tree = TreeOptions { overlay: overlay.cloned(), ..TreeOptions::default() };
    let export = Export::of_disk(&Arc::new(Tree::new(repo, &tree)?), point, disk, access)?;
    let options = ServerOptions { is_open_to_others: args.nbd_any, ..ServerOptions::default() };
    let denied = match address {
        Address::Unix(_) => "name a socket in a directory that this user may write to",
        Address::Tcp { .. } => "use localhost or a socket; --nbd-any lets other machines in",
    };
    Server::bind(address, export, &options, run.shared_terminal())
        .advise(ErrorKind::Denied, denied)
        .advise(ErrorKind::AlreadyExists, "name another socket, or end who listens there")
        .advise(ErrorKind::Busy, "name another port, or 0 for one that is free")
        .advise(ErrorKind::NotFound, "the directory of the socket, or the host, must exist")
}

fn document<'a>(
    facts: &'a Facts,
    server: &Server,
    overlay: Option<OverlayDocument>,
) -> AttachDocument<'a> {
    let attach = AttachedDocument {
        point: facts.point,
        disk: &facts.disk,
        size_bytes: facts.size_bytes,
        nbd: server.address().uri(),
        process: facts.process,
        overlay,
    };
    AttachDocument { attach }
}

/// The URI alone on its line, for scripts without JSON.
fn text(args: &AttachArgs, point: &PointRecord, server: &Server) -> String {
    let uri = server.address().uri();
    format!(
        "{uri}\ndisk {} of {} is served there\n{}to end this: backstop detach {}\n",
        args.disk.as_deref().unwrap_or_default(),
        point_name(point),
        args.writing.text(),
        shell_word(&uri),
    )
}
