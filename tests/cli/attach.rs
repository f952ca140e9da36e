use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command};
use std::time::Duration;

use serde_json::Value;

use crate::page::assert_promised;
use crate::support::{Lab, MIB, noise, signal, wait, wait_until};

/// How long a server may take to end.
const PATIENCE: Duration = Duration::from_secs(20);

/// Serves a disk in the foreground, and returns the run with the lines that it has printed by then.
fn attach(lab: &Lab, more: &[&str], lines: usize) -> (Child, String) {
    let mut child = lab
        .command(["attach", "web@latest", "disk", "--foreground"].iter().chain(more))
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut text = String::new();
    for _ in 0..lines {
        stdout.read_line(&mut text).unwrap();
    }
    (child, text)
}

fn copy(lab: &Lab, uri: &str) -> Vec<u8> {
    let out = lab.path("copy");
    let copied = Command::new("nbdcopy").arg(uri).arg(&out).status().unwrap();
    assert!(copied.success());
    fs::read(out).unwrap()
}

#[test]
fn a_disk_is_served_over_nbd_until_that_is_interrupted() {
    let lab = Lab::new();
    let bytes = noise(3 * MIB + 5, 1);
    lab.back_up("web", &bytes);
    let (child, text) = attach(&lab, &["--nbd", "web.sock"], 3);
    let uri = text.lines().next().unwrap();
    assert!(uri.ends_with(lab.path("web.sock").to_str().unwrap()), "{text}");
    assert!(copy(&lab, uri) == bytes);
    signal(&child, "TERM");
    wait(child, PATIENCE).expect(0);
    assert!(!lab.path("web.sock").exists());
}

#[test]
fn an_attached_disk_is_told_as_one_document_and_written_where_that_was_asked_for() {
    let lab = Lab::new();
    let bytes = noise(2 * MIB, 1);
    lab.back_up("web", &bytes);
    let answer = |more: &[&str], lines: usize| {
        let (child, text) = attach(&lab, &[&["--json"], more].concat(), lines);
        (child, serde_json::from_str::<Value>(&text).unwrap_or_else(|_| panic!("{text}")))
    };
    let (child, plain) = answer(&["--nbd", "127.0.0.1:0"], 11);
    assert!(copy(&lab, plain["attach"]["nbd"].as_str().unwrap()) == bytes);
    assert_eq!(plain["attach"]["size_bytes"], 2 * MIB);
    signal(&child, "INT");
    wait(child, PATIENCE).expect(0);
    fs::create_dir(lab.path("over")).unwrap();
    let more = ["--nbd", "w.sock", "--writable", "--overlay", "over", "--keep"];
    let (child, writable) = answer(&more, 15);
    let uri = writable["attach"]["nbd"].as_str().unwrap();
    let new = lab.file("new", &noise(2 * MIB, 2));
    assert!(Command::new("nbdcopy").args([&new, uri]).status().unwrap().success());
    signal(&child, "INT");
    wait(child, PATIENCE).expect(0);
    let (child, again) = answer(&more, 15);
    assert!(
        copy(&lab, again["attach"]["nbd"].as_str().unwrap()) == noise(2 * MIB, 2),
        "it is kept"
    );
    signal(&child, "INT");
    wait(child, PATIENCE).expect(0);
    assert_promised("### `backstop attach`", &[plain, writable]);
}

/// Serves a disk in the background; the URI.
fn attached(lab: &Lab, address: &str) -> String {
    let ran = lab.json(["attach", "web@latest", "disk", "--nbd", address]);
    ran["attach"]["nbd"].as_str().unwrap().to_owned()
}

fn states(lab: &Lab) -> Vec<String> {
    let list = lab.json(["attach", "--list"]);
    let states = list["attachments"].as_array().unwrap().iter();
    states.map(|one| one["state"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_server_in_the_background_is_listed_until_it_is_detached() {
    let lab = Lab::new();
    let bytes = noise(3 * MIB + 5, 1);
    lab.back_up("web", &bytes);
    for address in ["web.sock", "127.0.0.1:0"] {
        let uri = attached(&lab, address);
        assert!(copy(&lab, &uri) == bytes);
        assert_eq!(states(&lab), ["attached"]);
        let client = match uri.strip_prefix("nbd+unix:///?socket=") {
            Some(path) => Ok(UnixStream::connect(path).unwrap()),
            None => Err(TcpStream::connect(uri.strip_prefix("nbd://").unwrap()).unwrap()),
        };
        let busy = lab.run(["detach", &uri]).expect(5);
        assert!(busy.stderr.contains("a client is connected"), "{busy:?}");
        drop(client);
        assert!(wait_until(PATIENCE, || lab.run(["detach", &uri]).code == 0));
        assert_eq!(states(&lab), [""; 0]);
    }
    assert!(!lab.path("web.sock").exists());
}

#[test]
fn what_a_killed_server_leaves_is_cleared() {
    let lab = Lab::new();
    lab.back_up("web", &noise(MIB, 1));
    let list = || lab.json(["attach", "--list"])["attachments"][0].clone();
    attached(&lab, "web.sock");
    let process = list()["process"].as_u64().unwrap().to_string();
    assert!(Command::new("kill").args(["-9", &process]).status().unwrap().success());
    assert!(wait_until(PATIENCE, || list()["state"] == "dead"));
    assert!(lab.path("web.sock").exists());
    let cleared = lab.json(["detach", "--all"]);
    assert_eq!(cleared["detached"].as_array().unwrap().len(), 1);
    assert!(!lab.path("web.sock").exists());
    assert_eq!(states(&lab), [""; 0]);
}

#[test]
fn what_cannot_be_attached_is_refused_with_a_hint() {
    let lab = Lab::new();
    lab.back_up("web", &noise(MIB, 1));
    let refused = |args: &[&str], code, hint: &str| {
        let ran = lab.run([&["attach"], args].concat()).expect(code);
        assert!(ran.stderr.contains(hint), "{ran:?}");
    };
    refused(&["web@latest", "sdz", "--nbd", "s"], 1, "give one of these names");
    refused(&["web@latest", "disk", "--nbd", "0.0.0.0:0"], 1, "--nbd-any");
    refused(&["web@latest", "disk", "--nbd", "missing/s"], 1, "must exist");
    refused(&["web@latest", "disk", "--nbd", "host:99999"], 2, "65535");
    fs::write(lab.path("file"), "precious").unwrap();
    refused(&["web@latest", "disk", "--nbd", "file"], 1, "name another socket");
    assert_eq!(fs::read(lab.path("file")).unwrap(), b"precious");
}
