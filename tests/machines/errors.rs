//! A call that changes or syncs a file fails, once or from then on. The command fails with the
//! right word or does all of its work, and nothing that was there before is harmed.

use serde_json::{Value, json};

use crate::acts::{ACTS, Act, Ended};
use crate::preload::{ALL_CALLS, Fault, Plan, Preload};
use crate::scale::places;
use crate::stage::Stage;
use crate::told::Broken;

/// Places per command, error and duration in the suite.
const SHORT: usize = 4;
/// From the system's headers, with the kind of error that each is.
const ERRORS: [(i32, &str); 2] = [(5, "io"), (28, "full")];

/// Whether the command said that something is wrong: it failed, or it names a problem.
fn endure(stage: &Stage, preload: &Preload, act: &Act, plan: Plan<'_>) -> Result<bool, Broken> {
    let mut told = stage.set(act);
    let mut command = stage.command(act);
    preload.arm(&mut command, &stage.lab.path(""), plan);
    let out = command.output().unwrap();
    let has_said_so = match stage.note(act, &out, &mut told)? {
        Ended::Killed => return Err(format!("{} crashed: {out:?}", act.name)),
        Ended::Failed(kind) => {
            let is_right = ERRORS.contains(&(errno(plan), &kind));
            is_right.then_some(true).ok_or(format!("it failed with another word: {out:?}"))?
        }
        Ended::Done(document) => names_a_problem(&document),
    };
    stage.hold(act, &told)?;
    stage.repeat(act, &mut told)?;
    let repo = told.hold(&stage.lab.repo())?;
    told.go_on(&repo)?;
    Ok(has_said_so)
}

/// A scrub has its own place for what it could not write down.
fn names_a_problem(document: &Value) -> bool {
    document["problems"] != json!([]) || document["scrub"]["recording"]["outcome"] == "failed"
}

fn errno(plan: Plan<'_>) -> i32 {
    match plan.fault {
        Fault::Error(errno) => errno,
        Fault::Kill | Fault::Skip => 0,
    }
}

#[test]
fn a_call_that_fails_harms_nothing_that_was_there_and_is_told() {
    let stage = Stage::new(None);
    let preload = Preload::build();
    for act in ACTS {
        let counted = endure(&stage, &preload, act, Plan::only_counting(ALL_CALLS));
        assert_eq!(counted, Ok(false), "{}", act.name);
        let calls = preload.calls();
        let (mut runs, mut said) = (0, 0);
        for (errno, _) in ERRORS {
            for times in [1, usize::MAX >> 1] {
                for at in places(calls.len(), SHORT) {
                    let plan = Plan { calls: ALL_CALLS, at, times, fault: Fault::Error(errno) };
                    let endured = endure(&stage, &preload, act, plan);
                    let has_said_so = endured.unwrap_or_else(|broken| {
                        panic!("{}, {plan:?} of {calls}: {broken}", act.name)
                    });
                    runs += 1;
                    said += usize::from(has_said_so);
                }
            }
        }
        println!("errors: {}: {} calls, {runs} runs, {said} say so", act.name, calls.len());
        assert!(said > 0, "{} never said so", act.name);
    }
}
