use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::support::{Lab, Ran};

#[test]
fn a_repository_is_made_with_its_parents_and_only_its_user_may_look_into_it() {
    let lab = Lab::empty();
    let path = lab.path("a/b/repo");
    let ran = lab.run(["-r", path.to_str().unwrap(), "init"]).expect(0);
    assert!(ran.stdout.starts_with("made the repository "), "{ran:?}");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o077, 0);
    lab.run(["list", "--repo", path.to_str().unwrap()]).expect(0);
}

#[test]
fn the_document_names_the_repository() {
    let lab = Lab::empty();
    let document = lab.json(["init"]);
    let repository = &document["repository"];
    assert_eq!(repository["path"], lab.repo().to_str().unwrap());
    assert_eq!(repository["id"].as_str().unwrap().len(), 32);
}

#[test]
fn a_directory_that_is_in_use_is_refused() {
    let lab = Lab::new();
    let ran = lab.run(["init"]).expect(1);
    assert!(ran.stderr.contains("hint: name a directory that is new or empty"), "{ran:?}");
    let other = lab.path("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("file"), "x").unwrap();
    lab.run(["-r", other.to_str().unwrap(), "init"]).expect(1);
    assert_eq!(fs::read(other.join("file")).unwrap(), b"x");
}

#[test]
fn an_init_that_was_cut_off_is_run_again_or_completed_by_a_repair() {
    let lab = Lab::new();
    // Before the first copy of the configuration there is no repository yet.
    for copy in ["config.0", "config.1", "config.2"] {
        fs::remove_file(lab.repo().join(copy)).unwrap();
    }
    fs::remove_file(lab.repo().join("ballast")).unwrap_or_default();
    fs::remove_dir_all(lab.repo().join("packs/7f")).unwrap();
    fs::remove_dir(lab.repo().join("tmp")).unwrap();
    lab.run(["list"]).expect(1);
    lab.run(["init", "--parity"]).expect(0);
    lab.run(["scrub"]).expect(0);
    lab.run(["init"]).expect(1);
    for copy in ["config.1", "config.2"] {
        fs::remove_file(lab.repo().join(copy)).unwrap();
    }
    lab.run(["repair", "--apply"]).expect(0);
    lab.run(["scrub"]).expect(0);
}

#[test]
fn without_a_repository_the_two_ways_to_name_one_are_told() {
    let lab = Lab::empty();
    for variable in [None, Some("")] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_backstop"));
        command.arg("init").current_dir(lab.path("")).env_remove("BACKSTOP_REPO");
        command.envs(variable.map(|value| ("BACKSTOP_REPO", value)));
        let ran = Ran::of(command.output().unwrap()).expect(2);
        assert!(ran.stderr.contains("--repo DIR") && ran.stderr.contains("BACKSTOP_REPO"));
    }
}
