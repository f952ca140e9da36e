//! The program is killed before each of its calls that change or sync a file. Whatever was there
//! before is there afterwards, and everything goes on without a manual step.

use std::process::Command;

use crate::acts::{ACTS, Act, Ended};
use crate::preload::{ALL_CALLS, Fault, Plan, Preload};
use crate::scale::places;
use crate::stage::Stage;
use crate::told::Broken;

/// Places per command in the suite.
const SHORT: usize = 12;

/// Runs the act under a plan, has a look at what it left, holds the repository to what was told,
/// and lets work go on. Returns whether the process was killed.
pub(crate) fn survive(
    stage: &Stage,
    preload: &Preload,
    act: &Act,
    plan: Plan<'_>,
    look: impl FnOnce(),
) -> Result<bool, Broken> {
    let mut told = stage.set(act);
    let mut command = stage.command(act);
    preload.arm(&mut command, &stage.lab.path(""), plan);
    let ended = stage.note(act, &command.output().unwrap(), &mut told)?;
    look();
    if let Ended::Failed(kind) = &ended {
        return Err(format!("the run was not killed and failed: {kind}"));
    }
    stage.hold(act, &told)?;
    stage.repeat(act, &mut told)?;
    let repo = told.hold(&stage.lab.repo())?;
    told.go_on(&repo)?;
    Ok(matches!(ended, Ended::Killed))
}

#[test]
fn a_kill_before_any_call_loses_nothing_and_stands_in_nobody_s_way() {
    let stage = Stage::new(None);
    let preload = Preload::build();
    for act in ACTS {
        let counted = survive(&stage, &preload, act, Plan::only_counting(ALL_CALLS), || ());
        assert_eq!(counted, Ok(false));
        let calls = preload.calls();
        let mut kills = 0;
        for at in places(calls.len(), SHORT) {
            let plan = Plan { calls: ALL_CALLS, at, times: 1, fault: Fault::Kill };
            let survived = survive(&stage, &preload, act, plan, || ());
            let is_killed = survived.unwrap_or_else(|broken| {
                panic!("{} killed before call {at} of {calls}: {broken}", act.name)
            });
            kills += usize::from(is_killed);
        }
        println!("kill: {}: {} calls ({calls}), {kills} kills", act.name, calls.len());
        assert!(kills > 0, "{} was never killed", act.name);
    }
}

/// Calls as strace has them, by letter. Each line is a call; those cut in two count once.
fn strace_letter(line: &str) -> Option<char> {
    let call = line.split_once('(')?.0.rsplit(' ').next()?;
    match call {
        "write" | "writev" | "pwrite64" | "pwritev" | "pwritev2" | "sendfile" | "splice"
        | "copy_file_range" => Some('w'),
        "ftruncate" | "fallocate" => Some('t'),
        "fsync" | "fdatasync" | "sync_file_range" | "syncfs" => Some('s'),
        "link" | "linkat" | "rename" | "renameat" | "renameat2" => Some('l'),
        "unlink" | "unlinkat" => Some('u'),
        "mkdir" | "mkdirat" => Some('d'),
        "open" | "openat" | "openat2" => {
            (line.contains("O_CREAT") || line.contains("O_TMPFILE")).then_some('o')
        }
        _ => None,
    }
}

fn sorted(calls: impl Iterator<Item = char>) -> String {
    let mut calls: Vec<char> = calls.collect();
    calls.sort_unstable();
    calls.into_iter().collect()
}

/// A call that the preloaded library does not see would never be tried.
#[test]
fn the_faults_reach_every_call_that_strace_sees() {
    let stage = Stage::new(None);
    let preload = Preload::build();
    let trace = stage.lab.path("trace");
    for act in ACTS {
        stage.set(act);
        let program = stage.command(act);
        let mut strace = Command::new("strace");
        strace.args(["-f", "-y", "-qq", "-o"]).arg(&trace).arg("--").arg(program.get_program());
        strace.args(program.get_args()).current_dir(stage.lab.path(""));
        strace.env("BACKSTOP_REPO", stage.lab.repo());
        strace.env("BACKSTOP_TRUST_DIR", stage.lab.path("trust"));
        strace.envs(stage.lab.key_file().map(|path| ("BACKSTOP_KEY_FILE", path)));
        preload.arm(&mut strace, &stage.lab.repo(), Plan::only_counting(ALL_CALLS));
        assert!(strace.output().unwrap().status.code().is_some());
        let text = std::fs::read_to_string(&trace).unwrap();
        let root = stage.lab.repo().display().to_string();
        // What the host remembers names the repository, and is not in it.
        let is_of_repo = |line: &&str| line.contains(&root) && !line.contains("/trust/");
        let lines = text.lines().filter(is_of_repo);
        let seen = sorted(lines.filter_map(strace_letter));
        assert_eq!(sorted(preload.calls().chars()), seen, "{}", act.name);
    }
}
