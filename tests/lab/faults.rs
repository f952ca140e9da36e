//! What goes wrong in the middle of a backup: it is survived or reported, within bounded time, and
//! nothing is left behind on the engine.

use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::lab::{Lab, ovirt_lab};
use crate::run::run;
use crate::support::{Ran, wait_until};
use crate::vm::{PATIENCE, Vm, ended};

/// How a run with trouble has to end.
enum End {
    /// There is a point, and it equals the disks.
    Stored,
    /// There is none, and the message says this.
    Refused(&'static str),
}

/// Trouble that is ordered before the run, or made in the middle of it.
struct Trouble {
    name: &'static str,
    before: Vec<(&'static str, Value)>,
    during: fn(&Lab, &Vm),
    args: Vec<&'static str>,
    end: End,
}

impl Trouble {
    fn with(self, args: &[&'static str]) -> Self {
        Self { args: args.to_vec(), ..self }
    }
}

const fn nothing(_: &Lab, _: &Vm) {}

fn ordered(name: &'static str, operation: &'static str, given: Value, end: End) -> Trouble {
    Trouble { name, before: vec![(operation, given)], during: nothing, args: Vec::new(), end }
}

fn made(name: &'static str, during: fn(&Lab, &Vm), end: End) -> Trouble {
    Trouble { name, before: Vec::new(), during, args: Vec::new(), end }
}

/// The ids of the transfers that are open.
fn transfers(lab: &Lab) -> Vec<Value> {
    lab.traces(false)["transfers"].as_array().unwrap().clone()
}

/// Backs up a VM of its own with this trouble, and judges the end.
fn try_trouble(lab: &Lab, trouble: &Trouble, number: usize) -> Result<(), String> {
    let vm = lab.noisy_vm(&format!("vm{number:02}"), 8);
    let before = lab.traces(true);
    lab.order("watch-transfers", &json!({}));
    for (operation, given) in &trouble.before {
        lab.order(operation, given);
    }
    // Slow enough for something to happen in the middle.
    let slow = json!({"method": "GET", "path": "^/images/[^/]*$", "count": 1000, "delay": 0.005});
    lab.order("fail-transfers", &slow);
    let child = lab.start_backup(&vm, &[&["--connections", "2"], &trouble.args[..]].concat());
    (trouble.during)(lab, &vm);
    let ran = ended(child);
    lab.order("clear-faults", &json!({}));
    lab.order("watch-transfers", &json!({"on": false}));
    judge(lab, &vm, trouble, &ran, &before)
        .map_err(|why| format!("{}: {why}\n{ran:?}", trouble.name))
}

fn judge(lab: &Lab, vm: &Vm, trouble: &Trouble, ran: &Ran, before: &Value) -> Result<(), String> {
    let is_stored = lab.point_count(vm) == 1;
    match trouble.end {
        End::Stored if ran.code != 0 || !is_stored => return Err("no point".to_owned()),
        End::Stored => lab.assert_stored(vm),
        End::Refused(_) if is_stored => return Err("a point of what was not read".to_owned()),
        End::Refused(_) if ran.code == 0 => return Err("a failure that is no failure".to_owned()),
        End::Refused(word) => {
            if !ran.stderr.contains(word) && !ran.stdout.contains(word) {
                return Err(format!("the message lacks {word:?}"));
            }
        }
    }
    let with_checkpoints = matches!(trouble.end, End::Refused(_));
    let (mut before, after) = (before.clone(), lab.traces(with_checkpoints));
    if !with_checkpoints {
        for vm in before["vms"].as_object_mut().unwrap().values_mut() {
            vm.as_object_mut().unwrap().remove("checkpoints");
        }
    }
    let mut found = Vec::new();
    differences("", &before, &after, &mut found);
    match found.is_empty() {
        true => Ok(()),
        false => Err(format!("traces are left: {}", found.join("; "))),
    }
}

/// Each place where two documents differ.
pub(crate) fn differences(path: &str, before: &Value, after: &Value, found: &mut Vec<String>) {
    match (before.as_object(), after.as_object()) {
        (Some(first), Some(second)) => {
            for key in first.keys().chain(second.keys().filter(|key| !first.contains_key(*key))) {
                differences(&format!("{path}/{key}"), &before[key], &after[key], found);
            }
        }
        _ if before != after => found.push(format!("{path} was {before}, is {after}")),
        _ => {}
    }
}

/// Tries all on one lab, and tells of all that end badly.
fn try_all(lab: &Lab, troubles: &[Trouble]) {
    let tried = troubles.iter().zip(1..).map(|(one, number)| try_trouble(lab, one, number));
    let failed: Vec<_> = tried.filter_map(Result::err).collect();
    assert!(failed.is_empty(), "\n{}", failed.join("\n\n"));
}

#[test]
fn trouble_on_the_way_to_the_daemon_is_survived_or_reported() {
    let Some(lab) = Lab::start("trouble with transfers") else { return };
    let data = |given: Value| {
        let mut order = json!({"method": "GET", "path": "^/images/[^/]*$"});
        order.as_object_mut().unwrap().extend(given.as_object().unwrap().clone());
        order
    };
    let troubles = [
        ordered("reset", "fail-transfers", data(json!({"reset": 300_000})), End::Stored),
        ordered(
            "body cut short with a clean close",
            "fail-transfers",
            data(json!({"cut": 300_000, "skip": 1, "count": 3})),
            End::Stored,
        ),
        ordered(
            "answers 5xx for a while",
            "fail-transfers",
            data(json!({"status": 503, "count": 2, "skip": 1})),
            End::Stored,
        ),
        ordered(
            "answers 5xx for ever",
            "fail-transfers",
            data(json!({"status": 500, "count": 100_000, "skip": 1})),
            End::Refused("500"),
        ),
        ordered(
            "extents that fail once",
            "fail-transfers",
            json!({"path": "/extents", "status": 500}),
            End::Stored,
        ),
        ordered("a daemon without extents", "watch-transfers", json!({"old": true}), End::Stored),
        ordered(
            "a host that cannot be reached",
            "configure",
            json!({"transfer_address": "127.0.0.1:1"}),
            End::Stored,
        ),
    ];
    try_all(&lab, &troubles);
}

#[test]
fn trouble_with_tickets_and_exports_is_survived_or_reported() {
    let Some(lab) = Lab::start("trouble with tickets") else { return };
    let troubles = [
        made(
            "ticket whose time is over",
            |lab, _| for_each(lab, "expire-ticket", &json!({"gone": false})),
            End::Stored,
        ),
        made(
            "ticket that is gone",
            |lab, _| for_each(lab, "expire-ticket", &json!({})),
            End::Stored,
        ),
        made(
            "transfer that the system pauses",
            |lab, _| for_each(lab, "set-transfer", &json!({"phase": "paused_system"})),
            End::Stored,
        ),
        made(
            "export that is killed",
            |lab, _| {
                for id in transfers(lab) {
                    let name = format!("nbd-{}", &id.as_str().unwrap()[..8]);
                    lab.order("kill", &json!({"what": name}));
                }
            },
            End::Stored,
        ),
        made(
            "daemon that is killed and comes back",
            |lab, _| {
                lab.order("kill", &json!({"what": "imageio-v4"}));
                sleep(Duration::from_millis(700));
                lab.order("restart", &json!({"what": "imageio-v4"}));
            },
            End::Stored,
        ),
    ];
    try_all(&lab, &troubles);
}

#[test]
fn a_server_that_stalls_is_not_waited_for_without_an_end() {
    let Some(lab) = Lab::start("a server that stalls") else { return };
    let stall = |count: u32| {
        // The middleman lets go of the daemon after three seconds.
        json!({"method": "GET", "path": "^/images/[^/]*$", "stall": 1000, "seconds": 3,
            "skip": 1, "count": count})
    };
    let impatient = ["--stall-timeout", "1s"];
    let troubles = [
        ordered("a stall", "fail-transfers", stall(2), End::Stored).with(&impatient),
        ordered("stalls for ever", "fail-transfers", stall(100_000), End::Refused("in 1 s"))
            .with(&impatient),
    ];
    let began = Instant::now();
    try_all(&lab, &troubles);
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
}

/// Kills the engine, as a crash would, and starts it again.
fn restart_engine(lab: &Lab) {
    let record = Path::new(lab.info("dir")).join("pids/engine.json");
    let record: Value = serde_json::from_slice(&fs::read(record).unwrap()).unwrap();
    let pid = record["pid"].to_string();
    run("kill", ["-s", "KILL", &pid]);
    let is_gone = || !Path::new("/proc").join(&pid).join("exe").exists();
    assert!(wait_until(PATIENCE, is_gone), "process {pid} does not end");
    let owner = std::process::id().to_string();
    ovirt_lab(&["up", "--dir", lab.info("dir"), "--owner", &owner]).expect(0);
}

/// Does something to each transfer that is open.
fn for_each(lab: &Lab, operation: &str, more: &Value) {
    for id in transfers(lab) {
        let mut given = more.clone();
        given["transfer"] = id;
        lab.order(operation, &given);
    }
}

/// An order for requests to the engine.
fn request(method: &str, path: &str, more: Value) -> Value {
    let mut order = json!({"method": method, "path": path});
    order.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    order
}

#[test]
fn trouble_with_the_engine_is_survived_or_reported() {
    let Some(lab) = Lab::start("trouble with the engine") else { return };
    let fails = |name, given: Value, end| ordered(name, "fail-requests", given, end);
    let phase = |name, kind, phase, end| {
        ordered(name, "fail-phase", json!({"kind": kind, "phase": phase}), end)
    };
    let busy = "[Cannot backup VM. Disk is locked. Please try again later.]";
    let troubles = [
        made(
            "login that expires",
            |lab, _| drop(lab.order("expire-tokens", &json!({}))),
            End::Stored,
        ),
        fails(
            "looks that fail",
            request("GET", "", json!({"status": 503, "count": 3})),
            End::Stored,
        ),
        fails(
            "a backup that is refused for a moment",
            request("POST", "/backups$", json!({"status": 409, "detail": busy})),
            End::Stored,
        ),
        fails(
            "a backup whose answer is lost",
            request("POST", "/backups$", json!({"after": true, "reset": true})),
            End::Stored,
        ),
        fails(
            "a backup that is refused for good",
            request("POST", "/backups$", json!({"status": 400, "detail": "[No.]", "count": 9})),
            End::Refused("No."),
        ),
        fails(
            "a transfer whose end is lost",
            request("POST", "/finalize$", json!({"status": 502, "after": true})),
            End::Stored,
        ),
        fails(
            "a finalize that is refused for a moment",
            request("POST", "/backups/.*/finalize$", json!({"status": 500, "count": 2})),
            End::Stored,
        ),
        phase(
            "a backup that does not become ready",
            "backup",
            "initializing",
            End::Refused("fail"),
        ),
        phase(
            "a transfer that does not begin",
            "transfer",
            "initializing",
            End::Refused("transfer"),
        ),
        made(
            "a backup that fails in the middle",
            |lab, vm| {
                let backup = lab.state()["vms"][&vm.id]["_backups"].clone();
                let id = backup.as_object().unwrap().keys().next().unwrap().clone();
                lab.order("fail-backup", &json!({"vm": vm.id, "backup": id}));
            },
            End::Refused("fail"),
        ),
    ];
    try_all(&lab, &troubles);
}

#[test]
fn an_engine_that_is_restarted_is_waited_for() {
    let Some(lab) = Lab::start("restart of the engine") else { return };
    lab.order("configure", &json!({"restart_forgets": false}));
    let goes_on = made("an engine that goes on", |lab, _| restart_engine(lab), End::Stored);
    try_all(&lab, &[goes_on]);
    lab.order("configure", &json!({"restart_forgets": true}));
    let forgets =
        made("an engine that forgets", |lab, _| restart_engine(lab), End::Refused("the engine"));
    assert_eq!(try_trouble(&lab, &forgets, 2), Ok(()));
}

#[test]
fn a_vm_that_moves_in_the_middle_of_its_backup_is_stored_and_snapshots_have_to_wait() {
    let Some(lab) = Lab::start("migration in a backup") else { return };
    let vm = lab.vm("modern01");
    lab.order("start-vm", &json!({"vm": "modern01"}));
    lab.order("watch-transfers", &json!({}));
    let child = lab.start_backup(&vm, &[]);
    let snapshot = lab.order("foreign-snapshot", &json!({"vm": "modern01"}));
    assert!(snapshot["refused"].as_str().unwrap().contains("Cannot create Snapshot"), "{snapshot}");
    lab.order("set-vm", &json!({"vm": "modern01", "status": "migrating"}));
    ended(child).expect(0);
    // The guest has written nothing.
    lab.order("set-vm", &json!({"vm": "modern01", "status": "up"}));
    lab.order("stop-vm", &json!({"vm": "modern01"}));
    lab.assert_stored(&vm);
}
