//! `tools/compare`, where none of the programs is installed that it compares with.

use std::process::Command;

use serde_json::Value;

use crate::support::{Lab, MIB, Ran, noise};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tools/compare");

#[test]
fn a_comparison_does_every_work_and_names_the_programs_that_are_missing() {
    let lab = Lab::in_memory();
    let image = lab.file("disk.raw", &noise(3 * MIB, 1));
    let compare = |more: &[&str]| {
        let mut command = Command::new(SCRIPT);
        command.env("XDG_CACHE_HOME", lab.path("cache")).env("TMPDIR", lab.path(""));
        Ran::of(command.args(more).output().expect("python3 is installed")).expect(0)
    };
    let program = env!("CARGO_BIN_EXE_backstop");
    let result = lab.file("result.json", b"");
    let measure = ["--image", &image, "--backstop", program, "--rounds", "1", "--out", &result];
    let measured = compare(&measure);
    assert!(measured.stderr.contains("4 left out"), "{measured:?}");
    let result_json: Value = serde_json::from_slice(&std::fs::read(&result).unwrap()).unwrap();
    let works = result_json["samples"].as_object().unwrap();
    assert_eq!(works.len(), 7);
    for (work, programs) in works {
        let rows: Vec<_> = programs.as_object().unwrap().keys().collect();
        assert_eq!(rows, ["Backstop", "Backstop, encrypted"], "{work}");
    }
    let added = &works["noise"]["Backstop"][0]["added_bytes"];
    assert!((2 * MIB as u64..3 * MIB as u64).contains(&added.as_u64().unwrap()), "{added}");

    let page = lab.file("page.md", b"before\n<!-- compare -->\nold\n<!-- /compare -->\nafter\n");
    compare(&["--report", &result, &result, "--write", &page]);
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.starts_with("before\n<!-- compare -->\nAn image of 3 MiB"), "{page}");
    assert!(page.ends_with("|\n<!-- /compare -->\nafter\n"), "{page}");
    assert!(page.contains("**List** (2 rounds)") && !page.contains("old"), "{page}");
}
