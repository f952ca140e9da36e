//! `engine trust` and `engine test` on certificates, daemons and addresses that are real.

use std::fs;

use serde_json::{Value, json};

use crate::lab::Lab;

fn fingerprint(lab: &Lab) -> String {
    let digits = lab.info("internal_ca_sha256").to_uppercase();
    let pairs: Vec<_> = digits.as_bytes().chunks(2).map(String::from_utf8_lossy).collect();
    pairs.join(":")
}

/// Writes a configuration that finds the daemons on the lab's ports.
fn map_ports(lab: &Lab, v4: &str, transfer: &str) {
    let v6 = lab.daemon("v6").map(|v6| format!("\"::1\" = \"{v6}\"\n")).unwrap_or_default();
    let proxy = lab.daemon("proxy").unwrap();
    lab.configure(&format!(
        "transfer = \"{transfer}\"\n[engine.host_addresses]\n\"127.0.0.1\" = \"{v4}\"\n{v6}\
         \"localhost\" = \"{proxy}\""
    ));
}

#[test]
fn the_internal_authority_is_trusted_by_its_fingerprint_and_by_no_other() {
    let Some(lab) = Lab::start("engine trust") else { return };
    let pinned = lab.place.path("engine-ca.pem");
    fs::remove_file(&pinned).unwrap();
    let wrong = "ab:".repeat(31) + "ab";
    lab.run(&["engine", "trust", "--fingerprint", &wrong]).expect(1);
    assert!(!pinned.exists());
    let ran = lab.run(&["engine", "trust", "--json", "--fingerprint", &fingerprint(&lab)]);
    assert_eq!(ran.expect(0).json()["trust"]["changed"], true);
    let text = fs::read_to_string(&pinned).unwrap();
    let internal = fs::read_to_string(lab.info("internal_ca_file")).unwrap();
    assert!(text.contains(internal.trim()), "{text}");
    assert_eq!(lab.changing_requests(), [""; 0]);
}

#[test]
fn every_step_of_the_way_is_proven_and_what_breaks_is_named() {
    let Some(lab) = Lab::start("engine test") else { return };
    let v4 = lab.daemon("v4").unwrap().to_owned();
    let steps = |code: i32| -> Vec<Value> {
        let ran = lab.run(&["engine", "test", "--json"]).expect(code);
        ran.json()["steps"].as_array().unwrap().iter().map(|step| step["outcome"].clone()).collect()
    };
    map_ports(&lab, &v4, "direct");
    assert_eq!(steps(0), ["ok"; 6]);
    map_ports(&lab, "127.0.0.1:1", "auto");
    assert_eq!(steps(3), ["ok", "ok", "ok", "ok", "ok", "warning"]);
    map_ports(&lab, &v4, "proxy");
    lab.order("kill", &json!({"what": "imageio-proxy"}));
    assert_eq!(steps(1), ["ok", "ok", "ok", "ok", "ok", "failed"]);
    // The authority of the API does not sign hosts.
    map_ports(&lab, &v4, "direct");
    fs::copy(lab.info("api_ca_file"), lab.place.path("engine-ca.pem")).unwrap();
    assert_eq!(steps(1), ["ok", "ok", "ok", "ok", "failed", "failed"]);
    // No old certificate is remembered: the file is read again for every connection.
    lab.order("renew-authority", &json!({"name": "internal-ca"}));
    fs::copy(lab.info("internal_ca_file"), lab.place.path("engine-ca.pem")).unwrap();
    assert_eq!(steps(0), ["ok"; 6]);
    lab.order("configure", &json!({"engine_version": "4.3.11"}));
    assert_eq!(steps(1), ["ok", "ok", "failed", "ok", "ok", "ok"]);
    assert_eq!(lab.changing_requests(), [""; 0]);
}
