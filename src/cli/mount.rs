//! `backstop mount`

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::cli::background::{Inherited, Side, Waiting, split};
use crate::cli::exit::Exit;
use crate::cli::failure::{Advise, Result};
use crate::cli::output::shell_word;
use crate::cli::repo_arg::Run;
use crate::cli::size;
use crate::cli::terminal::say;
use crate::cli::writable_arg::{OverlayDocument, WritableArgs};
use crate::error::{ErrorKind, IoContext};
use crate::fuse::{MountOptions, serve};

/// Least memory for decoded chunks, in bytes: some for every thread that reads.
const CACHE_BYTES_MIN: u64 = 16 << 20;

/// Show all restore points as files, until unmounted or interrupted
///
/// Every disk is DIR/vms/VM/TIME/DISK.raw, and DIR/vms/VM/latest leads to the newest restore
/// point. Everything read is verified; what is damaged is an I/O error, never wrong bytes. New
/// restore points appear by themselves. DIR must exist.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  backstop mount /mnt/backups
  backstop mount /mnt/backups --allow-other --cache 1GiB
  backstop mount /mnt/backups --writable --overlay-limit 20GiB
  BACKSTOP_REPO=/backup/vms backstop mount /mnt/backups --json")]
pub(super) struct MountArgs {
    /// Where to mount
    #[arg(value_name = "DIR")]
    mountpoint: PathBuf,

    /// Let other users read, too: everything that all disks hold
    #[arg(long)]
    allow_other: bool,

    /// Memory for decoded chunks, like 512MiB [default: 256MiB]
    #[arg(long, value_name = "SIZE", value_parser = parse_cache)]
    cache: Option<usize>,

    /// Return once the mount is there, and serve it from a process in the background
    #[arg(long)]
    background: bool,

    /// Show what readers have cost, as DIR/.backstop/stats.json
    #[arg(long)]
    stats: bool,

    #[command(flatten)]
    writing: WritableArgs,
}

#[derive(Serialize)]
struct MountDocument {
    mount: MountedDocument,
}

#[derive(Serialize)]
struct MountedDocument {
    repository: String,
    mountpoint: String,
    allow_other: bool,
    cache_bytes: usize,
    stats: Option<String>,
    overlay: Option<OverlayDocument>,
}

pub(super) fn run(run: &Run, args: &MountArgs) -> Result<Exit> {
    let inherited = Inherited::look()?;
    let repo = run.open_repo()?;
    let repo_path = run.repo_path()?;
    let options = mount_options(args)?;
    let mut waiting = match args.background {
        true => match split(&inherited)? {
            Side::Front(exit) => return Ok(exit),
            Side::Back(waiting) => waiting,
        },
        false => Waiting::nobody(),
    };
    let ready = || {
        let answered = run.answer(&document(repo_path, args, &options), &text(args));
        let answered = answered.and_then(|()| leave(run, args, &mut waiting));
        // The mount is there, and whoever looks for it will find it.
        if let Err(failure) = answered {
            say(&failure.to_string());
        }
    };
    serve(repo, Some(repo_path), &args.mountpoint, &options, ready)
        .advise(ErrorKind::Busy, "unmount what is there first: fusermount3 -u DIR")
        .advise(ErrorKind::NotFound, "make the directory first; `modprobe fuse` loads FUSE")
        .advise(
            ErrorKind::Denied,
            "mounting takes root, or the package fuse3 and access to /dev/fuse",
        )
        .advise(ErrorKind::Invalid, "name an empty directory outside of the repository")
        .advise(ErrorKind::Unsupported, "mounting takes root, or the package fuse3")?;
    Ok(Exit::Done)
}

/// From here on nobody waits. What there is to say goes to standard error: in a unit of systemd
/// that is the journal.
fn leave(run: &Run, args: &MountArgs, waiting: &mut Waiting) -> Result<()> {
    if args.background && run.repo_path()?.is_absolute() {
        // So that whatever it was started in can be unmounted.
        std::env::set_current_dir("/").context("cannot leave the directory", Path::new("/"))?;
    }
    waiting.release(run.exit(Exit::Done), || {
        let stderr = io::stderr().as_fd().try_clone_to_owned();
        Ok(File::from(stderr.context("cannot keep the log", Path::new("/dev/stderr"))?))
    })
}

fn mount_options(args: &MountArgs) -> Result<MountOptions> {
    let default = MountOptions::default();
    let cache_bytes = args.cache.unwrap_or(default.cache_bytes);
    let mut overlay = args.writing.options()?;
    if let Some(overlay) = overlay.as_mut().filter(|_| args.background) {
        let absolute = std::path::absolute(&overlay.dir);
        overlay.dir = absolute.context("cannot tell where this is", &overlay.dir)?;
    }
    let (allow_other, shows_stats) = (args.allow_other, args.stats);
    Ok(MountOptions { allow_other, cache_bytes, shows_stats, overlay, ..default })
}

fn parse_cache(typed: &str) -> std::result::Result<usize, String> {
    let bytes = size::parse(typed)?;
    match usize::try_from(bytes) {
        Ok(bytes) if bytes as u64 >= CACHE_BYTES_MIN => Ok(bytes),
        _ => Err(format!("give at least {}", size::Size(CACHE_BYTES_MIN))),
    }
}

fn document(repo_path: &Path, args: &MountArgs, options: &MountOptions) -> MountDocument {
    let mount = MountedDocument {
        repository: repo_path.to_string_lossy().into_owned(),
        mountpoint: args.mountpoint.to_string_lossy().into_owned(),
        allow_other: options.allow_other,
        cache_bytes: options.cache_bytes,
        stats: stats_path(args).map(|path| path.to_string_lossy().into_owned()),
        overlay: options.overlay.as_ref().map(OverlayDocument::new),
    };
    MountDocument { mount }
}

/// Where what readers have cost is shown, if anywhere.
fn stats_path(args: &MountArgs) -> Option<PathBuf> {
    args.stats.then(|| args.mountpoint.join(".backstop/stats.json"))
}

fn text(args: &MountArgs) -> String {
    let word = shell_word(&args.mountpoint.to_string_lossy());
    let interrupt = if args.background { "" } else { "interrupt it (Ctrl-C) or " };
    format!(
        "mounted all restore points at {}; the disks are {word}/vms/VM/TIME/DISK.raw\n{}\
         to end this, {interrupt}run: fusermount3 -u {word}\n",
        args.mountpoint.display(),
        args.writing.text(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_has_a_unit_and_is_not_too_small() {
        assert_eq!(parse_cache("1GiB"), Ok(1 << 30));
        assert_eq!(parse_cache("16MiB"), Ok(16 << 20));
        assert!(parse_cache("1MiB").unwrap_err().contains("16 MiB"));
        assert!(parse_cache("much").is_err());
    }

    #[test]
    fn the_help_names_the_default_cache() {
        assert_eq!(MountOptions::default().cache_bytes, 256 << 20);
    }
}
