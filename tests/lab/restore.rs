//! Disks of restore points that go back to the engine.

use std::path::Path;
use std::process::Child;
use std::thread::sleep;
use std::time::Duration;

use serde_json::{Value, json};

use crate::faults::differences;
use crate::lab::Lab;
use crate::support::{MIB, Ran, noise, wait_until};
use crate::vm::{PATIENCE, Vm, ended, sha256};

/// A restore of the disk `system` of the newest restore point, into the VM itself.
fn args<'a>(point: &'a str, vm: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let args = ["restore", "disk", point, "system", "--to-vm", vm, "--json", "--connections", "2"];
    [&args, more].concat()
}

/// An order about requests that send data.
pub(crate) fn put(mut order: Value) -> Value {
    order["method"] = json!("PUT");
    order["path"] = json!("^/images/");
    order["sent"] = json!(true);
    order
}

impl Lab {
    pub(crate) fn digest(&self, disk: &str) -> Value {
        self.order("digest", &json!({"disk": disk}))["sha256"].clone()
    }

    fn restore_disk(&self, vm: &Vm, more: &[&str]) -> Ran {
        self.run(&args(&format!("{}@latest", vm.name), &vm.name, more))
    }

    /// Starts a restore that is slow, and returns when its first bytes are on their way.
    #[track_caller]
    pub(crate) fn start_slowly(&self, args: &[&str], trouble: &[Value]) -> Child {
        self.order("watch-transfers", &json!({}));
        for order in trouble {
            self.order("fail-transfers", order);
        }
        let slow = put(json!({"count": 1000, "delay": 0.01}));
        self.order("fail-transfers", &slow);
        let mut child = self.command(args).spawn().unwrap();
        let began = wait_until(PATIENCE, || {
            let seen = self.order("transfer-requests", &json!({}));
            let requests = seen["requests"].as_array().unwrap();
            child.try_wait().unwrap().is_some() || requests.iter().any(|one| one["method"] == "PUT")
        });
        assert!(began, "the restore does not begin");
        child
    }

    #[track_caller]
    fn start_restore(&self, vm: &Vm, trouble: &[Value]) -> Child {
        self.start_slowly(&args(&format!("{}@latest", vm.name), &vm.name, &[]), trouble)
    }

    pub(crate) fn calm_down(&self) {
        self.order("clear-faults", &json!({}));
        self.order("watch-transfers", &json!({"on": false}));
    }

    #[track_caller]
    pub(crate) fn assert_as_before(&self, before: &Value, what: &str) {
        let mut found = Vec::new();
        differences("", before, &self.traces(true), &mut found);
        assert!(found.is_empty(), "{what}: traces are left: {}", found.join("; "));
    }
}

#[test]
fn a_disk_comes_back_as_a_new_disk_of_a_vm_byte_for_byte() {
    let Some(lab) = Lab::start("restored disks") else { return };
    let vm = lab.noisy_vm("source", 6);
    lab.back_up(&vm, &[]);
    let truth = lab.digest(&vm.disks[0]);
    // The disk goes on; the restore point does not.
    let changes = json!([{"offset": 0, "length": MIB, "pattern": 7}]);
    lab.order("write", &json!({"disk": vm.disks[0], "changes": changes}));
    let now = lab.digest(&vm.disks[0]);
    lab.order("watch-transfers", &json!({}));
    let restored = lab.restore_disk(&vm, &["--name", "yesterday"]).expect(0).json();
    let restored = &restored["restore"];
    let id = restored["disk_id"].as_str().unwrap();
    assert_eq!(lab.digest(id), truth);
    assert_eq!(lab.digest(&vm.disks[0]), now, "a disk that the VM has is not written to");
    assert_eq!(restored["is_verified"], true);
    assert_eq!((&restored["vm"]["name"], &restored["vm"]["id"]), (&json!("source"), &json!(vm.id)));
    let state = lab.state();
    let (disk, source) = (&state["disks"][id], &state["disks"][&vm.disks[0]]);
    for key in ["format", "sparse", "provisioned_size", "storage_domains", "wipe_after_delete"] {
        assert_eq!(disk[key], source[key], "{key}");
    }
    assert_eq!((&disk["name"], &disk["status"]), (&json!("yesterday"), &json!("ok")));
    let attached = &state["vms"][&vm.id]["_attachments"];
    assert_eq!(
        (&attached[id]["active"], &attached[id]["bootable"]),
        (&json!(false), &json!(false))
    );
    assert_eq!(attached[id]["interface"], attached[&vm.disks[0]]["interface"]);
    // Zeros are told and not sent.
    let seen = lab.order("transfer-requests", &json!({}));
    let puts = seen["requests"].as_array().unwrap().iter().filter(|one| one["method"] == "PUT");
    let sent: u64 = puts.map(|one| one["sent"].as_u64().unwrap()).sum();
    assert!(sent >= 6 * MIB as u64 && sent < 6 * MIB as u64 + 20_000, "{sent} bytes were sent");
    let doctor = lab.run(&["doctor", "--json"]).json();
    assert_eq!(doctor["leftovers"], json!([]), "{doctor}");
}

#[test]
fn a_disk_of_a_plain_image_goes_to_a_vm_with_zeros_to_its_end() {
    let Some(lab) = Lab::start("restored images") else { return };
    // No disk of an engine has this length.
    let mut bytes = noise(3 * MIB + 1000, 3);
    bytes[MIB..2 * MIB].fill(0);
    let image = lab.place.file("image.raw", &bytes);
    let named = format!("system={image}");
    lab.run(&["backup", "image", "--vm", "old", &named]).expect(0);
    let vm = lab.noisy_vm("target", 1);
    let domain = lab.state()["disks"][&vm.disks[0]]["storage_domains"][0]["id"].clone();
    let more = ["--storage-domain", domain.as_str().unwrap(), "--activate", "--format", "raw"];
    let restored = lab.run(&args("old@latest", "target", &more)).expect(0).json();
    let id = restored["restore"]["disk_id"].as_str().unwrap();
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    let padded = lab.place.file("padded", &bytes);
    assert_eq!(lab.digest(id), sha256(Path::new(&padded)));
    let state = lab.state();
    assert_eq!(state["disks"][id]["format"], "raw");
    assert_eq!(state["vms"][&vm.id]["_attachments"][id]["active"], true);
}

#[test]
fn what_a_restore_cannot_do_is_said_before_anything_is_changed() {
    let Some(lab) = Lab::start("refused restores") else { return };
    let vm = lab.noisy_vm("busy", 1);
    lab.back_up(&vm, &[]);
    let before = lab.traces(true);
    let requests = lab.changing_requests();
    let refused = |more: &[&str], code: i32, word: &str| {
        let ran = lab.restore_disk(&vm, more);
        assert!(ran.code == code && ran.stdout.contains(word), "{more:?}: {ran:?}");
    };
    refused(&["--storage-domain", "nowhere"], 1, "no storage domain is named");
    let ran = lab.run(&args("busy@latest", "nobody", &[]));
    assert!(ran.code == 1 && ran.stdout.contains("no VM named"), "{ran:?}");
    lab.order("foreign-backup", &json!({"vm": "busy"}));
    refused(&[], 5, "is being backed up");
    lab.order("settle", &json!({}));
    assert_eq!(lab.changing_requests(), requests);
    lab.assert_as_before(&before, "refused");
}

/// Trouble in a restore, and the word by which it is reported.
struct Trouble {
    word: &'static str,
    on_the_way: Vec<Value>,
    during: fn(&Lab),
}

impl Trouble {
    fn new(word: &'static str, during: fn(&Lab)) -> Self {
        Self { word, on_the_way: Vec::new(), during }
    }
}

fn transfer(lab: &Lab) -> Value {
    lab.traces(false)["transfers"][0].clone()
}

#[test]
fn a_restore_that_fails_half_way_leaves_the_engine_as_it_was() {
    let Some(lab) = Lab::start("trouble with restores") else { return };
    let troubles = [
        // As of a host that keeps other bytes than it was sent.
        Trouble {
            on_the_way: vec![put(json!({"corrupt": 4096}))],
            ..Trouble::new("its checksum of the disk is another", |_| {})
        },
        Trouble::new("the engine has ended the transfer", |lab| {
            let given = json!({"transfer": transfer(lab), "phase": "cancelled_system"});
            lab.order("set-transfer", &given);
        }),
        Trouble::new("an image cannot be written", |lab| {
            let running = lab.traces(false)["processes"].clone();
            let is_export = |one: &&Value| one.as_str().unwrap().starts_with("nbd-");
            let export = running.as_array().unwrap().iter().find(is_export).unwrap().clone();
            lab.order("kill", &json!({"what": export}));
        }),
        Trouble::new("already marked as boot", |lab| {
            let refuse = json!({
                "method": "POST", "path": "/diskattachments$", "status": 409, "count": 100,
                "detail": "Cannot attach Virtual Disk. It is already marked as boot.",
            });
            lab.order("fail-requests", &refuse);
        }),
    ];
    for (trouble, number) in troubles.iter().zip(1..) {
        let vm = lab.noisy_vm(&format!("vm{number:02}"), 4);
        lab.back_up(&vm, &[]);
        let before = lab.traces(true);
        let child = lab.start_restore(&vm, &trouble.on_the_way);
        (trouble.during)(&lab);
        let ran = ended(child);
        lab.calm_down();
        assert!(ran.code != 0 && ran.stdout.contains(trouble.word), "{}: {ran:?}", trouble.word);
        lab.assert_as_before(&before, trouble.word);
        lab.restore_disk(&vm, &[]).expect(0);
    }
}

#[test]
fn a_daemon_that_dies_and_comes_back_in_a_restore_costs_no_byte() {
    let Some(lab) = Lab::start("daemons that die in restores") else { return };
    let vm = lab.noisy_vm("source", 4);
    lab.back_up(&vm, &[]);
    let truth = lab.digest(&vm.disks[0]);
    let child = lab.start_restore(&vm, &[]);
    lab.order("kill", &json!({"what": "imageio-v4"}));
    sleep(Duration::from_millis(700));
    lab.order("restart", &json!({"what": "imageio-v4"}));
    let ran = ended(child).expect(0).json();
    lab.calm_down();
    let restored = &ran["restore"];
    assert_eq!(lab.digest(restored["disk_id"].as_str().unwrap()), truth);
    assert_eq!(restored["is_verified"], true);
}

#[test]
fn a_restore_and_a_backup_of_one_vm_exclude_each_other_and_an_interrupt_takes_all_back() {
    let Some(lab) = Lab::start("restores beside backups") else { return };
    let vm = lab.noisy_vm("shared", 4);
    lab.back_up(&vm, &[]);
    let before = lab.traces(true);
    let child = lab.start_restore(&vm, &[]);
    let ran = lab.run(&["backup", "vm", "shared"]);
    assert!(ran.code == 4 && ran.stdout.contains("restore-running"), "{ran:?}");
    let ran = lab.restore_disk(&vm, &[]);
    assert!(ran.code == 5 && ran.stdout.contains("a restore into VM"), "{ran:?}");
    crate::run::run("kill", ["-INT", &child.id().to_string()]);
    let ran = ended(child);
    lab.calm_down();
    assert!(ran.code != 0 && ran.stdout.contains("cancelled"), "{ran:?}");
    lab.assert_as_before(&before, "interrupted");
}

#[test]
fn what_killed_restores_leave_is_ended_by_the_next_one_and_by_the_doctor() {
    let Some(lab) = Lab::start("killed restores") else { return };
    let vm = lab.noisy_vm("killed", 4);
    lab.back_up(&vm, &[]);
    let before = lab.traces(true);
    for moment in 0..3 {
        let mut child = lab.start_restore(&vm, &[]);
        sleep(Duration::from_millis(moment * 200));
        child.kill().unwrap();
        child.wait().unwrap();
        lab.calm_down();
        // Its exit code tells of ports, which are others in a lab.
        lab.run(&["doctor", "--clean"]);
        lab.assert_as_before(&before, "killed, then doctor");
    }
    let mut child = lab.start_restore(&vm, &[]);
    child.kill().unwrap();
    child.wait().unwrap();
    lab.calm_down();
    lab.restore_disk(&vm, &[]).expect(0);
    let state = lab.state();
    let attached = state["vms"][&vm.id]["_attachments"].as_object().unwrap().len();
    let more =
        state["disks"].as_object().unwrap().len() - before["disks"].as_object().unwrap().len();
    assert_eq!((attached, more), (2, 1));
}
