//! One mount from beginning to end.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::mem::ManuallyDrop;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use fuser::{BackgroundSession, Config, MountOption, Session, SessionACL};

use crate::error::{Error, ErrorKind, IoContext, Result};
use crate::fuse::MountOptions;
use crate::fuse::adapter::Adapter;
use crate::fuse::mount_point;
use crate::fuse::mount_table::{self, Mount};
use crate::fuse::signals::{Event, Events};
use crate::fuse::sys;
use crate::fuse::unmount;
use crate::monitor::Monitor;
use crate::repo::Repository;
use crate::vfs::{Tree, TreeOptions};

const DEVICE: &str = "/dev/fuse";
/// How far the kernel reads ahead, in KiB: as much as one request can ask for.
const READ_AHEAD_KIB: &str = "1024";

/// Mounts the restore points of `repo` on `mount_point` and serves them until they are unmounted
/// or the process is asked to end by SIGINT, SIGTERM or SIGHUP. Calls `ready` once the mount is
/// there; it must not touch it, because nobody answers before it returns.
///
/// The first signal unmounts, and tells who is in the way if somebody is. The second one takes the
/// mount out of sight, and serves on until what is open is closed. The third one gives up on that:
/// [`ErrorKind::Cancelled`].
///
/// `repo_path` is where the repository lies, if on a file system: it and the mount must be apart.
pub fn serve(
    repo: Repository,
    repo_path: Option<&Path>,
    mount_point: &Path,
    options: &MountOptions,
    ready: impl FnOnce(),
) -> Result<()> {
    let monitor = Arc::clone(&repo.environment().monitor);
    let path = mount_point::prepare(mount_point, repo_path, &*monitor)?;
    check_device()?;
    let tree = TreeOptions {
        cache_bytes: options.cache_bytes,
        is_open_to_others: options.allow_other,
        overlay: options.overlay.clone(),
        ..TreeOptions::default()
    };
    let tree = Tree::new(repo, &tree)?;
    // Before the mount: a signal in between would leave it behind, dead.
    let events = Events::listen()?;
    let owner = sys::effective_ids();
    let is_writable = options.overlay.is_some();
    if is_writable {
        // Others than root go without: it matters when a file system over a disk is written while
        // memory is short.
        let _only_root_may = sys::write_for_others();
    }
    let _lifeline = events.lifeline();
    let adapter = Adapter { tree, monitor: Arc::clone(&monitor), is_writable, owner, _lifeline };
    let session = Session::new(adapter, &path, &config(options))
        .map_err(explain)
        .context("cannot mount", &path)?;
    let mount = mount_table::mounts_at(&path)?.pop();
    let Some(mount) = mount.filter(mount_point::is_ours) else {
        return Err(Error::new(ErrorKind::Io, "the mount was gone at once").at(path));
    };
    raise_read_ahead(&mount);
    ready();
    let _session = start(session).context("cannot serve the mount", &path)?;
    let end = wait(&mount, &events.receiver, &*monitor);
    // Whatever ended the session: a mount that nobody answers must not stay.
    unmount::unmount(&mount, true).and(end)
}

/// Starts the threads that answer the kernel.
///
/// The value is never dropped: dropping it would unmount whatever is mounted at the path by then,
/// which after an unmount from outside may be another process's mount.
fn start(session: Session<Adapter>) -> io::Result<ManuallyDrop<BackgroundSession>> {
    session.spawn().map(ManuallyDrop::new)
}

/// Waits for the end of the session, and ends it when signals ask for that.
fn wait(mount: &Mount, events: &Receiver<Event>, monitor: &dyn Monitor) -> Result<()> {
    let mut signals = 0;
    // All senders gone means that the session is.
    while events.recv() == Ok(Event::Signal) {
        signals += 1;
        if signals > 2 {
            let what = "gave up on files of the mount that are still open";
            return Err(Error::new(ErrorKind::Cancelled, what).at(&mount.path));
        }
        if let Err(problem) = unmount::unmount(mount, signals == 2) {
            monitor.problem(&problem);
        }
    }
    Ok(())
}

fn config(options: &MountOptions) -> Config {
    let mut config = Config::default();
    config.mount_options = vec![
        if options.overlay.is_some() { MountOption::RW } else { MountOption::RO },
        MountOption::NoAtime,
        MountOption::NoSuid,
        MountOption::NoDev,
        MountOption::DefaultPermissions,
        MountOption::FSName("backstop".to_owned()),
        // The option of this name is dropped where the mount needs no helper.
        MountOption::CUSTOM("subtype=backstop".to_owned()),
    ];
    config.acl = if options.allow_other { SessionACL::All } else { SessionACL::Owner };
    config.n_threads = Some(options.threads.max(1));
    config.clone_fd = true;
    config
}

/// Says what is missing, before a mount fails with less to say.
fn check_device() -> Result<()> {
    let opened = OpenOptions::new().read(true).write(true).open(DEVICE);
    let what = match &opened {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            "FUSE is missing here (modprobe fuse loads it)"
        }
        _ => "this user may not use FUSE",
    };
    opened.context(what, Path::new(DEVICE))?;
    if sys::effective_ids().0 != 0 && unmount::find_helper().is_none() {
        let what = "an ordinary user needs fusermount3 to mount: install the package fuse3";
        return Err(Error::new(ErrorKind::Unsupported, what));
    }
    Ok(())
}

/// Puts a word to what the helper refuses.
fn explain(error: io::Error) -> io::Error {
    let text = error.to_string();
    match text.contains("user_allow_other") {
        true => io::Error::new(
            io::ErrorKind::PermissionDenied,
            "an ordinary user may let others in only if /etc/fuse.conf says user_allow_other",
        ),
        false => io::Error::new(error.kind(), text.trim().to_owned()),
    }
}

/// Lets the kernel read ahead by a whole request. Only root may; others read in pieces of 128 KiB.
fn raise_read_ahead(mount: &Mount) {
    let setting = format!("/sys/class/bdi/{}/read_ahead_kb", mount.device);
    let opened = OpenOptions::new().write(true).open(setting);
    let _only_slower = opened.and_then(|mut file| file.write_all(READ_AHEAD_KIB.as_bytes()));
}
