//! `backup vm`: restore points that equal the disks, and an engine that is as it was before.

use std::process::Command;

use serde_json::{Value, json};

use crate::lab::Lab;

/// Backs up a VM; the run must end with that code.
#[track_caller]
fn back_up(lab: &Lab, code: i32, args: &[&str]) -> Value {
    let args = [&["backup", "vm", "--json"], args].concat();
    lab.run(&args).expect(code).json()
}

/// SHA-256 of a disk of the newest restore point.
fn restored(lab: &Lab, vm: &str, disk: &str) -> String {
    let target = lab.place.path(format!("{vm}-{disk}.raw"));
    let target = target.to_str().unwrap();
    let point = format!("{vm}@latest");
    lab.run(&["restore", "disk", &point, disk, target, "--force"]).expect(0);
    let output = Command::new("sha256sum").arg(target).output().unwrap();
    String::from_utf8(output.stdout).unwrap()[..64].to_owned()
}

/// SHA-256 of what the guest of a stopped VM reads.
fn on_engine(lab: &Lab, disk: &str) -> String {
    lab.order("digest", &json!({"disk": disk}))["sha256"].as_str().unwrap().to_owned()
}

#[track_caller]
fn assert_equal(lab: &Lab, vm: &str, disks: &[&str]) {
    for disk in disks {
        assert_eq!(restored(lab, vm, disk), on_engine(lab, disk), "{disk}");
    }
}

/// What somebody who looks at the engine sees of work on disks: nothing, once all is over.
#[track_caller]
fn assert_nothing_is_left(lab: &Lab) {
    let state = lab.state();
    let all = |name: &str| state[name].as_object().unwrap().values().cloned().collect::<Vec<_>>();
    for transfer in all("imagetransfers") {
        let phase = transfer["phase"].as_str().unwrap();
        assert!(phase.starts_with("finished"), "{transfer}");
    }
    for vm in all("vms") {
        for backup in vm["_backups"].as_object().unwrap().values() {
            let phase = backup["phase"].as_str().unwrap();
            assert!(["succeeded", "failed"].contains(&phase), "{backup}");
        }
    }
    let locked: Vec<_> =
        all("disks").into_iter().filter(|disk| disk["status"] == "locked").collect();
    assert_eq!(locked, [json!(null); 0]);
    let notes = lab.place.repo().join("engine");
    assert_eq!(std::fs::read_dir(notes).unwrap().count(), 0);
}

/// The checkpoints of a VM.
fn checkpoints(lab: &Lab, vm: &str) -> Vec<String> {
    let state = lab.state();
    let vms = state["vms"].as_object().unwrap();
    let vm = vms.values().find(|one| one["name"] == vm).unwrap();
    vm["_checkpoints"].as_object().unwrap().keys().cloned().collect()
}

#[test]
fn a_stopped_vm_is_backed_up_whole_and_the_engine_is_as_before() {
    let Some(lab) = Lab::start("a stopped VM") else { return };
    let document = back_up(&lab, 0, &["web01"]);
    let made = &document["vms"][0];
    assert_eq!((&made["outcome"], &made["name"]), (&json!("done"), &json!("web01")));
    let engine = &made["point"]["engine"];
    assert_eq!(
        (&engine["kind"], &engine["consistency"]["reached"]),
        (&"cold".into(), &"offline".into())
    );
    assert_equal(&lab, "web01", &["web01_Disk1", "web01_Disk2"]);
    assert_nothing_is_left(&lab);
    assert_eq!(checkpoints(&lab, "web01"), [engine["checkpoint_id"].as_str().unwrap()]);
    let write = json!([{"op": "write", "offset": 5_000_000, "length": 70_000, "pattern": 7}]);
    lab.order("write", &json!({"disk": "web01_Disk1", "changes": write}));
    let point = &back_up(&lab, 0, &["web01"])["vms"][0]["point"];
    let read: Vec<_> = (0..2).map(|disk| &point["disks"][disk]["engine"]["read"]).collect();
    assert_eq!(read, ["incremental", "full"]);
    assert_equal(&lab, "web01", &["web01_Disk1", "web01_Disk2"]);
    assert_nothing_is_left(&lab);
}

#[test]
fn a_refused_vm_is_left_alone_and_does_not_stop_the_others() {
    let Some(lab) = Lab::start("a refused VM") else { return };
    let before = lab.state();
    let refused = back_up(&lab, 4, &["mixed01"]);
    assert_eq!(refused["vms"][0]["outcome"], "refused");
    assert!(refused["vms"][0]["findings"].as_array().unwrap().len() >= 4, "{refused}");
    assert_eq!(lab.changing_requests(), [""; 0]);
    assert_eq!(lab.state()["vms"], before["vms"]);
    assert_eq!(std::fs::read_dir(lab.place.repo().join("commit")).unwrap().count(), 0);
    let both = back_up(&lab, 4, &["mixed01", "name=web*", "--at-once", "2"]);
    let outcomes: Vec<_> =
        both["vms"].as_array().unwrap().iter().map(|vm| &vm["outcome"]).collect();
    assert_eq!(outcomes, ["refused", "done"]);
    let taken = back_up(&lab, 3, &["mixed01", "--skip-ineligible"]);
    assert_eq!(taken["vms"][0]["outcome"], "incomplete");
    assert!(!taken["vms"][0]["point"]["left_out"].as_array().unwrap().is_empty());
    assert_nothing_is_left(&lab);
}

/// Kills a backup of a VM while the engine opens its first transfer.
fn kill_a_backup(lab: &Lab, vm: &str) {
    lab.order("hold-phase", &json!({"kind": "transfer", "phase": "initializing"}));
    let mut child = lab.command(&["backup", "vm", vm]).spawn().unwrap();
    let is_open = || {
        let state = lab.state();
        let transfers = state["imagetransfers"].as_object().unwrap().clone();
        transfers.values().any(|one| one["phase"] == "initializing")
    };
    while !is_open() {
        assert!(child.try_wait().unwrap().is_none(), "the run ended early");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    std::thread::sleep(std::time::Duration::from_millis(300));
    child.kill().unwrap();
    child.wait().unwrap();
    lab.order("clear-faults", &json!({}));
}

#[test]
fn what_a_killed_run_has_left_is_ended_by_the_doctor_and_by_the_next_run_and_nothing_else_is() {
    let Some(lab) = Lab::start("a killed run") else { return };
    lab.order("foreign-backup", &json!({"vm": "modern01"}));
    kill_a_backup(&lab, "web01");
    let told = lab.run(&["doctor", "--json"]).json();
    let left = |document: &Value| -> Vec<String> {
        let all = document["leftovers"].as_array().unwrap().iter();
        all.map(|one| format!("{} {}", one["what"].as_str().unwrap(), one["ended"])).collect()
    };
    assert_eq!(left(&told), ["transfer false", "backup false"]);
    assert_eq!(checkpoints(&lab, "web01").len(), 1);
    let cleaned = lab.run(&["doctor", "--clean", "--json"]).json();
    assert_eq!(left(&cleaned), ["transfer true", "backup true"]);
    assert_eq!(checkpoints(&lab, "web01"), [""; 0]);
    let foreign = lab.run(&["eligibility", "modern01", "--json"]).expect(4).json();
    assert_eq!(foreign["findings"][0]["rule"], "backup-running");
    kill_a_backup(&lab, "web01");
    let point = &back_up(&lab, 0, &["web01"])["vms"][0]["point"];
    let checkpoint = point["engine"]["checkpoint_id"].as_str().unwrap();
    assert_eq!(checkpoints(&lab, "web01"), [checkpoint]);
    // A checkpoint that the next backup can begin from stays, whatever is ended after it.
    kill_a_backup(&lab, "web01");
    lab.run(&["doctor", "--clean", "--json"]);
    assert_eq!(checkpoints(&lab, "web01"), [checkpoint]);
    let again = &back_up(&lab, 0, &["web01"])["vms"][0]["point"];
    assert_eq!(again["engine"]["from_checkpoint_id"], checkpoint);
    assert_equal(&lab, "web01", &["web01_Disk1", "web01_Disk2"]);
    lab.order("settle", &json!({}));
    assert_nothing_is_left(&lab);
}
