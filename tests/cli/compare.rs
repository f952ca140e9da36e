//! `tools/compare`, where none of the programs is installed that it compares with.

use std::process::Command;

use serde_json::{Value, json};

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
    let measure = ["--work", "programs", "--image", &image, "--backstop", program];
    let measure = [&measure[..], &["--rounds", "1", "--out", &result]].concat();
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

#[test]
fn a_figure_that_is_missed_stands_in_bold_and_one_that_was_not_measured_stays_as_it_is() {
    let lab = Lab::in_memory();
    let aims = |seconds: f64, before: &str| {
        let result = json!({
            "date": "2026-11-27", "processors": 2, "kernel": "6.18", "cold": false,
            "image_bytes": 1,
            "programs": {}, "samples": {},
            "benches": {"first_byte": {
                "points": 10_000, "chunks": 10_000_000,
                "runs": [{"seconds": seconds, "peak_mib": 40.2}],
            }},
        });
        let result = lab.file("result.json", result.to_string().as_bytes());
        let page = format!("<!-- figures -->\n{before}<!-- /figures -->\n");
        let page = lab.file("page.md", page.as_bytes());
        let ran = Command::new(SCRIPT).args(["--report", &result, "--write", &page]).output();
        Ran::of(ran.expect("python3 is installed")).expect(0);
        std::fs::read_to_string(page).unwrap()
    };
    let met = aims(0.09, "");
    assert!(met.contains("| 0.5 s, 64 MiB | 0.09 s, 40 MiB |"), "{met}");
    let row = "| scrub `hash` | 0.9 of reading and hashing | not measured |";
    assert!(met.contains(row), "{met}");
    let before = met.replace(row, &row.replace("not measured", "1.09"));
    let before = before.lines().filter(|line| !line.starts_with("<!--"));
    let before: String = before.map(|line| format!("{line}\n")).collect();
    let missed = aims(0.7, &before);
    assert!(missed.contains("| 0.5 s, 64 MiB | **0.70 s**, 40 MiB |"), "{missed}");
    assert!(missed.contains("| 0.9 of reading and hashing | 1.09 |"), "{missed}");
}
