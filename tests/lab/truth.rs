//! Backups of VMs through a real transfer daemon: what is stored equals the disks at the moment of
//! the backup, byte for byte, and only what is needed crosses the wire.

use serde_json::{Value, json};

use crate::lab::Lab;
use crate::support::MIB;
use crate::vm::Vm;

/// Most bytes that one request and its answer cost beside the data.
const HEADS: u64 = 1200;

/// How each disk of the newest point was read, by name: `full` or `incremental`, and why.
fn read_as(lab: &Lab, vm: &Vm, disk: &str) -> (String, Value) {
    let point = lab.newest(vm);
    let disks = point["disks"].as_array().unwrap();
    let disk = disks.iter().find(|one| one["name"] == disk).unwrap();
    let engine = &disk["engine"];
    (engine["read"].as_str().unwrap().to_owned(), engine["full_reason"].clone())
}

/// Whether the engine was asked for what had changed since the point before.
fn began_from_a_checkpoint(lab: &Lab, vm: &Vm) -> bool {
    lab.newest(vm)["engine"]["from_checkpoint_id"].is_string()
}

fn write(lab: &Lab, disk: &str, places: &[u64], pattern: u8) {
    let changes: Vec<_> = places
        .iter()
        .map(|offset| json!({"offset": offset, "length": 4096, "pattern": pattern}))
        .collect();
    lab.order("write", &json!({"disk": disk, "changes": changes}));
}

#[test]
fn a_vm_that_is_down_is_stored_in_full_and_then_by_its_changes() {
    let Some(lab) = Lab::start("backup of a VM that is down") else { return };
    let vm = lab.vm("web01");
    lab.back_up(&vm, &[]);
    lab.assert_stored(&vm);
    let disk = lab.order("digest", &json!({"disk": "web01_Disk1"}));
    assert_eq!(disk["bitmaps"].as_object().unwrap().len(), 1, "one checkpoint: {disk}");
    let mib = MIB as u64;
    write(&lab, "web01_Disk1", &[0, 3 * mib - 4096, 9 * mib + 512, 64 * mib - 4096], 0x77);
    write(&lab, "web01_Disk2", &[5 * mib], 0x78);
    lab.order(
        "write",
        &json!({"disk": "web01_Disk1", "changes": [
            {"op": "zero", "offset": 33 * mib, "length": 2 * mib},
            {"op": "discard", "offset": 16 * mib, "length": mib}]}),
    );
    lab.back_up(&vm, &[]);
    lab.assert_stored(&vm);
    assert!(began_from_a_checkpoint(&lab, &vm));
    assert_eq!(read_as(&lab, &vm, "web01_Disk1").0, "incremental");
    assert_eq!(read_as(&lab, &vm, "web01_Disk2").0, "full", "RAW disks have no bitmaps");
    // One more disk is read in full, the others by their changes.
    let made = lab.order(
        "add-disk",
        &json!({"vm": "web01", "name": "web01_Disk3", "size": 8 * mib, "backup": "incremental"}),
    );
    let mut vm = vm;
    vm.disks.push(made["id"].as_str().unwrap().to_owned());
    write(&lab, "web01_Disk1", &[mib], 0x79);
    lab.back_up(&vm, &[]);
    lab.assert_stored(&vm);
    assert!(began_from_a_checkpoint(&lab, &vm));
    let (read, reason) = read_as(&lab, &vm, "web01_Disk3");
    assert_eq!((read.as_str(), reason.is_string()), ("full", true));
    // A bitmap that is lost, and a checkpoint that the engine has dropped.
    let checkpoint = lab.newest(&vm)["engine"]["checkpoint_id"].clone();
    lab.order("drop-bitmap", &json!({"disk": "web01_Disk1", "bitmap": checkpoint}));
    write(&lab, "web01_Disk1", &[2 * mib], 0x7a);
    lab.back_up(&vm, &[]);
    lab.assert_stored(&vm);
    assert!(!began_from_a_checkpoint(&lab, &vm));
    let new = lab.newest(&vm)["stats"]["new_plain_bytes"].as_u64().unwrap();
    assert!(new <= mib, "what is there already costs no space: {new}");
    let checkpoint = lab.newest(&vm)["engine"]["checkpoint_id"].clone();
    let invalid = json!({"vm": "web01", "checkpoint": checkpoint, "state": "invalid"});
    lab.order("set-checkpoint", &invalid);
    lab.back_up(&vm, &[]);
    lab.assert_stored(&vm);
    assert!(!began_from_a_checkpoint(&lab, &vm));
}

#[test]
fn a_running_vm_is_stored_as_it_was_at_one_instant_while_it_writes() {
    let Some(lab) = Lab::start("backup of a running VM") else { return };
    let vm = lab.vm("db01");
    lab.order("configure", &json!({"references": true}));
    let turn_on = |lab: &Lab| {
        lab.order("start-vm", &json!({"vm": "db01"}));
        lab.order("guest-writer", &json!({"vm": "db01"}));
    };
    turn_on(&lab);
    for is_incremental in [false, true, true] {
        lab.back_up(&vm, &[]);
        lab.assert_instant_stored(&vm);
        assert_eq!(began_from_a_checkpoint(&lab, &vm), is_incremental);
    }
    // The host dies, and what the bitmaps in its memory knew.
    lab.order("stop-vm", &json!({"vm": "db01", "crash": true}));
    turn_on(&lab);
    lab.back_up(&vm, &[]);
    lab.assert_instant_stored(&vm);
    let (read, reason) = read_as(&lab, &vm, "db01_Disk1");
    assert_eq!((read.as_str(), reason.is_string()), ("full", true));
    lab.back_up(&vm, &[]);
    lab.assert_instant_stored(&vm);
    assert!(began_from_a_checkpoint(&lab, &vm));
    let writes = lab.order("guest-writer", &json!({"vm": "db01", "on": false}));
    assert!(writes["writes"].as_u64() > Some(50), "{writes}");
}

#[test]
fn a_vm_of_a_new_cluster_is_read_from_a_snapshot_that_goes_again() {
    let Some(lab) = Lab::start("hybrid backup") else { return };
    let vm = lab.vm("modern01");
    let before = lab.traces(false);
    for pattern in [1, 2] {
        write(&lab, "modern01_Disk1", &[7 * MIB as u64], pattern);
        lab.back_up(&vm, &[]);
        lab.assert_stored(&vm);
    }
    assert!(began_from_a_checkpoint(&lab, &vm));
    assert_eq!(lab.traces(false), before);
}

/// Bytes that a ticket's answers have brought, and the ranges that were asked for.
fn crossed(lab: &Lab) -> (u64, Vec<(u64, u64)>, u64) {
    let seen = lab.order("transfer-requests", &json!({}));
    let requests = seen["requests"].as_array().unwrap();
    let bytes = |one: &Value| one["received"].as_u64().unwrap() + one["sent"].as_u64().unwrap();
    let range = |one: &Value| {
        let (first, last) = one["range"].as_str()?.strip_prefix("bytes=")?.split_once('-')?;
        Some((first.parse().unwrap(), last.parse::<u64>().unwrap() + 1))
    };
    let ranges = requests.iter().filter_map(range).collect();
    (requests.iter().map(bytes).sum(), ranges, requests.len() as u64)
}

#[test]
fn no_byte_crosses_the_wire_that_is_zero_or_unchanged() {
    let Some(lab) = Lab::start("bytes over the wire") else { return };
    let vm = lab.noisy_vm("wire", 64);
    let mib = MIB as u64;
    lab.order("watch-transfers", &json!({}));
    lab.back_up(&vm, &[]);
    let (bytes, ranges, requests) = crossed(&lab);
    assert!(bytes >= 64 * mib, "{bytes} bytes are not the data");
    assert!(bytes <= 64 * mib * 105 / 100 + requests * HEADS, "{bytes} of {}", 64 * mib);
    assert!(ranges.iter().all(|(_, end)| *end <= 64 * mib), "{ranges:?}");
    assert_only_changes_cross(&lab, &vm);
    lab.assert_stored(&vm);
}

/// One percent of the disk changes, in runs of 64 KiB, which is what a bitmap counts in.
fn assert_only_changes_cross(lab: &Lab, vm: &Vm) {
    let mib = MIB as u64;
    let dirty: Vec<_> = (0..20).map(|n| n * 3 * mib + 65_536 * (n % 16)).collect();
    let changes: Vec<_> = dirty
        .iter()
        .map(|offset| json!({"offset": offset, "length": 65_536, "pattern": 0x5a}))
        .collect();
    lab.order("write", &json!({"disk": vm.disks[0], "changes": changes}));
    lab.order("watch-transfers", &json!({}));
    lab.back_up(vm, &[]);
    let (bytes, ranges, requests) = crossed(lab);
    let needed = 20 * 65_536;
    assert!(bytes >= needed, "{bytes} bytes are not the changes");
    assert!(bytes <= needed * 105 / 100 + requests * HEADS, "{bytes} of {needed}: {ranges:?}");
    let is_dirty = |(start, end): &(u64, u64)| {
        dirty.iter().any(|place| place <= start && *end <= place + 65_536)
    };
    assert!(ranges.iter().all(is_dirty), "{ranges:?}");
    assert_eq!(read_as(lab, vm, "system").0, "incremental");
}
