//! A process that serves a mount: this test binary, started anew.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use backstop::error::Error;
use backstop::format::layout::Area;
use backstop::fuse::{MountOptions, serve};
use backstop::monitor::Monitor;
use backstop::repo::Environment;
use backstop::store::testing::{Damage, DamagingStore, Gate};
use backstop::store::{DirStore, Store};
use backstop::vfs::OverlayOptions;

use crate::run::{attempt, run};

const REPO: &str = "BACKSTOP_TEST_MOUNT_REPO";
const DIR: &str = "BACKSTOP_TEST_MOUNT_DIR";
const LOG: &str = "BACKSTOP_TEST_MOUNT_LOG";
const ALLOW_OTHER: &str = "BACKSTOP_TEST_MOUNT_ALLOW_OTHER";
const STATS: &str = "BACKSTOP_TEST_MOUNT_STATS";
/// Directory, limit and whether it is kept, with colons between.
const OVERLAY: &str = "BACKSTOP_TEST_MOUNT_OVERLAY";
/// A pack whose readers are held up, and the file that ends that by being there; a colon between.
const HELD: &str = "BACKSTOP_TEST_MOUNT_HELD";
const PATIENCE: Duration = Duration::from_secs(30);

/// Writes problems into a file, a line each.
struct LogMonitor(PathBuf);

impl LogMonitor {
    fn line(&self, line: &str) {
        let mut file = OpenOptions::new().append(true).create(true).open(&self.0).unwrap();
        file.write_all(format!("{line}\n").as_bytes()).unwrap();
    }
}

impl Monitor for LogMonitor {
    fn phase(&self, _name: &str, _total_bytes: Option<u64>) {}
    fn advance(&self, _bytes: u64) {}
    fn problem(&self, problem: &Error) {
        self.line(&format!("problem: {}", problem.chain()));
    }
}

/// Does nothing unless another test of this binary started it.
#[test]
fn this_process_serves_a_mount_where_another_test_asks_for_one() {
    let Some(repo_path) = std::env::var_os(REPO).map(PathBuf::from) else { return };
    let dir = PathBuf::from(std::env::var_os(DIR).unwrap());
    let log = Arc::new(LogMonitor(std::env::var_os(LOG).unwrap().into()));
    let environment = Environment { monitor: Arc::clone(&log) as _, ..Environment::default() };
    let served = DirStore::open(&repo_path).and_then(|store| {
        let store = DamagingStore::new(store);
        if let Ok(held) = std::env::var(HELD) {
            hold(&store, &held, &log);
        }
        let repo = crate::repo::open_repo(Arc::new(store), environment)?;
        let allow_other = std::env::var_os(ALLOW_OTHER).is_some();
        let overlay = std::env::var(OVERLAY).ok().map(|text| overlay_of(&text));
        let shows_stats = std::env::var_os(STATS).is_some();
        let default = MountOptions::default();
        let options = MountOptions { allow_other, shows_stats, overlay, ..default };
        serve(repo, Some(&repo_path), &dir, &options, || log.line("ready"))
    });
    match served {
        Ok(()) => log.line("ended"),
        Err(error) => log.line(&format!("failed: {:?}: {}", error.kind(), error.chain())),
    }
}

/// Lets the readers of a pack wait until a file is there, and says how many there are.
fn hold(store: &DamagingStore<DirStore>, held: &str, log: &Arc<LogMonitor>) {
    let (pack, end) = held.split_once(':').unwrap();
    let (gate, log, end) = (Gate::default(), Arc::clone(log), PathBuf::from(end));
    let packs = store.list(Area::Packs).unwrap();
    let pack = packs.iter().find(|name| name.to_string().ends_with(pack)).unwrap();
    store.damage(pack, Damage::Gated(gate.clone()));
    thread::spawn(move || {
        let mut told = 0;
        while !end.exists() {
            let arrivals = gate.arrivals();
            if std::mem::replace(&mut told, arrivals) != arrivals {
                log.line(&format!("held: {arrivals}"));
            }
            thread::sleep(Duration::from_millis(10));
        }
        gate.open();
    });
}

fn overlay_of(text: &str) -> OverlayOptions {
    let parts: Vec<_> = text.split(':').collect();
    let limit_bytes = parts[1].parse().ok();
    OverlayOptions { dir: parts[0].into(), limit_bytes, keep: parts[2] == "true" }
}

/// Who serves, and for whom.
#[derive(Debug, Clone, Default)]
pub(crate) struct Way {
    pub(crate) allow_other: bool,
    /// Serve as this user and group, not as root.
    pub(crate) user: Option<u32>,
    /// Show what readers have cost.
    pub(crate) stats: bool,
    /// Disks can be written.
    pub(crate) overlay: Option<OverlayOptions>,
    /// Readers of this pack are held up until this file is there.
    pub(crate) held: Option<(PathBuf, PathBuf)>,
}

/// A mount that is gone when the value is dropped, whatever happens.
pub(crate) struct Server {
    child: Child,
    dir: PathBuf,
    log: PathBuf,
}

impl Server {
    /// Mounts the repository on a directory and waits until that is done.
    pub(crate) fn mount(repo: &Path, dir: &Path) -> Self {
        Self::mount_as(repo, dir, Way::default())
    }

    pub(crate) fn mount_as(repo: &Path, dir: &Path, way: Way) -> Self {
        let server = Self::start(repo, dir, way);
        let done =
            |log: &str| log.lines().any(|line| line == "ready" || line.starts_with("failed"));
        server.wait_for_log(done);
        assert!(server.log().contains("ready"), "{}", server.log());
        server
    }

    /// Starts a server that need not come far.
    pub(crate) fn start(repo: &Path, dir: &Path, way: Way) -> Self {
        // A log for each process: a mount point may have several, one after the other.
        let log = (0..).map(|n| dir.with_extension(format!("log{n}")));
        let log = log.into_iter().find(|log| !log.exists()).unwrap();
        fs::write(&log, "").unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        if let Some(user) = way.user {
            std::os::unix::fs::chown(&log, Some(user), Some(user)).unwrap();
            command.uid(user).gid(user);
        }
        if way.allow_other {
            command.env(ALLOW_OTHER, "1");
        }
        if way.stats {
            command.env(STATS, "1");
        }
        if let Some(OverlayOptions { dir, limit_bytes, keep }) = &way.overlay {
            let limit = limit_bytes.map_or_else(String::new, |bytes| bytes.to_string());
            command.env(OVERLAY, format!("{}:{limit}:{keep}", dir.display()));
        }
        if let Some((pack, end)) = &way.held {
            let pack = pack.file_name().unwrap().display();
            command.env(HELD, format!("{pack}:{}", end.display()));
        }
        let name = "server::this_process_serves_a_mount_where_another_test_asks_for_one";
        command.args(["--exact", name, "--nocapture"]).env(REPO, repo).env(DIR, dir).env(LOG, &log);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        Self { child, dir: dir.to_owned(), log }
    }

    /// All that the process said, a line each.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    pub(crate) fn problems(&self) -> Vec<String> {
        self.log().lines().filter_map(|l| l.strip_prefix("problem: ")).map(str::to_owned).collect()
    }

    /// Readers that the pack held up which was to do so.
    pub(crate) fn held(&self) -> usize {
        let log = self.log();
        let mut told = log.lines().filter_map(|line| line.strip_prefix("held: ")?.parse().ok());
        told.next_back().unwrap_or(0)
    }

    pub(crate) fn wait_for_log(&self, is_there: impl Fn(&str) -> bool) {
        wait_until(&format!("the log to say so: {}", self.log.display()), || is_there(&self.log()));
    }

    /// Sends a signal, by name.
    pub(crate) fn signal(&self, name: &str) {
        run("kill", ["-s", name, &self.child.id().to_string()]);
    }

    /// Waits for the end of the process.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(began.elapsed() < PATIENCE, "the server does not end: {}", self.log());
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Kills the process where it stands.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        assert_eq!(self.child.wait().unwrap().signal(), Some(9));
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.dir.join(path)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if is_mounted(&self.dir) {
            attempt("umount", ["-l".as_ref(), self.dir.as_os_str()]);
        }
    }
}

/// Whether anything is mounted there.
pub(crate) fn is_mounted(dir: &Path) -> bool {
    let table = fs::read_to_string("/proc/self/mounts").unwrap();
    table.lines().any(|line| line.split(' ').nth(1) == dir.to_str())
}

pub(crate) fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(10));
    }
}
