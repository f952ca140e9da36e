//! Restore points that become VMs again.

use std::time::Duration;

use serde_json::{Value, json};

use crate::lab::Lab;
use crate::restore::put;
use crate::support::{Ran, wait_until};
use crate::vm::{PATIENCE, Vm, ended};

impl Lab {
    fn restore_vm(&self, args: &[&str]) -> Ran {
        self.run(&[&["restore", "vm"], args, &["--json", "--connections", "2"]].concat())
    }

    fn vm_state(&self, id: &str) -> Value {
        self.state()["vms"][id].clone()
    }
}

/// What a VM is like, without what is new in every VM.
fn shape(vm: &Value) -> Value {
    let keys = ["bios", "cpu", "memory", "os", "type", "description", "comment", "stateless"];
    let mut shape: Value = keys.iter().map(|key| ((*key).to_owned(), vm[*key].clone())).collect();
    shape["delete_protected"] = vm["delete_protected"].clone();
    let nics = vm["_nics"].as_object().unwrap().values();
    shape["nics"] = nics.map(|nic| json!([nic["name"], nic["vnic_profile"]["id"]])).collect();
    shape
}

fn macs(vm: &Value) -> Vec<Value> {
    vm["_nics"].as_object().unwrap().values().map(|nic| nic["mac"]["address"].clone()).collect()
}

/// Compares the disks of a VM that was restored with those of the VM that it comes from, which has
/// not run since.
#[track_caller]
fn assert_same_disks(lab: &Lab, restored: &Value, source: &Vm) {
    let state = lab.state();
    let new = &state["vms"][restored["vm"]["id"].as_str().unwrap()];
    let attached = new["_attachments"].as_object().unwrap();
    let disks = restored["disks"].as_array().unwrap();
    assert_eq!((attached.len(), disks.len()), (source.disks.len(), source.disks.len()));
    for disk in disks {
        let id = disk["disk_id"].as_str().unwrap();
        let is_it = |old: &&String| state["disks"][old.as_str()]["name"] == disk["disk"];
        let old = source.disks.iter().find(is_it).unwrap();
        assert_eq!(lab.digest(id), lab.digest(old), "{disk}");
        assert_eq!(disk["is_verified"], true);
        for key in ["name", "format", "sparse", "provisioned_size", "backup", "storage_domains"] {
            assert_eq!(state["disks"][id][key], state["disks"][old][key], "{key}");
        }
        assert!(attached.contains_key(id), "{id} of {attached:?}");
    }
}

#[test]
fn a_vm_comes_back_beside_itself_with_its_shape_and_its_disks() {
    let Some(lab) = Lab::start("restored VMs") else { return };
    let vm = lab.vm("web01");
    lab.order("set-vm", &json!({"vm": "web01", "delete_protected": true, "comment": "as it was"}));
    lab.back_up(&vm, &[]);
    let before = lab.vm_state(&vm.id);
    let ran = lab.restore_vm(&["web01@latest", "--name", "web01-restored"]).expect(0).json();
    let restored = &ran["restore"];
    assert_same_disks(&lab, restored, &vm);
    let new = lab.vm_state(restored["vm"]["id"].as_str().unwrap());
    assert_eq!((&new["name"], &new["status"]), (&json!("web01-restored"), &json!("down")));
    assert_eq!(shape(&new), shape(&before));
    assert_eq!(restored["vm"]["keeps_macs"], false);
    assert_ne!(macs(&new), macs(&before), "two VMs with one address");
    let attachments = |vm: &Value| {
        let all = vm["_attachments"].as_object().unwrap().values();
        let mut all: Vec<_> = all.map(Value::to_string).collect();
        all.sort_unstable();
        all
    };
    assert_eq!(attachments(&new), attachments(&before), "boot disk, interfaces, plugged in");
    assert_eq!(lab.vm_state(&vm.id), before, "the VM that is there");
    assert_eq!(lab.run(&["doctor", "--json"]).json()["leftovers"], json!([]));
    // It is a VM like any other.
    lab.run(&["backup", "vm", "web01-restored", "--json"]).expect(0);
}

#[test]
fn a_vm_that_is_gone_comes_back_with_its_addresses_and_without_disks_that_it_left() {
    let Some(lab) = Lab::start("VMs that are gone") else { return };
    let vm = lab.noisy_vm("lost", 2);
    lab.back_up(&vm, &[]);
    let before = lab.vm_state(&vm.id);
    lab.order("remove-vm", &json!({"vm": "lost"}));
    let ran = lab.restore_vm(&["lost@latest", "--vnic-profile", "ovirtmgmt=ovirtmgmt"]);
    let restored = &ran.expect(0).json()["restore"];
    assert_same_disks(&lab, restored, &vm);
    let new = lab.vm_state(restored["vm"]["id"].as_str().unwrap());
    assert_eq!((&new["name"], macs(&new)), (&json!("lost"), macs(&before)));
    assert_eq!(restored["vm"]["keeps_macs"], true);
    let again = lab.restore_vm(&["lost@latest", "--name", "alone", "--vnic-profile", "ovirtmgmt="]);
    // Its address is taken by now, by a VM that is not the one that was backed up.
    assert!(again.code != 0 && again.stdout.contains("MAC"), "{again:?}");
    let more = ["--name", "alone", "--vnic-profile", "ovirtmgmt=", "--mac", "new"];
    let alone = lab.restore_vm(&[&["lost@latest"], &more[..]].concat()).expect(0).json();
    let alone = lab.vm_state(alone["restore"]["vm"]["id"].as_str().unwrap());
    let nic = alone["_nics"].as_object().unwrap().values().next().unwrap().clone();
    assert_eq!(nic["vnic_profile"], json!(null), "{nic}");
}

#[test]
fn a_vm_whose_engine_gave_no_ovf_comes_back_from_the_other_facts() {
    let Some(lab) = Lab::start("VMs without OVF") else { return };
    let vm = lab.noisy_vm("plain", 1);
    lab.order("configure", &json!({"hide_ovf": true}));
    lab.back_up(&vm, &[]);
    lab.order("configure", &json!({"hide_ovf": false}));
    let before = lab.vm_state(&vm.id);
    let ran = lab.restore_vm(&["plain@latest", "--name", "again"]);
    // The restore point says what is missing, and so does the restore.
    assert!(ran.code == 3 && ran.stdout.contains("without an OVF"), "{ran:?}");
    let restored = &ran.json()["restore"];
    assert_same_disks(&lab, restored, &vm);
    let new = lab.vm_state(restored["vm"]["id"].as_str().unwrap());
    assert_eq!(shape(&new), shape(&before));
}

#[test]
fn everything_that_stands_in_the_way_of_a_vm_is_told_before_anything_is_made() {
    let Some(lab) = Lab::start("VMs that cannot come back") else { return };
    let vm = lab.noisy_vm("refused", 1);
    lab.back_up(&vm, &[]);
    let (before, requests) = (lab.traces(true), lab.changing_requests());
    let more = ["--cluster", "nowhere", "--storage-domain", "never", "--vnic-profile"];
    let more = [&["refused@latest"], &more[..], &["ovirtmgmt=none"]].concat();
    let ran = lab.restore_vm(&more);
    assert_eq!(ran.code, 4, "{ran:?}");
    for word in ["has a VM \\\"refused\\\"", "nowhere", "never", "none", "give another --name"] {
        assert!(ran.stdout.contains(word), "{word}: {ran:?}");
    }
    let bytes = lab.place.file("image.raw", &[7; 4096]);
    lab.run(&["backup", "image", "--vm", "image", &format!("d={bytes}")]).expect(0);
    let ran = lab.restore_vm(&["image@latest"]);
    assert!(ran.code == 1 && ran.stdout.contains("no configuration of a VM"), "{ran:?}");
    assert_eq!(lab.changing_requests(), requests);
    lab.assert_as_before(&before, "refused");
}

#[test]
fn a_vm_that_fails_half_way_leaves_the_engine_as_it_was() {
    let Some(lab) = Lab::start("VMs that fail half way") else { return };
    let vm = lab.vm("web01");
    lab.back_up(&vm, &[]);
    let before = lab.traces(true);
    let args = ["restore", "vm", "web01@latest", "--name", "half", "--json", "--connections", "2"];
    let refuse = |method: &str, path: &str| {
        let order = json!({
            "method": method, "path": path, "status": 400, "detail": "[No, for once.]",
        });
        lab.order("fail-requests", &order);
    };
    for (method, path) in [
        ("POST", "/vms$"),
        ("PUT", "/nics/"),
        ("POST", "/disks$"),
        ("POST", "/imagetransfers$"),
        ("POST", "/diskattachments$"),
        ("PUT", "/vms/[^/]*$"),
    ] {
        refuse(method, path);
        let ran = lab.run(&args);
        lab.order("clear-faults", &json!({}));
        assert!(ran.code != 0 && ran.stdout.contains("No, for once."), "{method} {path}: {ran:?}");
        lab.assert_as_before(&before, path);
    }
    // The second disk arrives with a wrong bit.
    let wrong = put(json!({"corrupt": 4096, "skip": 8}));
    let ran = ended(lab.start_slowly(&args, &[wrong]));
    lab.calm_down();
    assert!(ran.code == 1 && ran.stdout.contains("checksum of the disk is another"), "{ran:?}");
    lab.assert_as_before(&before, "a wrong bit");
    let child = lab.start_slowly(&args, &[]);
    crate::run::run("kill", ["-INT", &child.id().to_string()]);
    let ran = ended(child);
    lab.calm_down();
    assert!(ran.code != 0 && ran.stdout.contains("cancelled"), "{ran:?}");
    lab.assert_as_before(&before, "interrupted");
}

#[test]
fn a_vm_that_is_whole_keeps_its_disks_though_the_last_answer_is_lost() {
    let Some(lab) = Lab::start("VMs and lost answers") else { return };
    let vm = lab.noisy_vm("source", 2);
    lab.back_up(&vm, &[]);
    let lost =
        json!({"method": "PUT", "path": "/vms/[^/]*$", "after": true, "status": 502, "count": 99});
    lab.order("fail-requests", &lost);
    let restored = lab.restore_vm(&["source@latest", "--name", "told"]).expect(0).json();
    assert_same_disks(&lab, &restored["restore"], &vm);
    // And now the engine does not say what has become of the VM, either.
    let args = ["restore", "vm", "source@latest", "--name", "untold", "--json"];
    let child = lab.command(&args).spawn().unwrap();
    let untold = || {
        let state = lab.state();
        let mut all = state["vms"].as_object().unwrap().values();
        all.find(|vm| vm["name"] == "untold").cloned()
    };
    let is_whole = || untold().is_some_and(|vm| !vm["comment"].to_string().contains("backstop"));
    assert!(wait_until(PATIENCE, is_whole), "the VM does not come to be whole");
    let mute = json!({"method": "GET", "path": "/vms/[^/]*$", "status": 400, "detail": "[No.]"});
    lab.order("fail-requests", &mute);
    let ran = ended(child);
    lab.order("clear-faults", &json!({}));
    assert_eq!(ran.code, 1, "{ran:?}");
    let whole = untold().unwrap();
    let attached = whole["_attachments"].as_object().unwrap();
    assert_eq!(attached.len(), 1);
    assert!(attached.keys().all(|id| lab.digest(id) == lab.digest(&vm.disks[0])));
    assert_eq!(lab.run(&["doctor", "--json"]).json()["leftovers"], json!([]));
}

#[test]
fn what_a_killed_restore_of_a_vm_leaves_is_ended_and_a_whole_vm_is_left_alone() {
    let Some(lab) = Lab::start("killed restores of VMs") else { return };
    let vm = lab.vm("web01");
    lab.back_up(&vm, &[]);
    let before = lab.traces(true);
    let args = ["restore", "vm", "web01@latest", "--name", "killed", "--connections", "2"];
    for moment in 0..3 {
        let mut child = lab.start_slowly(&args, &[]);
        std::thread::sleep(Duration::from_millis(moment * 400));
        child.kill().unwrap();
        child.wait().unwrap();
        lab.calm_down();
        lab.run(&["doctor", "--clean"]);
        lab.assert_as_before(&before, "killed, then doctor");
    }
    let mut child = lab.start_slowly(&args, &[]);
    child.kill().unwrap();
    child.wait().unwrap();
    lab.calm_down();
    let restored = lab.restore_vm(&["web01@latest", "--name", "killed"]).expect(0).json();
    assert_same_disks(&lab, &restored["restore"], &vm);
    let whole = lab.traces(true);
    lab.run(&["doctor", "--clean"]);
    lab.assert_as_before(&whole, "a VM that is whole");
}
