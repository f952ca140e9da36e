//! Faults of system calls: the library `faults.c`, preloaded into the program.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// The calls that make, change, sync or remove files. See `faults.c` for the letters.
pub(crate) const ALL_CALLS: &str = "owtslud";

/// What happens instead of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The process is killed.
    Kill,
    /// Nothing, and the program is told that it was done.
    Skip,
    /// It fails with this error number.
    Error(i32),
}

/// The library, built for as long as the value lives.
pub(crate) struct Preload {
    dir: TempDir,
}

/// Which calls suffer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan<'a> {
    pub(crate) calls: &'a str,
    /// The first that suffers, counted from 1; 0 spares all.
    pub(crate) at: usize,
    /// How many suffer.
    pub(crate) times: usize,
    pub(crate) fault: Fault,
}

impl Plan<'_> {
    /// Nothing suffers.
    pub(crate) fn only_counting(calls: &str) -> Plan<'_> {
        Plan { calls, at: 0, times: 0, fault: Fault::Skip }
    }
}

impl Preload {
    pub(crate) fn build() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/machines/faults.c");
        let mut cc = Command::new("cc");
        cc.args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"]);
        let built = cc.arg(dir.path().join("faults.so")).arg(source).status();
        assert!(built.is_ok_and(|status| status.success()), "cc does not build faults.c");
        Self { dir }
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    /// Lets a program suffer below `root`. What it did before is no longer in [`Preload::calls`].
    pub(crate) fn arm(&self, command: &mut Command, root: &Path, plan: Plan<'_>) {
        fs::write(self.log(), "").unwrap();
        let does = match plan.fault {
            Fault::Kill => "kill".to_owned(),
            Fault::Skip => "skip".to_owned(),
            Fault::Error(number) => number.to_string(),
        };
        // Without a slash at the end, which the library would take for a name.
        let root: PathBuf = root.components().collect();
        command.env("LD_PRELOAD", self.dir.path().join("faults.so")).env("FAULT_ROOT", root);
        command.env("FAULT_CALLS", plan.calls).env("FAULT_AT", plan.at.to_string());
        command.env("FAULT_TIMES", plan.times.to_string()).env("FAULT_DOES", does);
        command.env("FAULT_LOG", self.log());
    }

    /// The letters of the calls of the last program, in their order.
    pub(crate) fn calls(&self) -> String {
        fs::read_to_string(self.log()).unwrap()
    }
}
