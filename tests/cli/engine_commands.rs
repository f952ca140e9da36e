//! `engine trust` and `engine test`, on an engine that answers what a test tells it to.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use backstop::ovirt::trust::certificates;
use serde_json::{Value, json};

use crate::engine::{Authority, FakeEngine, PASSWORD, Reply, USER};
use crate::support::{Lab, Ran};

/// Writes a configuration for the engine, with its password, and returns its path.
pub(crate) fn configure(lab: &Lab, url: &str, more: &str) -> String {
    let password = lab.file("engine.password", format!("{PASSWORD}\n").as_bytes());
    fs::set_permissions(password, fs::Permissions::from_mode(0o600)).unwrap();
    let text = format!(
        "[engine]\nurl = \"{url}\"\nuser = \"{USER}\"\n\
         password_file = \"engine.password\"\n{more}\n"
    );
    lab.file("config.toml", text.as_bytes())
}

/// Runs the program with that configuration.
pub(crate) fn run(lab: &Lab, config: &str, args: &[&str]) -> Ran {
    let mut command = lab.command(args);
    command.env("BACKSTOP_CONFIG", config).env_remove("BACKSTOP_REPO");
    Ran::of(command.output().unwrap())
}

/// An engine whose API and whose host answer on the same port, found by the map of addresses.
pub(crate) struct Site {
    pub(crate) lab: Lab,
    pub(crate) fake: FakeEngine,
    pub(crate) authority: Authority,
    pub(crate) config: String,
}

impl Site {
    pub(crate) fn new() -> Self {
        let lab = Lab::empty();
        let authority = Authority::new(&["localhost", "host1.example.test"]);
        let fake = FakeEngine::encrypted("127.0.0.1:0", &authority).with_vm();
        fake.show_ca(&authority.pem);
        let host = json!({"name": "host1", "address": "host1.example.test", "status": "up"});
        let resting = json!({"name": "host2", "address": "", "status": "maintenance"});
        fake.set("/hosts", json!({"host": [host, resting]}));
        let map = format!(
            "[engine.host_addresses]\n\"host1.example.test\" = \"127.0.0.1:{}\"",
            fake.port()
        );
        let config = configure(&lab, &fake.url_by("localhost"), &map);
        Self { lab, fake, authority, config }
    }

    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        run(&self.lab, &self.config, args)
    }

    pub(crate) fn fingerprint(&self) -> String {
        certificates(self.authority.pem.as_bytes()).unwrap()[0].fingerprint().to_string()
    }

    pub(crate) fn trust(&self) -> Value {
        self.run(&["engine", "trust", "--json", "--fingerprint", &self.fingerprint()])
            .expect(0)
            .json()
    }

    fn outcomes(&self) -> (Ran, Vec<(String, String)>) {
        let ran = self.run(&["engine", "test", "--json"]);
        let steps = ran.json()["steps"].as_array().unwrap().clone();
        let word = |step: &Value, key: &str| step[key].as_str().unwrap().to_owned();
        let outcomes =
            steps.iter().map(|step| (word(step, "name"), word(step, "outcome"))).collect();
        (ran, outcomes)
    }

    #[track_caller]
    fn assert_steps(&self, code: i32, expected: [&str; 6]) -> Ran {
        let (ran, outcomes) = self.outcomes();
        let names = ["url", "login", "version", "permissions", "ca", "transfer"];
        let expected = names.into_iter().zip(expected);
        let expected: Vec<_> = expected.map(|(n, o)| (n.to_owned(), o.to_owned())).collect();
        assert_eq!(outcomes, expected, "{ran:?}");
        ran.expect(code)
    }
}

#[test]
fn an_authority_is_trusted_if_its_fingerprint_was_given() {
    let site = Site::new();
    let first = site.trust();
    assert_eq!(first["trust"]["fingerprint"], site.fingerprint());
    assert_eq!((&first["trust"]["changed"], &first["trust"]["before"]), (&json!(true), &json!([])));
    let pinned = fs::read(site.lab.path("engine-ca.pem")).unwrap();
    let same =
        certificates(&pinned).unwrap() == certificates(site.authority.pem.as_bytes()).unwrap();
    assert!(same);
    let again = site.trust();
    assert_eq!(again["trust"]["changed"], false);
    // What is trusted already needs no answer of anybody.
    site.run(&["engine", "trust"]).expect(0);
}

#[test]
fn an_authority_is_not_trusted_without_a_word_of_somebody() {
    let site = Site::new();
    let ran = site.run(&["engine", "trust"]).expect(2);
    assert!(ran.stderr.contains(&site.fingerprint()), "{ran:?}");
    let other = "00:".repeat(31) + "00";
    let ran = site.run(&["engine", "trust", "--json", "--fingerprint", &other]).expect(1);
    assert_eq!(ran.json()["error"]["kind"], "remote");
    site.run(&["engine", "trust", "--fingerprint", "12:34"]).expect(2);
    assert!(!site.lab.path("engine-ca.pem").exists());
    assert!(site.fake.seen().iter().all(|seen| seen.body.is_empty()), "nothing secret was sent");
}

#[test]
fn a_new_authority_can_be_trusted_beside_the_old_one() {
    let mut site = Site::new();
    site.trust();
    let old = site.fingerprint();
    site.authority = Authority::new(&["localhost", "host1.example.test"]);
    site.fake.show_ca(&site.authority.pem);
    let new = site.fingerprint();
    let ran = site.run(&["engine", "trust", "--keep-old", "--json", "--fingerprint", &new]);
    assert_eq!(ran.expect(0).json()["trust"]["before"], json!([old]));
    let pinned = || certificates(&fs::read(site.lab.path("engine-ca.pem")).unwrap()).unwrap();
    assert_eq!(pinned().len(), 2);
    site.trust();
    assert_eq!(pinned().len(), 1);
}

#[test]
fn a_way_without_faults_is_proven_step_by_step() {
    let site = Site::new();
    site.trust();
    let ran = site.assert_steps(0, ["ok"; 6]);
    assert!(ran.stdout.contains("oVirt Engine 4.5.6-1.el9"), "{ran:?}");
    assert!(ran.stdout.contains("host1 at 127.0.0.1:"), "{ran:?}");
    let people = site.run(&["engine", "test"]).expect(0);
    assert!(people.stdout.starts_with("ok        url"), "{people:?}");
}

#[test]
fn an_authority_that_is_not_trusted_ends_the_way_at_once() {
    let site = Site::new();
    let ran = site.assert_steps(
        1,
        ["failed", "not_tried", "not_tried", "not_tried", "not_tried", "not_tried"],
    );
    assert!(ran.stdout.contains("engine trust"), "{ran:?}");
    fs::write(site.lab.path("engine-ca.pem"), Authority::new(&["localhost"]).pem).unwrap();
    let ran = site.run(&["engine", "test"]).expect(1);
    assert!(ran.stdout.contains("an authority that is not trusted"), "{ran:?}");
    assert!(ran.stdout.contains("remedy: "), "{ran:?}");
    assert!(site.fake.seen().is_empty());
}

#[test]
fn a_wrong_password_is_told_from_a_wrong_way() {
    let site = Site::new();
    site.trust();
    site.fake
        .refuse_login(Reply::json(400, &json!({"error_code": "access_denied", "error": "no"})));
    let expected = ["ok", "failed", "not_tried", "not_tried", "ok", "not_tried"];
    let ran = site.assert_steps(1, expected);
    assert!(ran.stdout.contains("correct `user`"), "{ran:?}");
}

#[test]
fn an_old_engine_a_small_user_and_another_authority_are_found() {
    let site = Site::new();
    site.trust();
    site.fake.set("", json!({"product_info": {"version": {"major": 4, "minor": 3}}}));
    site.fake.show_ca(&Authority::new(&["x"]).pem);
    let ran = site.assert_steps(1, ["ok", "ok", "failed", "failed", "failed", "ok"]);
    assert!(ran.stdout.contains("SuperUser"), "{ran:?}");
}

#[test]
fn a_host_that_cannot_be_reached_is_no_end_if_the_proxy_can_be() {
    let site = Site::new();
    site.trust();
    let config = |transfer: &str, host: &str, proxy: u16| {
        let more = format!(
            "transfer = \"{transfer}\"\n[engine.host_addresses]\n\
             \"host1.example.test\" = \"{host}\"\nlocalhost = \"127.0.0.1:{proxy}\""
        );
        configure(&site.lab, &site.fake.url_by("localhost"), &more);
    };
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let good = ["ok"; 5];
    let with = |last: &'static str| [good[0], good[1], good[2], good[3], good[4], last];
    config("auto", &closed.to_string(), site.fake.port());
    site.assert_steps(3, with("warning"));
    config("proxy", &closed.to_string(), site.fake.port());
    site.assert_steps(0, with("ok"));
    config("direct", &closed.to_string(), site.fake.port());
    let ran = site.assert_steps(1, with("failed"));
    assert!(ran.stdout.contains("host_addresses"), "{ran:?}");
}

#[test]
fn a_configuration_that_is_missing_or_wrong_is_told_without_its_secrets() {
    let lab = Lab::empty();
    let ran = run(&lab, "/nowhere/config.toml", &["engine", "test", "--json"]).expect(1);
    assert_eq!(ran.json()["error"]["kind"], "not_found");
    assert!(ran.stderr.contains("--config"), "{ran:?}");
    let config = configure(&lab, "https://engine.example.test", "password = \"canary\"");
    let ran = run(&lab, &config, &["engine", "test", "--verbose"]).expect(1);
    assert!(ran.stderr.contains("`password`") && !ran.stderr.contains("canary"), "{ran:?}");
}

#[test]
fn a_password_may_come_from_systemd_or_from_a_descriptor() {
    let site = Site::new();
    site.trust();
    let text = fs::read_to_string(&site.config).unwrap();
    let credential =
        text.replace("password_file = \"engine.password\"", "password_credential = \"e\"");
    let credential = site.lab.file("credential.toml", credential.as_bytes());
    fs::create_dir(site.lab.path("credentials")).unwrap();
    site.lab.file("credentials/e", PASSWORD.as_bytes());
    let mut command = site.lab.command(["--config", &credential, "engine", "test"]);
    command.env("CREDENTIALS_DIRECTORY", site.lab.path("credentials"));
    Ran::of(command.output().unwrap()).expect(0);
    let descriptor = text.replace("password_file = \"engine.password\"", "password_fd = 0");
    let descriptor = site.lab.file("descriptor.toml", descriptor.as_bytes());
    let mut command = site.lab.command(["--config", &descriptor, "engine", "test"]);
    command.stdin(Stdio::from(fs::File::open(site.lab.path("engine.password")).unwrap()));
    Ran::of(command.output().unwrap()).expect(0);
}
