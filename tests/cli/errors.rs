use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;

use crate::support::{Lab, Ran};

#[test]
fn an_error_is_told_to_people_and_to_scripts() {
    let lab = Lab::empty();
    let ran = lab.run(["list", "--json"]).expect(1);
    let error = ran.json()["error"].clone();
    assert_eq!(error["kind"], "not_found");
    assert!(error["hint"].as_str().unwrap().contains("init"), "{error}");
    assert_eq!(error["exit_code"], 1);
    assert!(ran.stderr.starts_with("error: "), "{ran:?}");
    assert!(ran.stderr.contains("\nhint: "), "{ran:?}");
    let plain = lab.run(["list"]).expect(1);
    assert_eq!((plain.stdout.as_str(), plain.stderr), ("", ran.stderr));
}

#[test]
fn a_repository_that_may_not_be_looked_into_is_not_called_missing() {
    let lab = Lab::new();
    if !crate::skip::is_root() {
        let test = "a_repository_that_may_not_be_looked_into_is_not_called_missing";
        return crate::skip::skip(test, "only root can act as another user");
    }
    fs::set_permissions(lab.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    let nobody = lab.command(["list"]).uid(65534).gid(65534).output().unwrap();
    let ran = Ran::of(nobody).expect(1);
    assert!(ran.stderr.contains("Permission denied"), "{ran:?}");
    assert!(!ran.stderr.contains("there is no repository"), "{ran:?}");
}

#[test]
fn a_wrong_command_line_is_told_to_scripts_too() {
    let lab = Lab::new();
    for args in [&["lst"][..], &["show"], &["show", "web"], &["backup", "image", "x"]] {
        let ran = lab.run(args).expect(2);
        assert_eq!(ran.stdout, "", "{args:?}");
        let ran = Ran::of(lab.command(args).arg("--json").output().unwrap()).expect(2);
        assert_eq!(ran.json()["error"]["kind"], "usage", "{args:?}");
    }
}

#[test]
fn a_name_that_cannot_be_is_wrong_usage() {
    let lab = Lab::new();
    let image = lab.file("a.raw", b"data");
    for vm in ["", "line\nbreak", &"x".repeat(256)] {
        lab.run(["backup", "image", "--vm", vm, &image]).expect(2);
    }
    lab.run(["backup", "image", "--vm", "web", "--compression-level", "20", &image]).expect(2);
    lab.run(["backup", "image", "--vm", "web", "--compression-level", "-7", &image]).expect(0);
    lab.run(["backup", "image", "--vm", "web", "--threads", "0", &image]).expect(2);
    lab.run(["backup", "image", "--vm", "web", "--format", "vmdk", &image]).expect(2);
}

#[test]
fn a_lost_copy_of_the_configuration_is_a_problem_and_not_the_end() {
    let lab = Lab::new();
    fs::remove_file(lab.repo().join("config.1")).unwrap();
    let ran = lab.run(["list"]).expect(3);
    assert!(ran.stderr.starts_with("problem: ") && ran.stderr.contains("config.1"), "{ran:?}");
    let image = lab.file("a.raw", b"data");
    lab.run(["backup", "image", "--vm", "web", &image]).expect(3);
    assert_eq!(lab.run(["list", "--json"]).json()["points"].as_array().unwrap().len(), 1);
}
