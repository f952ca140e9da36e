//! A directory with a repository and images, and the program to run on them.

#![allow(dead_code, reason = "each test binary uses its own part of this module")]

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

pub(crate) const MIB: usize = 1 << 20;

/// What a finished run has left.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    pub(crate) fn of(output: Output) -> Self {
        Self {
            code: output.status.code().expect("the run ended by itself"),
            stdout: String::from_utf8(output.stdout).expect("stdout is text"),
            stderr: String::from_utf8(output.stderr).expect("stderr is text"),
        }
    }

    /// Stdout as exactly one JSON document.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        self
    }
}

/// A place for a repository and images; removed at the end.
pub(crate) struct Lab {
    dir: TempDir,
    repo: PathBuf,
}

impl Lab {
    /// With no repository in it.
    pub(crate) fn empty() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { repo: dir.path().join("repo"), dir }
    }

    /// In memory where that can be done, so that syncs cost nothing.
    pub(crate) fn in_memory() -> Self {
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        Self { repo: dir.path().join("repo"), dir }
    }

    /// The same with an empty repository.
    pub(crate) fn new_in_memory() -> Self {
        Self::in_memory().with_repository()
    }

    /// With its repository elsewhere.
    pub(crate) fn around(repo: &Path) -> Self {
        Self { repo: repo.to_owned(), ..Self::in_memory() }
    }

    /// With an empty repository.
    pub(crate) fn new() -> Self {
        Self::empty().with_repository()
    }

    fn with_repository(self) -> Self {
        self.run(["init"]).expect(0);
        self
    }

    /// What opens the repository, where those of this run are encrypted.
    pub(crate) fn key_file(&self) -> Option<PathBuf> {
        std::env::var_os("BACKSTOP_TEST_ENCRYPTED")?;
        let path = self.path("key");
        if !path.exists() {
            fs::write(&path, [7; 32]).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        }
        Some(path)
    }

    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn repo(&self) -> PathBuf {
        self.repo.clone()
    }

    /// Writes a file and returns its path as text.
    pub(crate) fn file(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.path(name);
        fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// The program, with this repository, in this directory.
    pub(crate) fn command<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_backstop"));
        let args: Vec<_> = args.into_iter().collect();
        let is_made = args.first().is_some_and(|first| first.as_ref() == "init");
        command.args(args).current_dir(self.dir.path()).stdin(Stdio::null());
        command.args(self.key_file().filter(|_| is_made).map(|_| "--encrypt"));
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.env("BACKSTOP_REPO", &self.repo);
        command.envs(self.key_file().map(|path| ("BACKSTOP_KEY_FILE", path)));
        command.env("BACKSTOP_RUNTIME_DIR", self.dir.path().join("run"));
        command.env("BACKSTOP_TRUST_DIR", self.dir.path().join("trust"));
        command
    }

    pub(crate) fn run<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Ran {
        Ran::of(self.command(args).output().unwrap())
    }

    /// The document of a run that succeeds.
    #[track_caller]
    pub(crate) fn json<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Value {
        let ran = Ran::of(self.command(args).arg("--json").output().unwrap());
        ran.expect(0).json()
    }

    /// Backs up one raw image and returns the document.
    #[track_caller]
    pub(crate) fn back_up(&self, vm: &str, bytes: &[u8]) -> Value {
        let image = self.file("image.raw", bytes);
        self.json(["backup", "image", "--vm", vm, &format!("disk={image}")])
    }

    /// Number of restore points.
    #[track_caller]
    pub(crate) fn point_count(&self) -> usize {
        self.json(["list"])["points"].as_array().unwrap().len()
    }

    /// A backup of a disk that arrives on standard input, under way.
    pub(crate) fn start_stream(&self, vm: &str, more: &[&str]) -> Stream {
        let args = ["backup", "image", "--json", "--threads", "1", "--vm", vm, "disk=-"];
        let mut command = self.command(args.iter().chain(more));
        Stream { child: command.stdin(Stdio::piped()).spawn().unwrap() }
    }
}

/// A backup that waits for its input.
pub(crate) struct Stream {
    child: Child,
}

impl Stream {
    /// Returns when the run has taken all of `bytes` but the last 64 KiB, which the pipe holds.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        self.child.stdin.as_mut().unwrap().write_all(bytes).unwrap();
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, name: &str) {
        signal(&self.child, name);
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Ends the input and the run.
    pub(crate) fn finish(mut self) -> Ran {
        drop(self.child.stdin.take());
        Ran::of(self.child.wait_with_output().unwrap())
    }

    /// Waits for the run to end, with its input still open.
    pub(crate) fn wait(mut self, patience: Duration) -> Ran {
        let input = self.child.stdin.take();
        let ran = wait(self.child, patience);
        drop(input);
        ran
    }
}

/// Sends a signal to a run.
pub(crate) fn signal(child: &Child, name: &str) {
    let pid = child.id().to_string();
    let sent = Command::new("kill").args(["-s", name, &pid]).status().unwrap();
    assert!(sent.success());
}

/// Waits for a run to end by itself, and fails if it does not in time.
#[track_caller]
pub(crate) fn wait(mut child: Child, patience: Duration) -> Ran {
    let ended = wait_until(patience, || child.try_wait().unwrap().is_some());
    if !ended {
        child.kill().unwrap();
    }
    let output = child.wait_with_output().unwrap();
    assert!(ended, "the run did not end within {patience:?}: {output:?}");
    Ran::of(output)
}

/// Looks every few milliseconds whether something has come to be.
pub(crate) fn wait_until(patience: Duration, mut is_done: impl FnMut() -> bool) -> bool {
    let began = Instant::now();
    while began.elapsed() < patience {
        if is_done() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    is_done()
}

/// Bytes that do not compress, different for every seed.
pub(crate) fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut out = Vec::with_capacity(len + 8);
    while out.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.truncate(len);
    out
}
