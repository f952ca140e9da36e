use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::page::assert_promised;
use crate::support::{Lab, MIB, Ran, noise};

/// Occurs in no text of the program.
const SECRET: &str = "Canary-7dQ2-password";

/// A file that only its user can read, with its path as text.
fn private(lab: &Lab, name: &str, text: impl AsRef<[u8]>) -> String {
    let path = lab.file(name, text.as_ref());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path
}

/// An encrypted repository that a key file opens, with the path of that.
fn with_key() -> (Lab, String) {
    let lab = Lab::in_memory();
    let key = lab.path("vms.key").to_str().unwrap().to_owned();
    lab.run(["init", "--encrypt", "--key-file", &key]).expect(0);
    (lab, key)
}

fn ids(list: &Value) -> Vec<String> {
    let keys = list["keys"].as_array().unwrap();
    keys.iter().map(|key| key["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_key_file_is_made_for_its_user_alone_and_opens_the_repository() {
    let (lab, key) = with_key();
    let about = fs::metadata(&key).unwrap();
    assert_eq!((about.len(), about.permissions().mode() & 0o777), (32, 0o600));
    let image = lab.file("disk.raw", &noise(MIB + 5, 1));
    lab.run(["backup", "image", "--key-file", &key, "--vm", "web", &image]).expect(0);
    let restore = ["restore", "disk", "web@latest", "disk", "back.raw"];
    let refused = lab.run(restore).expect(1);
    assert!(refused.stderr.contains("no terminal to ask"), "{refused:?}");
    assert!(refused.stderr.contains("--password-file"), "{refused:?}");
    let mut command = lab.command(restore);
    Ran::of(command.env("BACKSTOP_KEY_FILE", &key).output().unwrap()).expect(0);
    assert!(fs::read(lab.path("back.raw")).unwrap() == noise(MIB + 5, 1));
}

#[test]
fn a_password_comes_from_a_file_a_descriptor_a_variable_or_a_credential() {
    let lab = Lab::in_memory();
    let file = private(&lab, "backstop.password", format!("{SECRET}\n"));
    lab.run(["init", "--encrypt", "--password-file", &file]).expect(0);
    lab.run(["list", "--password-file", &file]).expect(0);
    let of = |variable: &str, value: &Path| {
        Ran::of(lab.command(["list"]).env(variable, value).output().unwrap())
    };
    of("BACKSTOP_PASSWORD_FILE", Path::new(&file)).expect(0);
    of("CREDENTIALS_DIRECTORY", &lab.path("")).expect(0);
    lab.run(["list"]).expect(1);
    let mut command = lab.command(["list", "--password-fd", "0"]);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(SECRET.as_bytes()).unwrap();
    Ran::of(child.wait_with_output().unwrap()).expect(0);
}

#[test]
fn a_wrong_password_is_told_and_so_is_one_that_others_could_read() {
    let lab = Lab::in_memory();
    let right = private(&lab, "right", SECRET);
    let wrong = private(&lab, "wrong", "another password");
    lab.run(["init", "--encrypt", "--password-file", &right]).expect(0);
    let ran = lab.run(["list", "--json", "--password-file", &wrong]).expect(1);
    let error = &ran.json()["error"];
    assert_eq!(error["kind"], "denied");
    assert_eq!(error["message"], "what was given opens none of the key slots");
    for mode in [0o640, 0o604, 0o620] {
        fs::set_permissions(&right, fs::Permissions::from_mode(mode)).unwrap();
        let ran = lab.run(["list", "--password-file", &right]).expect(1);
        assert!(ran.stderr.contains("chmod go= FILE"), "{ran:?}");
    }
    let slots = lab.repo().join("keys");
    for copy in fs::read_dir(slots).unwrap() {
        fs::write(copy.unwrap().path(), "torn").unwrap();
    }
    let ran = lab.run(["list", "--json", "--password-file", &wrong]).expect(1);
    assert_eq!(ran.json()["error"]["kind"], "corrupt");
}

#[test]
fn a_secret_for_a_plain_repository_is_refused() {
    let lab = Lab::new_in_memory();
    let file = private(&lab, "password", SECRET);
    let ran = lab.run(["list", "--password-file", &file]).expect(1);
    assert!(ran.stderr.contains("is not encrypted, but a password or key was given"), "{ran:?}");
    lab.run(["key", "list"]).expect(1);
    let other = lab.path("other");
    let ran = lab.run(["-r", other.to_str().unwrap(), "init", "--password-file", &file]).expect(2);
    assert!(ran.stderr.contains("add --encrypt") && !other.exists(), "{ran:?}");
}

#[test]
fn what_would_be_a_bad_password_is_refused_before_anything_is_made() {
    let lab = Lab::in_memory();
    for text in
        ["", "short", "000G-40R4-0M30-E209-185G-R38E-1W81-24GK-2GAH-C5RR-34D1-P70X-3RFZ-5WS9"]
    {
        let file = private(&lab, "password", text);
        lab.run(["init", "--encrypt", "--password-file", &file]).expect(1);
        assert!(!lab.repo().exists(), "{text}");
    }
}

#[test]
fn keys_are_added_removed_changed_and_rotated() {
    let (lab, first) = with_key();
    let with = |key: &str, args: &[&str]| {
        let key = ["--key-file", key];
        lab.run(args.iter().chain(&key).copied())
    };
    let document =
        |key: &str, args: &[&str]| with(key, &[args, &["--json"]].concat()).expect(0).json();
    let second = lab.path("second.key").to_str().unwrap().to_owned();
    let added = document(&first, &["key", "add", "--new-key-file", &second, "--label", "safe"]);
    assert_promised("### `backstop key add`", std::slice::from_ref(&added));
    let list = lab.json(["key", "list"]);
    assert_promised("### `backstop key list`", std::slice::from_ref(&list));
    assert_eq!(ids(&list).len(), 2);
    let tested = document(&second, &["key", "test"]);
    assert_promised("### `backstop key test`", std::slice::from_ref(&tested));
    assert_eq!(tested["key"]["label"], "safe");

    let id = tested["key"]["id"].as_str().unwrap();
    let ran = with(&second, &["key", "remove", &id[..8]]).expect(1);
    assert!(ran.stderr.contains("open the repository with another"), "{ran:?}");
    let removed = document(&first, &["key", "remove", &id[..8]]);
    assert_promised("### `backstop key remove`", std::slice::from_ref(&removed));
    with(&second, &["key", "test"]).expect(1);
    with(&first, &["key", "remove", "zz"]).expect(1);
    let only = ids(&lab.json(["key", "list"])).remove(0);
    let ran = with(&first, &["key", "remove", &only]).expect(1);
    assert!(ran.stderr.contains("the last key slot"), "{ran:?}");

    with(&first, &["key", "add", "--new-key-file", &second]).expect(0);
    let ran = with(&first, &["key", "rotate"]).expect(1);
    assert!(ran.stderr.contains("a rotation removes key file"), "{ran:?}");
    let rotated = document(&first, &["key", "rotate", "--yes"]);
    assert_promised("### `backstop key rotate`", std::slice::from_ref(&rotated));
    assert_eq!(rotated["key"]["epoch"], 2);
    with(&second, &["key", "test"]).expect(1);

    let password = private(&lab, "password", SECRET);
    let changed = document(&first, &["key", "passwd", "--new-password-file", &password]);
    assert_promised("### `backstop key passwd`", std::slice::from_ref(&changed));
    with(&first, &["key", "test"]).expect(1);
    lab.run(["key", "test", "--password-file", &password]).expect(0);
}

#[test]
fn a_recovery_code_opens_the_repository_and_a_typing_error_in_it_is_told() {
    let (lab, key) = with_key();
    let made = lab.run(["key", "export-recovery", "--json", "--key-file", &key]).expect(0).json();
    assert_promised("### `backstop key export-recovery`", std::slice::from_ref(&made));
    let code = made["recovery_code"].as_str().unwrap();
    let spoken = code.to_lowercase().replace('-', " ");
    let file = private(&lab, "code", &spoken);
    lab.run(["key", "test", "--password-file", &file]).expect(0);
    let letter = if code.starts_with('7') { "8" } else { "7" };
    let file = private(&lab, "code", format!("{letter}{}", &code[1..]));
    let ran = lab.run(["key", "test", "--password-file", &file]).expect(1);
    assert!(ran.stderr.contains("typing error"), "{ran:?}");
}

#[test]
fn one_damaged_copy_of_a_key_is_a_problem_and_a_repair_mends_it() {
    let (lab, key) = with_key();
    let id = ids(&lab.json(["key", "list"])).remove(0);
    let copy = lab.repo().join(format!("keys/{id}.1"));
    let good = fs::read(&copy).unwrap();
    fs::remove_file(&copy).unwrap();
    let ran = lab.run(["list", "--key-file", &key]).expect(3);
    assert!(ran.stderr.contains("a copy of the key slot is missing"), "{ran:?}");
    lab.run(["key", "list"]).expect(3);
    lab.run(["repair", "--apply", "--key-file", &key]).expect(0);
    assert_eq!(fs::read(&copy).unwrap(), good);
    lab.run(["list", "--key-file", &key]).expect(0);
}

/// All that a process shows to those who look at it from outside.
fn shown(pid: u32) -> Vec<u8> {
    let of = |name: &str| fs::read(Path::new("/proc").join(pid.to_string()).join(name)).unwrap();
    [of("cmdline"), of("environ")].concat()
}

#[test]
fn no_secret_is_shown_by_any_command_that_handles_one() {
    let lab = Lab::in_memory();
    let file = private(&lab, "password", SECRET);
    let other = private(&lab, "other", format!("other-{SECRET}"));
    let canary = |text: &[u8]| text.windows(SECRET.len()).any(|part| part == SECRET.as_bytes());
    lab.run(["-v", "init", "--encrypt", "--password-file", &file]).expect(0);
    for (args, code) in [
        (&["key", "add", "--new-password-file", &other][..], 0),
        (&["key", "test"], 0),
        (&["key", "list"], 0),
        (&["key", "passwd", "--new-password-file", "missing"], 1),
        (&["key", "remove", "zz"], 1),
        (&["key", "export-recovery"], 0),
        (&["key", "rotate"], 1),
        (&["key", "rotate", "--yes", "--json"], 0),
        (&["list"], 0),
        (&["doctor"], 0),
        (&["scrub"], 0),
    ] {
        let ran = lab.run(args.iter().chain(&["-v", "--password-file", &file])).expect(code);
        assert!(!canary(ran.stdout.as_bytes()) && !canary(ran.stderr.as_bytes()), "{ran:?}");
    }
    let more = ["--password-file", &file];
    let mut stream = lab.start_stream("web", &more);
    stream.feed(&noise(MIB, 1));
    assert!(!canary(&shown(stream.id())));
    let limits = fs::read_to_string(format!("/proc/{}/limits", stream.id())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().rev().take(3).collect::<Vec<_>>(), ["bytes", "0", "0"]);
    stream.finish().expect(0);
}

/// Types lines at a terminal that `script` makes, one for each question.
fn typed(lab: &Lab, command: &str, lines: &[&str]) -> Option<(i32, String)> {
    let program = env!("CARGO_BIN_EXE_backstop");
    let mut script = Command::new("script");
    script.args(["-qec", &format!("{program} {command}"), "/dev/null"]);
    script.env("BACKSTOP_REPO", lab.repo()).env("BACKSTOP_TRUST_DIR", lab.path("trust"));
    script.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = script.spawn().ok()?;
    let mut input = child.stdin.take().unwrap();
    for line in lines {
        // A line that is typed before the question is thrown away.
        std::thread::sleep(std::time::Duration::from_millis(1500));
        input.write_all(format!("{line}\n").as_bytes()).unwrap();
    }
    let output = child.wait_with_output().unwrap();
    drop(input);
    Some((output.status.code().unwrap(), String::from_utf8_lossy(&output.stdout).into_owned()))
}

#[test]
fn a_password_that_is_typed_is_not_shown_and_a_new_one_is_asked_for_twice() {
    let lab = Lab::in_memory();
    let Some((code, shown)) = typed(&lab, "init --encrypt", &[SECRET, "another password"]) else {
        eprintln!("skipped: there is no script(1)");
        return;
    };
    assert!(code == 1 && shown.contains("the two passwords differ"), "{shown}");
    let (code, shown) = typed(&lab, "init --encrypt", &[SECRET, SECRET]).unwrap();
    assert!(code == 0 && shown.contains("new password: "), "{shown}");
    assert!(!shown.contains(SECRET), "{shown}");
    let (code, shown) = typed(&lab, "list", &[SECRET]).unwrap();
    assert!(code == 0 && shown.contains("password of "), "{shown}");
    assert!(!shown.contains(SECRET), "{shown}");
}
