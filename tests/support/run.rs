//! Programs that tests run.

#![allow(dead_code, reason = "each test binary uses its own part of this module")]

use std::ffi::OsStr;
use std::process::{Command, Output};

/// Runs a program and returns what it printed. It must succeed.
pub(crate) fn run<S: AsRef<OsStr>>(program: &str, args: impl IntoIterator<Item = S>) -> String {
    let args: Vec<_> = args.into_iter().map(|arg| arg.as_ref().to_owned()).collect();
    let output = attempt(program, &args);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs a program that may fail.
pub(crate) fn attempt<S: AsRef<OsStr>>(program: &str, args: impl IntoIterator<Item = S>) -> Output {
    let mut command = Command::new(program);
    // Programs for administrators.
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    command.env("PATH", path).env("LC_ALL", "C").env("TZ", "UTC").args(args);
    command.output().unwrap_or_else(|error| panic!("cannot run {program}: {error}"))
}
