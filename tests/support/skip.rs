//! Tests that cannot run here say so, and are counted by `tools/test`.

#![allow(dead_code, reason = "each test binary uses its own part of this module")]

use std::io::Write;
use std::os::unix::fs::MetadataExt;

/// Notes that a test did not run, and why.
pub(crate) fn skip(test: &str, reason: &str) {
    eprintln!("SKIPPED {test}: {reason}");
    if let Some(path) = std::env::var_os("BACKSTOP_TEST_SKIPS") {
        let mut file = std::fs::OpenOptions::new().append(true).create(true).open(path).unwrap();
        writeln!(file, "{test}: {reason}").unwrap();
    }
}

/// Whether this process is root's.
pub(crate) fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}
