//! `backstop attach`

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::attach::nbd::Address;
use crate::cli::attachments::{AttachmentDocument, registry, text};
use crate::cli::exit::Exit;
use crate::cli::failure::{Failure, Result};
use crate::cli::repo_arg::Run;
use crate::cli::writable_arg::WritableArgs;
use crate::cli::{attach_loop, attach_nbd};
use crate::error::{Error, ErrorKind, IoContext};
use crate::point::PointSelector;
use crate::vfs::OverlayOptions;

/// Give one disk of a restore point as a block device, or serve it over NBD
///
/// Either is there at once, whatever the size of the disk: chunks are fetched, decoded and verified
/// as they are asked for. What is damaged is an I/O error. The command prints the device or the
/// address and returns, and `detach` ends it. A block device is a loop device, which takes root.
///
/// With --nbd the disk is served over NBD, for QEMU, libvirt, `qemu-img` and `nbdcopy`. That takes
/// no root, and nothing is mounted. Holes travel as holes. NBD asks nobody for a password. A Unix
/// socket is for its user alone; a TCP port is open to everybody on this machine, and with
/// --nbd-any on others, too.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  backstop attach web@latest system
  backstop attach web@latest system --writable --partscan --json
  backstop attach --list
  backstop attach web@latest system --nbd /run/web.sock
  backstop attach web@latest system --nbd localhost:10809 --json
  backstop attach db@2026-11-23T013000Z data --nbd /run/db.sock --writable --overlay-limit 20GiB")]
pub(super) struct AttachArgs {
    /// VM@latest, VM@2026-11-23T013000Z, or a prefix of an id
    #[arg(required_unless_present = "list")]
    point: Option<PointSelector>,

    /// Name of the disk, as `backstop show POINT` lists it
    #[arg(required_unless_present = "list")]
    pub(super) disk: Option<String>,

    /// Show what this user has attached on this machine, and what killed processes have left
    #[arg(long, conflicts_with_all = ["point", "partscan", "foreground", "nbd", "writable"])]
    list: bool,

    /// Have the kernel look for partitions, so that they are devices, too
    #[arg(long, conflicts_with = "nbd")]
    pub(super) partscan: bool,

    /// Serve the disk here, not in a process in the background, until interrupted
    #[arg(long)]
    pub(super) foreground: bool,

    /// Path of a socket to make, or HOST:PORT; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", value_parser = Address::parse)]
    nbd: Option<Address>,

    /// Listen where other machines can connect: whoever does has the disk
    #[arg(long, requires = "nbd")]
    pub(super) nbd_any: bool,

    #[command(flatten)]
    pub(super) writing: WritableArgs,
}

impl AttachArgs {
    /// The overlay, in a directory that is named from the root on: the background leaves the one
    /// that it was started in.
    pub(super) fn overlay(&self) -> Result<Option<OverlayOptions>> {
        let mut overlay = self.writing.options()?;
        if let Some(overlay) = &mut overlay {
            overlay.dir = absolute(&overlay.dir)?;
        }
        Ok(overlay)
    }
}

/// The path from the root on.
pub(super) fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(|error| {
        Error::new(ErrorKind::Invalid, "this is no path").at(path).because(error).into()
    })
}

/// So that whatever the process was started in can be unmounted.
pub(super) fn leave_directory() -> Result<()> {
    let root = Path::new("/");
    Ok(std::env::set_current_dir(root).context("cannot leave the directory", root)?)
}

/// A disk, as it was typed.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) point: &'a PointSelector,
    pub(super) disk: &'a str,
}

#[derive(Serialize)]
struct ListDocument {
    attachments: Vec<AttachmentDocument>,
}

pub(super) fn run(run: &Run, args: &AttachArgs) -> Result<Exit> {
    if args.list {
        return list(run);
    }
    let (Some(point), Some(disk)) = (&args.point, &args.disk) else {
        return Err(Failure::usage("a restore point and a disk of it are missing"));
    };
    let wanted = Wanted { point, disk };
    match &args.nbd {
        Some(address) => attach_nbd::run(run, args, wanted, address),
        None => attach_loop::run(run, args, wanted),
    }
}

fn list(run: &Run) -> Result<Exit> {
    let found = registry().list()?;
    let attachments = found.iter().map(AttachmentDocument::new).collect();
    run.answer(&ListDocument { attachments }, &text(&found))?;
    Ok(Exit::Done)
}
