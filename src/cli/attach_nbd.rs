//! `backstop attach` over NBD.

use std::sync::Arc;

use serde::Serialize;

use crate::attach::nbd::{Address, Export, Server, ServerOptions};
use crate::base::id::PointId;
use crate::cli::attach::{AttachArgs, Wanted};
use crate::cli::exit::Exit;
use crate::cli::failure::{Advise, Result};
use crate::cli::output::shell_word;
use crate::cli::point_document::point_name;
use crate::cli::repo_arg::Run;
use crate::cli::signals::EndSignals;
use crate::cli::terminal::say;
use crate::cli::writable_arg::OverlayDocument;
use crate::error::ErrorKind;
use crate::format::commit::PointRecord;
use crate::vfs::{Access, Tree, TreeOptions};

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

pub(super) fn run(
    run: &Run,
    args: &AttachArgs,
    wanted: Wanted<'_>,
    address: &Address,
) -> Result<Exit> {
    let repo = run.open_repo()?;
    let point = repo.find_point(wanted.point)?;
    let overlay = args.writing.options()?;
    let access = if overlay.is_some() { Access::Write } else { Access::Read };
    let document = overlay.as_ref().map(OverlayDocument::new);
    let tree = Tree::new(repo, &TreeOptions { overlay, ..TreeOptions::default() })?;
    let export = Export::of_disk(&Arc::new(tree), &point, wanted.disk, access)
        .advise(ErrorKind::NotFound, "`backstop show POINT` lists its disks")?;
    // Before the socket is there: a signal in between would leave it behind.
    let signals = EndSignals::catch()?;
    let server = serve(run, args, address, export)?;
    let answered = run.answer(
        &document_of(wanted.disk, &point, &server, document),
        &text(args, wanted.disk, &point, &server),
    );
    if let Err(failure) = answered {
        say(&failure.to_string());
    }
    signals.wait();
    Ok(Exit::Done)
}

fn serve(run: &Run, args: &AttachArgs, address: &Address, export: Export) -> Result<Server> {
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

fn document_of<'a>(
    disk: &'a str,
    point: &PointRecord,
    server: &Server,
    overlay: Option<OverlayDocument>,
) -> AttachDocument<'a> {
    let attach = AttachedDocument {
        point: point.id,
        disk,
        size_bytes: server.size_bytes(),
        nbd: server.address().uri(),
        overlay,
    };
    AttachDocument { attach }
}

fn text(args: &AttachArgs, disk: &str, point: &PointRecord, server: &Server) -> String {
    let uri = server.address().uri();
    format!(
        "serving disk {} of {} at {uri}\n{}\
         to end this, interrupt it (Ctrl-C); to look at the disk: qemu-img info {}\n",
        disk,
        point_name(point),
        args.writing.text(),
        shell_word(&uri),
    )
}
