use serde_json::{Value, json};

use crate::engine::{FakeEngine, PASSWORD, VM, attachment, vm};
use crate::engine_commands::{configure, run};
use crate::support::{Lab, MIB, Ran, noise};

struct Site {
    lab: Lab,
    fake: FakeEngine,
    config: String,
}

impl Site {
    fn new() -> Self {
        let (lab, fake) = (Lab::empty(), FakeEngine::new().with_vm());
        let config = configure(&lab, &fake.url(), "");
        Self { lab, fake, config }
    }

    fn judge(&self, more: &[&str]) -> Ran {
        run(&self.lab, &self.config, &[&["eligibility", "web01"], more].concat())
    }

    fn json(&self, more: &[&str]) -> (i32, Value) {
        let ran = self.judge(&[&["--json"], more].concat());
        (ran.code, ran.json())
    }

    fn set_disks(&self, disks: &[Value]) {
        self.fake.set(&format!("/vms/{VM}/diskattachments"), json!({"disk_attachment": disks}));
    }
}

fn lun() -> Value {
    json!({"id": "d3", "active": "true", "disk": {"id": "d3", "name": "lun",
           "storage_type": "lun", "shareable": "false", "lun_storage": {"type": "iscsi"}}})
}

fn told(document: &Value) -> Vec<&str> {
    let findings = document["findings"].as_array().unwrap();
    findings.iter().map(|finding| finding["rule"].as_str().unwrap()).collect()
}

#[test]
fn a_vm_that_nothing_speaks_against_can_be_backed_up() {
    let site = Site::new();
    let (code, document) = site.json(&[]);
    assert_eq!((code, &document["eligible"]), (0, &json!(true)), "{document}");
    assert_eq!(document["rules"].as_array().unwrap().len(), 11);
    let ran = site.judge(&[]).expect(0);
    assert!(ran.stdout.starts_with("VM web01 can be backed up\n"), "{ran:?}");
}

#[test]
fn a_refusal_names_everything_at_once_and_has_an_exit_code_of_its_own() {
    let site = Site::new();
    site.set_disks(&[attachment("d1", "system"), lun()]);
    let backup = json!({"id": "B", "phase": "ready", "description": "job 42",
                        "creation_date": 1_767_225_600_000_u64});
    site.fake.set(&format!("/vms/{VM}/backups"), json!({"backup": [backup]}));
    let (code, document) = site.json(&[]);
    assert_eq!((code, told(&document)), (4, vec!["disk-storage", "backup-running"]));
    assert_eq!(document["findings"][0]["attribute"], "disk.storage_type");
    assert_eq!(document["findings"][0]["value"], "lun");
    let ran = site.judge(&[]).expect(4);
    assert!(ran.stdout.contains("disk lun: disk.storage_type = lun\n"), "{ran:?}");
    assert!(ran.stdout.contains("since 2026-01-01T00:00:00Z, described as \"job 42\""), "{ran:?}");
    assert_eq!(ran.stderr, "");
}

#[test]
fn disks_are_chosen_by_name_or_left_out_by_rule() {
    let site = Site::new();
    site.set_disks(&[attachment("d1", "system"), lun()]);
    let (code, document) = site.json(&["--skip-ineligible"]);
    assert_eq!((code, &document["incomplete"]), (3, &json!(true)));
    assert_eq!(document["problems"].as_array().unwrap().len(), 1);
    for chosen in [["--exclude-disk", "lun"], ["--disk", "d1"]] {
        let (code, document) = site.json(&chosen);
        assert_eq!((code, &document["disks"][1]["taken"]), (0, &json!("not_chosen")));
    }
    let (code, document) = site.json(&["--disk", "other"]);
    assert_eq!((code, &document["error"]["kind"]), (1, &json!("not_found")));
    site.judge(&["--disk", "d1", "--exclude-disk", "d3"]).expect(2);
}

#[test]
fn a_backup_of_ours_counts_where_the_repository_is_named() {
    let site = Site::new();
    site.lab.run(["init"]).expect(0);
    let repo = site.lab.repo();
    let repo = repo.to_str().unwrap();
    site.judge(&["--repo", repo]).expect(0);
    let mut stream = site.lab.start_stream("web01", &[]);
    stream.feed(&noise(2 * MIB, 1));
    let ran = site.judge(&["--repo", repo]).expect(4);
    assert!(ran.stdout.contains("vm_lock = held"), "{ran:?}");
    site.judge(&[]).expect(0);
    stream.finish().expect(0);
    site.judge(&["--repo", repo]).expect(0);
}

#[test]
fn secrets_are_in_no_answer_no_error_and_no_log() {
    let site = Site::new();
    let mut vm = vm();
    vm["initialization"] = json!({"custom_script": "runcmd: canary-script",
        "root_password": "canary-root", "authorized_ssh_keys": "canary-key",
        "configuration": {"type": "ovf", "data": "<VmInit customScript='canary-ovf'/>"}});
    site.fake.set_vm(&vm);
    let args: [&[&str]; 5] =
        [&[], &["--json"], &["--verbose"], &["--cloud-init", "redact"], &["--disk", "no"]];
    for args in args {
        let ran =
            site.judge(&[args, &["--verbose"][..usize::from(args != ["--verbose"])]].concat());
        let all = format!("{}{}", ran.stdout, ran.stderr);
        assert!(all.contains("GET /ovirt-engine/api"), "{all}");
        for secret in ["canary", PASSWORD, "token-"] {
            assert!(!all.contains(secret), "{secret}: {all}");
        }
    }
    // An answer that does not read is not repeated either.
    site.fake.set(&format!("/vms/{VM}/backups"), json!({"backup": "canary-backup"}));
    let ran = site.judge(&["--verbose"]).expect(1);
    assert!(!ran.stderr.contains("canary"), "{ran:?}");
}

#[test]
fn a_script_passes_if_it_is_to_be_redacted() {
    let site = Site::new();
    let mut vm = vm();
    vm["initialization"]["custom_script"] = "runcmd: [x]".into();
    site.fake.set_vm(&vm);
    let (code, document) = site.json(&[]);
    assert_eq!((code, told(&document)), (4, vec!["cloud-init-script"]));
    let (code, document) = site.json(&["--cloud-init", "redact"]);
    assert_eq!((code, &document["findings"][0]["effect"]), (0, &json!("redacted")));
}

#[test]
fn looking_at_a_vm_changes_nothing_on_the_engine() {
    let site = Site::new();
    site.judge(&[]).expect(0);
    for seen in site.fake.seen() {
        assert!(seen.method == "GET" || seen.target.contains("/sso"), "{seen:?}");
    }
    assert!(site.fake.seen().last().unwrap().target.ends_with("sso-logout"));
}

#[test]
fn a_vm_that_is_not_there_is_told() {
    let site = Site::new();
    let ran = run(&site.lab, &site.config, &["eligibility", "web02", "--json"]).expect(1);
    assert_eq!(ran.json()["error"]["kind"], "not_found");
}
