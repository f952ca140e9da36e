use backstop::format::vm_config::{Named, VmConfig};
use backstop::ovirt::configuration::{Secrets, capture};
use serde_json::json;

use crate::client;
use crate::engine::{FakeEngine, Reply, VM, vm};

/// A secret that must be in nothing that is kept or shown.
const CANARY: &str = "c4n4ry";

/// The VM with everything that an engine shows of it.
fn whole(inner: &str) -> serde_json::Value {
    let mut vm = vm();
    let ovf = format!(
        "<?xml version='1.0'?><ovf:Envelope xmlns:ovf=\"x\">{inner}<Name>web01</Name>\
         </ovf:Envelope>"
    );
    vm["initialization"] = json!({
        "custom_script": CANARY, "root_password": CANARY, "authorized_ssh_keys": CANARY,
        "windows_license_key": CANARY, "configuration": {"type": "ovf", "data": ovf},
    });
    vm["payloads"] = json!({"payload": [{"files": {"file": [{"content": CANARY}]}}]});
    vm["memory"] = "2147483648".into();
    vm["something_new"] = CANARY.into();
    vm["cluster"] = json!({"id": "c"});
    vm
}

fn engine_with(vm: &serde_json::Value) -> FakeEngine {
    let fake = FakeEngine::new().with_vm();
    fake.set(&format!("/vms/{VM}"), vm.clone());
    fake.set("/clusters/c", json!({"id": "c", "name": "Old"}));
    let nic = json!({"id": "n", "name": "nic1", "interface": "virtio", "linked": "true",
        "plugged": "false", "mac": {"address": "56:6f:00:00:00:01"}, "vnic_profile": {"id": "p"}});
    fake.set(&format!("/vms/{VM}/nics"), json!({"nic": [nic]}));
    fake.set("/vnicprofiles/p", json!({"id": "p", "name": "gold", "network": {"id": "w"}}));
    fake.set("/networks/w", json!({"id": "w", "name": "lan"}));
    fake
}

#[test]
fn a_configuration_has_what_a_restore_needs_and_no_secret() {
    let mut vm = whole(&format!("<VmInit customScript=\"{CANARY}\" hostname=\"web\"/>"));
    vm["tpm_enabled"] = "true".into();
    vm["bios"] = json!({"type": "q35_secure_boot"});
    let config = capture(&client(&engine_with(&vm)), VM, Secrets::TakenOut).unwrap();
    let text = String::from_utf8(config.encode()).unwrap();
    assert!(!text.contains(CANARY), "{text}");
    assert!(!format!("{config:?}").contains(CANARY));
    assert_eq!(VmConfig::decode(text.as_bytes()), Ok(config.clone()));

    let named = |id: &str, name: &str| Some(Named { id: id.to_owned(), name: name.to_owned() });
    assert_eq!(config.vm.text(&["memory"]), Some("2147483648"));
    assert_eq!(config.cluster, named("c", "Old"));
    let nic = &config.nics[0];
    assert_eq!((&nic.profile, &nic.network), (&named("p", "gold"), &named("w", "lan")));
    assert_eq!((nic.mac.as_deref(), nic.plugged), (Some("56:6f:00:00:00:01"), false));
    let disks: Vec<_> = config.disks.iter().map(|disk| disk.name.as_str()).collect();
    assert_eq!(disks, ["system", "data"]);
    assert!(config.ovf.unwrap().contains("<VmInit hostname=\"web\"/><Name>web01</Name>"));
    assert_eq!(config.taken_out, ["the script of the first start"]);
    assert!(config.warnings[0].contains("TPM") && config.warnings[1].contains("NVRAM"));
    assert_eq!(config.warnings.len(), 2);
}

#[test]
fn secrets_are_kept_where_that_is_asked_for() {
    let vm = whole(&format!("<VmInit customScript=\"{CANARY}\" hostname=\"web\"/>"));
    let config = capture(&client(&engine_with(&vm)), VM, Secrets::Kept).unwrap();
    assert!(config.ovf.unwrap().contains(CANARY));
    assert!(config.taken_out.is_empty());
}

#[test]
fn an_ovf_that_is_missing_for_a_moment_is_waited_for() {
    let vm = whole("");
    let fake = engine_with(&vm);
    let mut without = vm.clone();
    without["initialization"] = json!({"custom_script": CANARY});
    fake.once(&format!("/vms/{VM}"), Reply::json(200, &without));
    let config = capture(&client(&fake), VM, Secrets::TakenOut).unwrap();
    assert!(config.ovf.is_some() && config.warnings.is_empty(), "{:?}", config.warnings);
}

#[test]
fn an_ovf_that_does_not_read_is_not_stored_and_that_is_told() {
    let vm = whole(&format!("<VmInit customScript=\"{CANARY}\">"));
    let config = capture(&client(&engine_with(&vm)), VM, Secrets::TakenOut).unwrap();
    assert_eq!(config.ovf, None);
    assert!(!String::from_utf8(config.encode()).unwrap().contains(CANARY));
    assert!(config.warnings[0].contains("without an OVF"), "{:?}", config.warnings);
}
