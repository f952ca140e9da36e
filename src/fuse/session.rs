//! One mount from beginning to end.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::mem::ManuallyDrop;
use std::path::Path;
use std::sync::Arc;

use fuser::{BackgroundSession, Config, MountOption, Session, SessionACL};

use crate::error::{Error, ErrorKind, IoContext, Result};
use crate::fuse::MountOptions;
use crate::fuse::adapter::Adapter;
use crate::fuse::mount_point;
use crate::fuse::mount_table::{self, Mount};
use crate::fuse::served::Served;
use crate::fuse::signals::{Event, Events};
use crate::fuse::sys;
use crate::fuse::unmount;
use crate::monitor::Monitor;
use crate::repo::Repository;
use crate::vfs::{Tree, TreeOptions};

const DEVICE: &str = "/dev/fuse";
/// How far the kernel reads ahead, in KiB: two of the largest requests. What is missing of a mapped
/// file brings so much with it, too, so more is not better.
const READ_AHEAD_KIB: &str = "2048";

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
    let serving = Serving::start(repo, repo_path, mount_point, options, ready)?;
    let end = serving.wait(|signals| serving.unmount(signals == 2));
    // Whatever ended the session: a mount that nobody answers must not stay.
    serving.unmount(true).and(end)
}

/// A mount that is served by threads of this process.
///
/// Dropping it ends neither: [`Serving::unmount`] takes the mount away, and the threads end when
/// nothing on it is open any more, or with the process.
pub struct Serving {
    mount: Mount,
    events: Events,
    monitor: Arc<dyn Monitor>,
    /// Never dropped: dropping it would unmount whatever is mounted at the path by then, which
    /// after an unmount from outside may be another process's mount.
    _session: ManuallyDrop<BackgroundSession>,
}

impl Serving {
    /// Mounts, and starts the threads that answer. All that [`serve`] says of its arguments holds.
    pub fn start(
        repo: Repository,
        repo_path: Option<&Path>,
        mount_point: &Path,
        options: &MountOptions,
        ready: impl FnOnce(),
    ) -> Result<Self> {
        let monitor = Arc::clone(&repo.environment().monitor);
        let path = mount_point::prepare(mount_point, repo_path, &*monitor)?;
        check_device()?;
        let tree = Tree::new(repo, &tree_options(options))?;
        // Before the mount: a signal in between would leave it behind, dead.
        let events = Events::listen()?;
        let owner = sys::effective_ids();
        let is_writable = options.overlay.is_some();
        if is_writable {
            // Others than root go without: it matters when a file system over a disk is written
            // while memory is short.
            let _only_root_may = sys::write_for_others();
        }
        let _lifeline = events.lifeline();
        let served = Served { tree, monitor: Arc::clone(&monitor), is_writable, owner, _lifeline };
        let adapter = Adapter::new(served, receivers(options));
        let session = Session::new(adapter, &path, &config(options))
            .map_err(explain)
            .context("cannot mount", &path)?;
        let mount = mount_table::mounts_at(&path)?.pop();
        let Some(mount) = mount.filter(mount_point::is_ours) else {
            return Err(Error::new(ErrorKind::Io, "the mount was gone at once").at(path));
        };
        raise_read_ahead(&mount);
        ready();
        let session = session.spawn().context("cannot serve the mount", &path)?;
        Ok(Self { mount, events, monitor, _session: ManuallyDrop::new(session) })
    }

    /// Takes the mount away, unless it is gone already; with `is_lazy` also while files on it are
    /// open, which stay usable until they are closed. [`ErrorKind::Busy`] if something is in the
    /// way.
    pub fn unmount(&self, is_lazy: bool) -> Result<()> {
        unmount::unmount(&self.mount, is_lazy)
    }

    /// Waits until nothing of the mount is left. At the first and second SIGINT, SIGTERM or SIGHUP
    /// `end` is called with their number, to bring that about; what it fails with is told. The
    /// third one gives up: [`ErrorKind::Cancelled`].
    pub fn wait(&self, mut end: impl FnMut(u32) -> Result<()>) -> Result<()> {
        let mut signals = 0;
        // All senders gone means that the session is.
        while self.events.receiver.recv() == Ok(Event::Signal) {
            signals += 1;
            if signals > 2 {
                let what = "gave up on files of the mount that are still open";
                return Err(Error::new(ErrorKind::Cancelled, what).at(&self.mount.path));
            }
            if let Err(problem) = end(signals) {
                self.monitor.problem(&problem);
            }
        }
        Ok(())
    }
}

fn tree_options(options: &MountOptions) -> TreeOptions {
    TreeOptions {
        cache_bytes: options.cache_bytes,
        is_open_to_others: options.allow_other,
        shows_stats: options.shows_stats,
        overlay: options.overlay.clone(),
        ..TreeOptions::default()
    }
}

fn receivers(options: &MountOptions) -> usize {
    options.threads.max(1)
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
    config.n_threads = Some(receivers(options));
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

/// Lets the kernel read ahead by whole requests. Only root may; others read in pieces of 128 KiB.
fn raise_read_ahead(mount: &Mount) {
    let setting = format!("/sys/class/bdi/{}/read_ahead_kb", mount.device);
    let opened = OpenOptions::new().write(true).open(setting);
    let _only_slower = opened.and_then(|mut file| file.write_all(READ_AHEAD_KIB.as_bytes()));
}
