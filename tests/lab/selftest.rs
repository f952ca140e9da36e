//! What the lab claims of itself, by oVirt's own clients: a part of its own tests, which
//! `tools/ovirt-lab/ovirt-lab selftest` runs in full.

use crate::lab::{is_possible, ovirt_lab};

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
