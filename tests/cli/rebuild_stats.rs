use std::fs;

use serde_json::json;

use crate::damage;
use crate::page::assert_promised;
use crate::support::{Lab, MIB, noise};

#[test]
fn a_lost_index_is_made_anew() {
    let lab = Lab::new();
    let bytes = noise(3 * MIB, 1);
    lab.back_up("web", &bytes);
    fs::remove_dir_all(lab.repo().join("index")).unwrap();
    lab.run(["restore", "disk", "web@latest", "disk", "a.raw"]).expect(1);
    let document = lab.json(["rebuild-index"]);
    assert_promised("### `backstop rebuild-index`", std::slice::from_ref(&document));
    assert_eq!(document["rebuild"]["unreadable_packs"], json!([]));
    lab.run(["restore", "disk", "web@latest", "disk", "b.raw"]).expect(0);
    assert!(fs::read(lab.path("b.raw")).unwrap() == bytes);
}

#[test]
fn a_rebuild_over_a_damaged_pack_is_done_with_problems() {
    let lab = Lab::new();
    lab.back_up("web", &noise(3 * MIB, 1));
    let pack = damage::packs(&lab).pop().unwrap();
    let bytes = fs::read(&pack).unwrap();
    fs::remove_file(&pack).unwrap();
    fs::write(&pack, &bytes[..bytes.len() - 100]).unwrap();
    let ran = lab.run(["rebuild-index"]).expect(3);
    assert!(ran.stdout.contains("next: backstop scrub"), "{ran:?}");
    assert!(ran.stderr.starts_with("problem: "), "{ran:?}");
}

#[test]
fn stats_count_what_is_there() {
    let lab = Lab::new();
    assert_eq!(lab.json(["stats"])["stats"]["ratio"], json!(null));
    lab.back_up("web", &noise(2 * MIB, 1));
    lab.back_up("web", &noise(3 * MIB, 1));
    lab.back_up("mail", &noise(MIB, 2));
    let document = lab.json(["stats"]);
    assert_promised("### `backstop stats`", std::slice::from_ref(&document));
    let stats = &document["stats"];
    assert_eq!((&stats["vms"], &stats["points"]), (&json!(2), &json!(3)));
    assert_eq!(stats["logical_bytes"], 6 * MIB);
    assert_eq!(stats["latest_bytes"], 4 * MIB);
    let text = lab.run(["stats"]).expect(0).stdout;
    assert!(text.starts_with("Restore points  3 of 2 VMs, with 3 disks\n"), "{text}");
}
