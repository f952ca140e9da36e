//! A lab that runs, and the program with a configuration for it.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::skip::skip;
use crate::support::{Lab as Place, Ran};

const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tools/ovirt-lab/ovirt-lab");

/// Runs the lab's own program.
pub(crate) fn ovirt_lab(args: &[&str]) -> Ran {
    Ran::of(ovirt_lab_command(args).output().unwrap())
}

pub(crate) fn ovirt_lab_command(args: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(args).stdin(Stdio::null());
    command
}

/// Whether labs can run here; says so where they cannot.
pub(crate) fn is_possible(test: &str) -> bool {
    let ran = ovirt_lab(&["setup", "--check"]);
    if ran.code != 0 {
        skip(test, &format!("{}; `tools/setup test` installs it", ran.stderr.trim()));
    }
    ran.code == 0
}

/// An engine with hosts and VMs, and a repository.
///
/// The lab also ends when the test's process dies: it watches its owner.
pub(crate) struct Lab {
    info: Value,
    pub(crate) place: Place,
}

impl Lab {
    /// Starts one, with a configuration of the product that trusts it.
    ///
    /// `None`, and a word about it, where a lab cannot run.
    pub(crate) fn start(test: &str) -> Option<Self> {
        if !is_possible(test) {
            return None;
        }
        let mut lab = Self { info: json!(null), place: Place::new() };
        lab.info = lab.up();
        lab.configure("");
        fs::copy(lab.info("internal_ca_file"), lab.place.path("engine-ca.pem")).unwrap();
        Some(lab)
    }

    /// Starts what does not run.
    fn up(&self) -> Value {
        let owner = std::process::id().to_string();
        ovirt_lab(&["up", "--dir", &self.dir(), "--owner", &owner]).expect(0).json()
    }

    fn dir(&self) -> String {
        self.place.path("l").to_str().unwrap().to_owned()
    }

    /// What the lab says about itself.
    pub(crate) fn info(&self, key: &str) -> &str {
        self.info[key].as_str().unwrap_or_else(|| panic!("{key}: {}", self.info))
    }

    /// HOST:PORT of a daemon: `v4`, `v6` or `proxy`; none on a machine without IPv6.
    pub(crate) fn daemon(&self, name: &str) -> Option<&str> {
        self.info["imageio"][name].as_str().map(|url| url.trim_start_matches("https://"))
    }

    /// Writes the configuration, with `more` lines in it.
    pub(crate) fn configure(&self, more: &str) {
        let text = format!(
            "[engine]\nurl = {:?}\nuser = {:?}\npassword_file = {:?}\nca = {:?}\n{more}\n",
            self.info("engine_url").replace("/ovirt-engine", "").replace("127.0.0.1", "localhost"),
            self.info("user"),
            self.info("password_file"),
            self.info("api_ca_file"),
        );
        self.place.file("config.toml", text.as_bytes());
    }

    /// Runs the program with this configuration and the repository of the place.
    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        Ran::of(self.command(args).output().unwrap())
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = self.place.command(args);
        command.env("BACKSTOP_CONFIG", self.place.path("config.toml"));
        command
    }

    /// An operation of the control endpoint. It must succeed.
    #[track_caller]
    pub(crate) fn order(&self, operation: &str, given: &Value) -> Value {
        self.control("POST", operation, &given.to_string())
    }

    /// Everything that the engine knows.
    pub(crate) fn state(&self) -> Value {
        self.control("GET", "state", "")
    }

    /// The requests so far that change something, as `METHOD path`.
    pub(crate) fn changing_requests(&self) -> Vec<String> {
        let requests = self.control("GET", "requests", "");
        let changing = requests.as_array().unwrap().iter().filter(|one| one["changing"] == true);
        let text = |one: &Value, key: &str| one[key].as_str().unwrap().to_owned();
        changing.map(|one| format!("{} {}", text(one, "method"), text(one, "path"))).collect()
    }

    #[track_caller]
    fn control(&self, method: &str, path: &str, body: &str) -> Value {
        let address = self.info("control_url").trim_start_matches("http://");
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
        let request =
            format!("{method} /{path} HTTP/1.0\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, document) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(" 200 "), "{path} {body}: {document}");
        serde_json::from_str(document).unwrap()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        ovirt_lab(&["down", "--dir", &self.dir()]);
    }
}
