use std::fs;

use serde_json::{Value, json};

use crate::damage;
use crate::support::{Lab, MIB, noise};

/// A repository with one disk whose data cannot be read any more in one place.
fn damaged_lab() -> Lab {
    let lab = Lab::new();
    lab.back_up("web", &noise(4 * MIB, 1));
    lab.back_up("mail", &noise(2 * MIB, 2));
    damage::flip_a_byte_of_the_largest_pack(&lab);
    lab
}

#[test]
fn a_sound_repository_is_clean_at_every_level() {
    let lab = Lab::new();
    lab.back_up("web", &noise(2 * MIB, 1));
    for level in ["list", "hash", "chunks", "points"] {
        let document = lab.json(["scrub", "--level", level]);
        assert_eq!(document["scrub"]["level"], level);
        assert_eq!(document["scrub"]["clean"], true, "{document}");
        assert_eq!(document["scrub"]["findings"], json!([]));
    }
    let ran = lab.run(["scrub"]).expect(0);
    assert!(ran.stdout.starts_with("no damage found (level chunks, 1 restore point, "), "{ran:?}");
    lab.run(["scrub", "--level", "deep"]).expect(2);
}

#[test]
fn damage_is_told_with_the_disks_and_bytes_that_it_reaches() {
    let lab = damaged_lab();
    let ran = lab.run(["scrub", "--level", "points", "--json"]).expect(3);
    let scrub = ran.json()["scrub"].clone();
    assert_eq!(scrub["clean"], false);
    let is_chunk = |finding: &&Value| finding["kind"] == "damaged_chunk";
    let chunk = scrub["findings"].as_array().unwrap().iter().find(is_chunk).unwrap();
    assert_eq!((&chunk["entry_kind"], &chunk["good_copies"]), (&json!("data"), &json!(0)));
    let affected = &scrub["affected"][0];
    assert_eq!((&affected["vm"], &affected["disk"]), (&json!("web"), &json!("disk")));
    assert_eq!(affected["bytes"], MIB);
    assert_eq!(affected["ranges"].as_array().unwrap().len(), 1);
    assert_eq!(scrub["recording"]["outcome"], "recorded");
    assert_eq!(scrub["affected"].as_array().unwrap().len(), 1, "mail is not hit");
}

#[test]
fn the_text_of_damage_names_the_vm_and_the_next_steps() {
    let lab = damaged_lab();
    let ran = lab.run(["scrub"]).expect(3);
    assert!(ran.stdout.starts_with("DAMAGE FOUND "), "{ran:?}");
    assert!(ran.stdout.contains("disk \"disk\": 1 MiB at bytes "), "{ran:?}");
    assert!(ran.stdout.contains("were backed up from: web\n"), "{ran:?}");
}

#[test]
fn the_next_backup_of_the_same_bytes_mends_what_was_found() {
    let lab = damaged_lab();
    lab.run(["scrub"]).expect(3);
    lab.run(["restore", "disk", "web@latest", "disk", "a.raw"]).expect(1);
    let bytes = noise(4 * MIB, 1);
    let old = lab.json(["show", "web@latest"])["point"]["id"].as_str().unwrap().to_owned();
    lab.back_up("web", &bytes);
    lab.run(["restore", "disk", &old, "disk", "a.raw"]).expect(0);
    assert!(fs::read(lab.path("a.raw")).unwrap() == bytes);
}
