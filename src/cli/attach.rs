//! `backstop attach`

use std::sync::Arc;

use serde::Serialize;

use crate::attach::nbd::{Address, Export, Server, ServerOptions};
use crate::base::id::PointId;
use crate::cli::exit::Exit;
use crate::cli::failure::{Advise, Result};
use crate::cli::output::shell_word;
use crate::cli::point_document::point_name;
use crate::cli::repo_arg::Run;
use crate::cli::signals::EndSignals;
use crate::cli::terminal::say;
use crate::cli::writable_arg::{OverlayDocument, WritableArgs};
use crate::error::ErrorKind;
use crate::format::commit::PointRecord;
use crate::point::PointSelector;
use crate::vfs::{Access, Tree, TreeOptions};

/// Serve one disk of a restore point over NBD, until interrupted
///
/// QEMU, libvirt, `qemu-img` and `nbdcopy` read the disk at the address that is printed, at once
/// and whatever its size: chunks are fetched, decoded and verified as they are asked for. Holes
/// travel as holes; what is damaged is an I/O error. Nothing is mounted, and root is not needed.
///
/// NBD asks nobody for a password. A Unix socket is for its user alone; a TCP port is open to
/// everybody on this machine, and with --nbd-any on others, too.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  backstop attach web@latest system --nbd /run/web.sock
  backstop attach web@latest system --nbd localhost:10809 --json
  backstop attach db@2026-11-23T013000Z data --nbd /run/db.sock --writable --overlay-limit 20GiB")]
pub(super) struct AttachArgs {
    /// VM@latest, VM@2026-11-23T013000Z, or a prefix of an id
    point: PointSelector,

    /// Name of the disk, as `backstop show POINT` lists it
    disk: String,

    /// Path of a socket to make, or HOST:PORT; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", value_parser = Address::parse)]
    nbd: Address,

    /// Listen where other machines can connect: whoever does has the disk
    #[arg(long)]
    nbd_any: bool,

    #[command(flatten)]
    writing: WritableArgs,
}

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
    overlay: Option<OverlayDocument>,
}

pub(super) fn run(run: &Run, args: &AttachArgs) -> Result<Exit> {
    let repo = run.open_repo()?;
    let point = repo.find_point(&args.point)?;
    let overlay = args.writing.options()?;
    let access = if overlay.is_some() { Access::Write } else { Access::Read };
    let document = overlay.as_ref().map(OverlayDocument::new);
    let tree = Tree::new(repo, &TreeOptions { overlay, ..TreeOptions::default() })?;
    let export = Export::of_disk(&Arc::new(tree), &point, &args.disk, access)
        .advise(ErrorKind::NotFound, "`backstop show POINT` lists its disks")?;
    // Before the socket is there: a signal in between would leave it behind.
    let signals = EndSignals::catch()?;
    let server = serve(run, args, export)?;
    let answered =
        run.answer(&document_of(args, &point, &server, document), &text(args, &point, &server));
    if let Err(failure) = answered {
        say(&failure.to_string());
    }
    signals.wait();
    Ok(Exit::Done)
}

fn serve(run: &Run, args: &AttachArgs, export: Export) -> Result<Server> {
    let options = ServerOptions { is_open_to_others: args.nbd_any, ..ServerOptions::default() };
    let denied = match args.nbd {
        Address::Unix(_) => "name a socket in a directory that this user may write to",
        Address::Tcp { .. } => "use localhost or a socket; --nbd-any lets other machines in",
    };
    Server::bind(&args.nbd, export, &options, run.shared_terminal())
        .advise(ErrorKind::Denied, denied)
        .advise(ErrorKind::AlreadyExists, "name another socket, or end who listens there")
        .advise(ErrorKind::Busy, "name another port, or 0 for one that is free")
        .advise(ErrorKind::NotFound, "the directory of the socket, or the host, must exist")
}

fn document_of<'a>(
    args: &'a AttachArgs,
    point: &PointRecord,
    server: &Server,
    overlay: Option<OverlayDocument>,
) -> AttachDocument<'a> {
    let attach = AttachedDocument {
        point: point.id,
        disk: &args.disk,
        size_bytes: server.size_bytes(),
        nbd: server.address().uri(),
        overlay,
    };
    AttachDocument { attach }
}

fn text(args: &AttachArgs, point: &PointRecord, server: &Server) -> String {
    let uri = server.address().uri();
    format!(
        "serving disk {} of {} at {uri}\n{}\
         to end this, interrupt it (Ctrl-C); to look at the disk: qemu-img info {}\n",
        args.disk,
        point_name(point),
        args.writing.text(),
        shell_word(&uri),
    )
}
