//! What the lab claims of itself, by oVirt's own clients: a part of its own tests, which
//! `tools/ovirt-lab/ovirt-lab selftest` runs in full. And its demonstration of the product.

use crate::lab::{is_possible, ovirt_lab, ovirt_lab_command};
use crate::support::Ran;

fn run(names: &[&str]) {
    if is_possible("the lab's own tests") {
        let ran = ovirt_lab(&[&["selftest"], names].concat()).expect(0);
        assert!(ran.stderr.contains("\nOK"), "{ran:?}");
    }
}

#[test]
fn the_official_example_programs_run_unchanged() {
    run(&["test_examples"]);
}

#[test]
fn backups_show_the_truth_and_the_engine_refuses_in_its_own_words() {
    run(&["test_install", "test_backup", "test_refusals"]);
}

#[test]
fn the_demonstration_runs_to_its_end_and_leaves_nothing() {
    if !is_possible("the demonstration") {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let demo = ovirt_lab_command(&["demo", "--backstop", env!("CARGO_BIN_EXE_backstop")])
        .env("TMPDIR", place.path())
        .output();
    let ran = Ran::of(demo.unwrap()).expect(0);
    for word in [
        "snapshot-preview",
        "can be backed up",
        "backed up shop01@",
        "as VM shop02 (id ",
        "they are equal",
    ] {
        assert!(ran.stdout.contains(word), "{word}: {ran:?}");
    }
    assert_eq!(place.path().read_dir().unwrap().count(), 0);
}
