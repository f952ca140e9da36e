use backstop::error::ErrorKind;
use backstop::ovirt::client::Engine;
use backstop::ovirt::eligibility::{Choice, Verdict, evaluate};
use backstop::ovirt::facts::{Facts, Level};
use backstop::ovirt::gather::{facts, find_vm, find_vms};
use backstop::ovirt::wire::{StorageType, TransferPhase};
use serde_json::json;

use crate::client;
use crate::engine::{FakeEngine, Reply, VM, attachment, vm};

fn gather(engine: &Engine) -> Facts {
    facts(engine, find_vm(engine, "web01").unwrap(), Vec::new()).unwrap()
}

fn judge(engine: &Engine) -> Verdict {
    evaluate(&gather(engine), &Choice::default()).unwrap()
}

#[test]
fn a_vm_is_found_by_its_exact_name_and_by_its_id() {
    let fake = FakeEngine::new().with_vm();
    let engine = client(&fake);
    for wanted in ["web01", VM] {
        assert_eq!(find_vm(&engine, wanted).unwrap().id, VM);
    }
    let search = fake.seen().iter().any(|seen| seen.target.ends_with("?search=name%3D%22web01%22"));
    assert!(search);
    for missing in ["web", "WEB01", "web*", "a\"b", "7d0c0000-0000-4000-8000-000000000002"] {
        assert_eq!(find_vm(&engine, missing).unwrap_err().kind(), ErrorKind::NotFound, "{missing}");
    }
}

#[test]
fn a_name_that_two_vms_have_is_not_guessed() {
    let fake = FakeEngine::new().with_vm();
    let mut twin = vm();
    twin["id"] = "other".into();
    fake.set("/vms", json!({"vm": [vm(), twin]}));
    let error = find_vm(&client(&fake), "web01").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("other"), "{error}");
}

#[test]
fn the_facts_are_what_the_engine_says() {
    let fake = FakeEngine::new().with_vm();
    let transfer = |disk: &str| {
        json!({"id": format!("of-{disk}"), "phase": "transferring",
                                       "direction": "download", "image": {"id": disk}})
    };
    let no_image = json!({"id": "odd", "phase": "transferring"});
    fake.set(
        "/imagetransfers",
        json!({"image_transfer": [transfer("d2"), transfer("x"), no_image]}),
    );
    let facts = gather(&client(&fake));
    assert_eq!((facts.engine, facts.level), (Level::new(4, 5), Some(Level::new(4, 7))));
    let names: Vec<_> = facts.disks.iter().map(|disk| disk.name.as_str()).collect();
    assert_eq!(names, ["system", "data"]);
    assert_eq!(facts.disks[0].size_bytes, Some(10 << 30));
    assert_eq!(facts.transfers.len(), 1);
    assert_eq!(facts.transfers[0].phase, Some(TransferPhase::Transferring));
}

#[test]
fn disks_that_the_engine_did_not_put_into_the_answer_are_asked_for() {
    let fake = FakeEngine::new().with_vm();
    let mut attachment = attachment("d1", "system");
    fake.set("/disks/d1", attachment["disk"].clone());
    attachment["disk"] = json!({"id": "d1", "href": "/ovirt-engine/api/disks/d1"});
    fake.set(&format!("/vms/{VM}/diskattachments"), json!({"disk_attachment": [attachment]}));
    let facts = gather(&client(&fake));
    assert_eq!(facts.disks[0].storage, Some(StorageType::Image));
    assert!(judge(&client(&fake)).is_eligible());
}

#[test]
fn the_level_of_a_vm_goes_before_that_of_its_cluster() {
    let fake = FakeEngine::new().with_vm();
    let mut vm = vm();
    vm["custom_compatibility_version"] = json!({"major": "4", "minor": "6"});
    fake.set_vm(&vm);
    assert_eq!(gather(&client(&fake)).level, Some(Level::new(4, 6)));
}

#[test]
fn a_script_of_the_next_start_counts() {
    let fake = FakeEngine::new().with_vm();
    let mut vm = vm();
    vm["next_run_configuration_exists"] = "true".into();
    fake.set_vm(&vm);
    vm["initialization"]["custom_script"] = "canary".into();
    fake.set(&format!("/vms/{VM}?next_run=true"), vm);
    let facts = gather(&client(&fake));
    assert!(facts.vm.next_run_has_script && !facts.vm.has_script);
    assert!(!format!("{facts:?}").contains("canary"));
}

#[test]
fn an_engine_without_backups_is_refused_by_its_version() {
    let fake = FakeEngine::new().with_vm();
    fake.set(&format!("/vms/{VM}/backups"), Reply::missing());
    fake.set("", json!({"product_info": {"version": {"major": 4, "minor": 3}}}));
    let verdict = judge(&client(&fake));
    let rules: Vec<_> = verdict.findings.iter().map(|finding| finding.rule.id()).collect();
    assert_eq!(rules, ["engine-version"]);
}

#[test]
fn gathering_changes_nothing_on_the_engine() {
    let fake = FakeEngine::new().with_vm();
    let engine = client(&fake);
    judge(&engine);
    drop(engine);
    for seen in fake.seen().iter().filter(|seen| seen.method != "GET") {
        assert_eq!(seen.method, "POST");
        assert!(seen.target.contains("/sso"), "{seen:?}");
    }
}

#[test]
fn a_search_of_the_engine_finds_vms_page_by_page() {
    let fake = FakeEngine::new().with_vm();
    let numbered = |number: usize| {
        let mut vm = vm();
        vm["id"] = json!(format!("vm-{number}"));
        vm
    };
    fake.once("/vms", json!({"vm": (0..100).map(numbered).collect::<Vec<_>>()}));
    fake.once("/vms", json!({"vm": (99..102).map(numbered).collect::<Vec<_>>()}));
    let engine = client(&fake);
    assert_eq!(find_vms(&engine, "name=web*").unwrap().len(), 102);
    let pages = ["name%3Dweb%2A%20page%201&max=100", "name%3Dweb%2A%20page%202&max=100"];
    let asked = |page: &&str| fake.seen().iter().any(|seen| seen.target.ends_with(*page));
    assert!(pages.iter().all(asked), "{:?}", fake.seen());
    fake.set("/vms", json!({}));
    assert_eq!(find_vms(&engine, "name=no*").unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(find_vms(&engine, VM).unwrap().len(), 1);
}
