//! Canaries in everything that is secret: they are found nowhere that somebody may look.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Child;
use std::sync::Arc;

use backstop::base::id::ChunkId;
use backstop::repo::{Environment, Repository};
use backstop::store::DirStore;
use serde_json::{Value, json};

use crate::lab::Lab;
use crate::support::Ran;
use crate::vm::{Vm, ended};

const SCRIPT: &str = "canary-script-7c1e";
const ROOT: &str = "canary-root-51ad";
const KEYS: &str = "canary-keys-90bf";
const LICENCE: &str = "canary-licence-e23d";

/// What nobody may see, each with its name.
#[derive(Default)]
struct Canaries(Vec<(String, String)>);

impl Canaries {
    fn add(&mut self, name: &str, text: &str) {
        let canary = (name.to_owned(), text.to_owned());
        if !text.is_empty() && !self.0.contains(&canary) {
            self.0.push(canary);
        }
    }

    /// Tickets and tokens that are good at this moment.
    fn add_current(&mut self, lab: &Lab) {
        let state = lab.state();
        for token in state["tokens"].as_object().unwrap().keys() {
            self.add("a token", token);
        }
        for transfer in state["imagetransfers"].as_object().unwrap().values() {
            self.add("a ticket", transfer["_ticket"].as_str().unwrap_or_default());
        }
        let seen = lab.order("transfer-requests", &json!({}));
        for request in seen["requests"].as_array().unwrap() {
            self.add("a ticket", request["ticket"].as_str().unwrap());
        }
    }

    #[track_caller]
    fn assert_absent(&self, place: &str, bytes: &[u8]) {
        for (name, canary) in &self.0 {
            assert!(!contains(bytes, canary), "{name} is in {place}");
        }
    }

    #[track_caller]
    fn assert_absent_below(&self, place: &str, dir: &Path) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let kind = fs::symlink_metadata(&path).unwrap();
            if kind.is_dir() {
                self.assert_absent_below(place, &path);
            } else if kind.is_file() {
                self.assert_absent(
                    &format!("{place}: {}", path.display()),
                    &fs::read(&path).unwrap(),
                );
            }
        }
    }

    #[track_caller]
    fn assert_told_nothing(&self, what: &str, ran: &Ran) {
        self.assert_absent(&format!("standard output of {what}"), ran.stdout.as_bytes());
        self.assert_absent(&format!("standard error of {what}"), ran.stderr.as_bytes());
    }
}

fn secret_vm(lab: &Lab) -> Vm {
    let secrets = json!({"custom_script": SCRIPT, "root_password": ROOT,
        "authorized_ssh_keys": KEYS, "windows_license_key": LICENCE});
    let disks = json!([{"name": "system", "size": 16 << 20, "backup": "incremental"}]);
    let made =
        lab.order("add-vm", &json!({"name": "secret", "disks": disks, "initialization": secrets}));
    let disk = made["disks"][0].as_str().unwrap().to_owned();
    Vm { name: "secret".to_owned(), id: made["id"].as_str().unwrap().to_owned(), disks: vec![disk] }
}

fn arguments(child: &Child) -> Vec<u8> {
    fs::read(format!("/proc/{}/cmdline", child.id())).unwrap()
}

#[test]
fn secrets_are_in_no_log_no_error_no_document_no_argument_and_no_plain_repository() {
    let Some(lab) = Lab::start("canaries") else { return };
    lab.order("configure", &json!({"ovf_secrets": true}));
    let vm = secret_vm(&lab);
    let mut canaries = Canaries::default();
    canaries.add("the password", &fs::read_to_string(lab.info("password_file")).unwrap());
    let planted =
        [("the script", SCRIPT), ("a root password", ROOT), ("keys", KEYS), ("a licence", LICENCE)];
    for (name, text) in planted {
        canaries.add(name, text);
    }
    assert!(lab.state().to_string().contains(LICENCE), "the canaries are planted");
    let mut runs = Vec::new();
    for more in [&["--verbose"][..], &["--verbose", "--full"]] {
        let args = [&["--cloud-init", "redact"], more].concat();
        lab.order("watch-transfers", &json!({}));
        let slow = json!({"method": "GET", "path": "^/images/", "count": 1000, "delay": 0.02});
        lab.order("fail-transfers", &slow);
        let child = lab.start_backup(&vm, &args);
        let arguments = arguments(&child);
        canaries.add_current(&lab);
        runs.push(("a backup", ended(child).expect(0)));
        canaries.assert_absent("the arguments of the process", &arguments);
    }
    let text = ["backup", "vm", "secret", "--cloud-init", "redact", "--verbose"];
    runs.push(("a backup as text", lab.run(&text).expect(0)));
    // Errors of every part, with everything that the program can say.
    let failing: [(&str, &str, Value); 3] = [
        ("fail-transfers", "data that fails", json!({"status": 500, "count": 100_000})),
        (
            "fail-requests",
            "a backup that is refused",
            json!({"method": "POST", "status": 400,
            "path": "/backups$", "count": 99, "detail": "[No.]"}),
        ),
        ("fail-requests", "an engine that fails", json!({"status": 500, "count": 100_000})),
    ];
    let args = ["backup", "vm", "secret", "--cloud-init", "redact", "--full", "--verbose"];
    for (operation, what, order) in failing {
        lab.order("watch-transfers", &json!({}));
        lab.order(operation, &order);
        let ran = lab.run(&args);
        assert_ne!(ran.code, 0, "{what}: {ran:?}");
        canaries.add_current(&lab);
        runs.push((what, ran));
        lab.order("settle", &json!({}));
    }
    runs.push(("a refusal", lab.run(&["backup", "vm", "secret", "--verbose"]).expect(4)));
    for args in [&["show", "secret@latest", "--json"][..], &["list", "--json"], &["doctor"]] {
        runs.push(("a look", lab.run(&[args, &["--verbose"]].concat())));
    }
    assert!(canaries.0.iter().filter(|canary| canary.0 == "a ticket").count() > 2);
    for (what, ran) in &runs {
        canaries.assert_told_nothing(what, ran);
    }
    canaries.assert_absent_below("the repository", &lab.place.repo());
    let stored = everything_decoded(&lab.place.repo());
    for bytes in &stored {
        canaries.assert_absent("what is stored", bytes);
    }
    let holds = |words: &str| stored.iter().any(|bytes| contains(bytes, words));
    assert!(holds("backstop-vm") && holds("<ovf:Envelope"), "the configuration is there");
}

/// The plain bytes of every chunk that is stored, also of those that no restore point needs.
fn everything_decoded(repo: &Path) -> Vec<Vec<u8>> {
    let store = Arc::new(DirStore::open(repo).unwrap());
    let reader = Repository::open(store, Environment::default()).unwrap().reader().unwrap();
    let chunks: BTreeSet<_> = reader.index().entries().map(|entry| entry.unwrap().0).collect();
    let plain = |chunk: ChunkId| reader.chunk(chunk, Vec::new()).unwrap().bytes().to_vec();
    chunks.into_iter().map(plain).collect()
}

fn contains(bytes: &[u8], words: &str) -> bool {
    bytes.windows(words.len()).any(|window| window == words.as_bytes())
}
