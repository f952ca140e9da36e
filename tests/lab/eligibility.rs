//! The rules on VMs of a simulated engine: a witness for every rule and for every corner, and the
//! engine's own record that nothing was changed.

use serde_json::{Value, json};

use crate::lab::Lab;

/// Rule, the attribute that decided, its value.
type Found = (&'static str, &'static str, &'static str);

/// One VM, made for one question.
struct Case {
    name: &'static str,
    vm: Value,
    /// Operations of the lab; `VM` and `DISK` stand for the ids of the VM and of its first disk.
    orders: Vec<(&'static str, Value)>,
    args: &'static [&'static str],
    code: i32,
    found: &'static [Found],
}

fn case(name: &'static str, vm: Value, code: i32, found: &'static [Found]) -> Case {
    Case { name, vm, orders: Vec::new(), args: &[], code, found }
}

impl Case {
    fn after(mut self, operation: &'static str, given: Value) -> Self {
        self.orders.push((operation, given));
        self
    }

    fn with(self, args: &'static [&'static str]) -> Self {
        Self { args, ..self }
    }
}

/// A VM with one disk that has these members.
fn disk(members: Value) -> Value {
    let mut disk = json!({"size": 8_388_608, "name": "d1"});
    disk.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    json!({"disks": [disk]})
}

/// A VM with one plain disk, and these members.
fn vm(members: Value) -> Value {
    let mut vm = disk(json!({}));
    vm.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    vm
}

fn disks() -> Vec<Case> {
    let storage = |name, kind, found| {
        case(name, disk(json!({"storage_type": kind, "format": "raw"})), 4, found)
    };
    vec![
        case("plain", vm(json!({})), 0, &[]),
        case("raw", disk(json!({"format": "raw"})), 0, &[]),
        case("preallocated qcow2", disk(json!({"sparse": false})), 0, &[]),
        case("read-only attachment", disk(json!({"attached": {"read_only": true}})), 0, &[]),
        case("unknown format", disk(json!({})), 4, &[("disk-format", "disk.format", "vmdk")])
            .after("set-disk", json!({"disk": "DISK", "format": "vmdk"})),
        storage("lun", "lun", &[("disk-storage", "disk.storage_type", "lun"), NONE_LEFT])
            .with(&["--skip-ineligible"]),
        storage("cinder", "cinder", &[("disk-storage", "disk.storage_type", "cinder")]),
        storage(
            "managed block",
            "managed_block_storage",
            &[("disk-storage", "disk.storage_type", "managed_block_storage")],
        ),
        storage("unknown storage", "tape", &[("disk-storage", "disk.storage_type", "tape")]),
        case(
            "shareable",
            disk(json!({"format": "raw", "shareable": true, "attached": {"read_only": true}})),
            4,
            &[("disk-storage", "disk.shareable", "true")],
        ),
        case(
            "cd image",
            disk(json!({"format": "raw", "content_type": "iso"})),
            4,
            &[("disk-storage", "disk.content_type", "iso")],
        ),
    ]
}

fn disk_states() -> Vec<Case> {
    vec![
        case(
            "inactive",
            disk(json!({"attached": {"active": false}})),
            4,
            &[("disk-state", "disk_attachment.active", "false")],
        ),
        case("locked", disk(json!({})), 4, &[("disk-state", "disk.status", "locked")])
            .after("set-disk", json!({"disk": "DISK", "status": "locked"}))
            .with(&["--skip-ineligible"]),
        case("illegal", disk(json!({})), 4, &[("disk-state", "disk.status", "illegal")])
            .after("set-disk", json!({"disk": "DISK", "status": "illegal"})),
        case("unknown disk state", disk(json!({})), 4, &[("disk-state", "disk.status", "odd")])
            .after("set-disk", json!({"disk": "DISK", "status": "odd"})),
        case(
            "illegal image of a snapshot",
            vm(json!({"has_illegal_images": true})),
            4,
            &[("disk-state", "has_illegal_images", "true")],
        ),
        case("no disks", json!({"disks": []}), 4, &[("no-disks", "disk_attachments", "0")]),
        case("excluded", vm(json!({})), 4, &[("no-disks", "disk_attachments", "1")])
            .with(&["--exclude-disk", "d1"]),
        two_disks("left out", 3, &[("disk-storage", "disk.storage_type", "lun")])
            .with(&["--skip-ineligible"]),
        two_disks("chosen by name", 0, &[]).with(&["--disk", "d1"]),
    ]
}

const NONE_LEFT: Found = ("no-disks", "disk_attachments", "1");

fn two_disks(name: &'static str, code: i32, found: &'static [Found]) -> Case {
    let lun = json!({"size": 8_388_608, "name": "lun", "storage_type": "lun"});
    case(name, json!({"disks": [{"size": 8_388_608, "name": "d1"}, lun]}), code, found)
}

fn work() -> Vec<Case> {
    let transfer = |name, direction, found| {
        case(name, vm(json!({})), 4, found)
            .after("foreign-transfer", json!({"disk": "DISK", "direction": direction}))
            .after("set-disk", json!({"disk": "DISK", "status": "ok"}))
    };
    vec![
        case("backup of others", vm(json!({})), 4, &[("backup-running", "backup.phase", "ready")])
            .after("foreign-backup", json!({"vm": "VM"})),
        case("unknown phase", vm(json!({})), 4, &[("backup-running", "backup.phase", "odd")])
            .after("foreign-backup", json!({"vm": "VM", "phase": "odd"})),
        case("backup that is over", vm(json!({})), 0, &[])
            .after("foreign-backup", json!({"vm": "VM", "phase": "succeeded"})),
        transfer(
            "download of others",
            "download",
            &[("backup-running", "image_transfer.phase", "transferring")],
        ),
        transfer(
            "upload of others",
            "upload",
            &[("restore-running", "image_transfer.phase", "transferring")],
        ),
        case(
            "hybrid backup",
            vm(json!({})),
            4,
            &[("backup-running", "snapshot.snapshot_status", "ok")],
        )
        .after("set-snapshot", json!({"vm": "VM", "description": "Auto-generated for Backup VM"})),
    ]
}

fn machines() -> Vec<Case> {
    let script = json!({"initialization": {"custom_script": "runcmd: [canary]"}});
    let next = json!({"next_run_configuration_exists": true, "_next_run": script.clone()});
    vec![
        case(
            "hosted engine",
            vm(json!({"origin": "hosted_engine"})),
            4,
            &[("hosted-engine", "origin", "hosted_engine")],
        ),
        case(
            "managed hosted engine",
            vm(json!({"origin": "managed_hosted_engine"})),
            4,
            &[("hosted-engine", "origin", "managed_hosted_engine")],
        ),
        case(
            "preview",
            vm(json!({})),
            4,
            &[
                ("snapshot-preview", "snapshot.snapshot_status", "in_preview"),
                ("snapshot-preview", "snapshot.snapshot_type", "preview"),
            ],
        )
        .after("preview", json!({"vm": "VM"})),
        case("script", vm(script.clone()), 4, &[(SCRIPT, "initialization.custom_script", "(set)")]),
        case("redacted", vm(script), 0, &[(SCRIPT, "initialization.custom_script", "(set)")])
            .with(&["--cloud-init", "redact"]),
        case(
            "script of the next run",
            vm(next),
            4,
            &[(SCRIPT, "next_run.initialization.custom_script", "(set)")],
        ),
    ]
}

fn vm_states() -> Vec<Case> {
    let state = |status: &'static str, found| {
        case(status, vm(json!({"status": status})), if status == "up" { 0 } else { 4 }, found)
    };
    vec![
        state("up", &[]),
        state("paused", &[("vm-state", "status", "paused")]),
        state("suspended", &[("vm-state", "status", "suspended")]),
        state("migrating", &[("vm-state", "status", "migrating")]),
        state("image_locked", &[("vm-state", "status", "image_locked")]),
        state("powering_down", &[("vm-state", "status", "powering_down")]),
        state("not_responding", &[("vm-state", "status", "not_responding")]),
        state("unknown", &[("vm-state", "status", "unknown")]),
        state("levitating", &[("vm-state", "status", "levitating")]),
        case(
            "running without a state",
            vm(json!({"status": "up", "stateless": true})),
            4,
            &[("vm-state", "stateless", "true")],
        ),
        case("stateless and down", vm(json!({"stateless": true})), 0, &[]),
        case(
            "stateless snapshot",
            vm(json!({})),
            4,
            &[("vm-state", "snapshot.snapshot_type", "stateless")],
        )
        .after("set-snapshot", json!({"vm": "VM", "snapshot_type": "stateless"})),
        case("snapshot at work", vm(json!({})), 4, &[LOCKED_SNAPSHOT])
            .after("set-snapshot", json!({"vm": "VM", "snapshot_status": "locked"})),
        case("old level", vm(json!({"cluster": "Old"})), 4, &[OLD]),
        case("old level, running", vm(json!({"cluster": "Old", "status": "up"})), 0, &[]),
        case(
            "everything at once",
            vm(json!({"status": "paused", "origin": "hosted_engine", "cluster": "Old",
                      "initialization": {"custom_script": "x"}})),
            4,
            &[
                ("disk-state", "disk.status", "illegal"),
                ("hosted-engine", "origin", "hosted_engine"),
                (SCRIPT, "initialization.custom_script", "(set)"),
                ("vm-state", "status", "paused"),
            ],
        )
        .after("set-disk", json!({"disk": "DISK", "status": "illegal"})),
    ]
}

const SCRIPT: &str = "cloud-init-script";
const LOCKED_SNAPSHOT: Found = ("vm-state", "snapshot.snapshot_status", "locked");
const OLD: Found = ("engine-version", "cluster.version", "4.4");

/// Makes the VM of a case and looks at it.
fn try_case(lab: &Lab, case: &Case, number: usize) -> Result<(), String> {
    let mut vm = case.vm.clone();
    vm["name"] = json!(format!("case{number:02}"));
    let made = lab.order("add-vm", &vm);
    for (operation, given) in &case.orders {
        let text = given.to_string().replace("\"VM\"", &made["id"].to_string());
        let text = text.replace("\"DISK\"", &made["disks"][0].to_string());
        lab.order(operation, &serde_json::from_str(&text).unwrap());
    }
    let name = vm["name"].as_str().unwrap();
    let ran = lab.run(&[&["eligibility", name, "--json"], case.args].concat());
    let document = ran.json();
    let found = document["findings"].as_array().cloned().unwrap_or_default();
    let text = |finding: &Value, key: &str| finding[key].as_str().unwrap().to_owned();
    let is_empty = |finding: &Value| text(finding, "remedy").is_empty();
    if found.iter().any(is_empty) || ran.stdout.contains("canary") {
        return Err(format!("{}: no remedy, or a secret: {document}", case.name));
    }
    let as_found = |one: &Value| ["rule", "attribute", "value"].map(|key| text(one, key));
    let mut found: Vec<_> = found.iter().map(as_found).collect();
    let mut expected: Vec<_> =
        case.found.iter().map(|f| [f.0, f.1, f.2].map(str::to_owned)).collect();
    found.sort();
    expected.sort();
    match (ran.code, &found) == (case.code, &expected) {
        true => Ok(()),
        false => {
            let told = format!("{} {found:?} instead of {} {expected:?}", ran.code, case.code);
            Err(format!("{}: {told}", case.name))
        }
    }
}

#[test]
fn every_rule_and_every_corner_has_a_witness_and_no_request_changes_anything() {
    let Some(lab) = Lab::start("eligibility") else { return };
    let cases: Vec<_> =
        [disks(), disk_states(), work(), machines(), vm_states()].into_iter().flatten().collect();
    let tried = cases.iter().zip(1..).map(|(case, number)| try_case(&lab, case, number));
    let failed: Vec<_> = tried.filter_map(Result::err).collect();
    assert!(failed.is_empty(), "\n{}", failed.join("\n"));
    let rules = lab.run(&["eligibility", "case01", "--json"]).json()["rules"].clone();
    for rule in rules.as_array().unwrap() {
        let has_witness = cases.iter().any(|case| case.found.iter().any(|f| f.0 == rule["rule"]));
        assert!(has_witness, "no case for {rule}");
    }
    assert_eq!(lab.changing_requests(), [""; 0]);
}

#[test]
fn the_vms_of_the_inventory_are_judged_as_their_descriptions_say() {
    let Some(lab) = Lab::start("eligibility of the inventory") else { return };
    let expected = [
        ("web01", 0, ""),
        ("db01", 0, ""),
        ("modern01", 0, ""),
        ("readonly01", 0, ""),
        ("old01", 4, "engine-version"),
        ("mixed01", 4, "disk-storage disk-storage disk-storage disk-storage"),
        ("HostedEngine", 4, "disk-storage hosted-engine"),
        ("preview01", 4, "snapshot-preview snapshot-preview"),
        ("worker", 4, "cloud-init-script"),
        ("idle01", 4, "disk-state"),
        ("illegal01", 4, "disk-state"),
        ("diskless01", 4, "no-disks"),
    ];
    let judge = |vm: &str| {
        let ran = lab.run(&["eligibility", vm, "--json"]);
        let document = ran.json();
        let found = document["findings"].as_array().unwrap();
        let rules: Vec<_> = found.iter().map(|one| one["rule"].as_str().unwrap()).collect();
        (ran.code, rules.join(" "))
    };
    let all = |lab: &Lab| {
        for (vm, code, rules) in expected {
            assert_eq!(judge(vm), (code, rules.to_owned()), "{vm} of {}", lab.info("dir"));
        }
    };
    all(&lab);
    // Another release sends members that this one does not know.
    lab.order("configure", &json!({"extra_members": true}));
    all(&lab);
    // A session that ends between two requests is begun again.
    lab.order("configure", &json!({"token_requests": 3}));
    assert_eq!(judge("web01").0, 0);
    lab.order("configure", &json!({"token_requests": null, "engine_version": "4.3.11"}));
    assert_eq!(judge("web01"), (4, "engine-version".to_owned()));
    let state = lab.state();
    let vms = state["vms"].as_object().unwrap();
    assert_eq!(vms.len(), expected.len(), "a VM of the inventory is not judged here");
    assert_eq!(lab.changing_requests(), [""; 0]);
}
