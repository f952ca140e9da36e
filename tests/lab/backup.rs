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
}
