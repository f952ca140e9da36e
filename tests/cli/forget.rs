use serde_json::{Value, json};

use crate::page::assert_promised;
use crate::support::{Lab, MIB, noise};

/// A repository with three restore points of one VM and one of another, and their ids.
fn lab() -> (Lab, Vec<String>) {
    let lab = Lab::new();
    let back_up = |vm, seed| {
        let document = lab.back_up(vm, &noise(MIB, seed));
        document["point"]["id"].as_str().unwrap().to_owned()
    };
    let ids = [("web", 1), ("web", 2), ("web", 3), ("mail", 4)].map(|(vm, seed)| back_up(vm, seed));
    (lab, ids.to_vec())
}

fn dropped(document: &Value) -> Vec<String> {
    let points = document["forget"]["points"].as_array().unwrap().iter();
    let dropped = points.filter(|point| point["dropped"] == true);
    dropped.map(|point| point["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_policy_says_first_what_it_would_drop_and_then_drops_that() {
    let (lab, ids) = lab();
    let planned = lab.json(["forget", "--keep-last", "2", "--dry-run"]);
    assert_promised("### `backstop forget`", std::slice::from_ref(&planned));
    assert_eq!(dropped(&planned), ids[..1]);
    assert_eq!(lab.point_count(), 4);
    assert_eq!(dropped(&lab.json(["forget", "--keep-last", "2"])), ids[..1]);
    assert_eq!(lab.point_count(), 3);
    let text = lab.run(["forget", "mail", "--keep-last", "1"]).expect(0).stdout;
    assert!(text.contains("last 1, last good of its VM"), "{text}");
}

#[test]
fn what_was_dropped_is_brought_back() {
    let (lab, ids) = lab();
    lab.run(["forget", &ids[0], &ids[3]]).expect(0);
    assert_eq!(lab.point_count(), 2);
    lab.run(["show", &ids[0]]).expect(1);
    let document = lab.json(["forget", "--undo", &ids[0]]);
    assert_eq!(document["forget"]["undo"], true);
    assert_eq!(lab.point_count(), 3);
    lab.run(["restore", "disk", &ids[0], "disk", "back.raw"]).expect(0);
    assert!(std::fs::read(lab.path("back.raw")).unwrap() == noise(MIB, 1));
    lab.run(["forget", "--undo", &ids[0]]).expect(1);
}

#[test]
fn what_is_held_is_not_dropped_by_policy_or_name() {
    let (lab, ids) = lab();
    let held = lab.json(["hold", &ids[0], "--note", "audit"]);
    assert_promised("### `backstop hold`", &[held]);
    let judged = lab.json(["forget", "web", "--keep-last", "1"]);
    assert_eq!(dropped(&judged), ids[1..2]);
    assert_eq!(judged["forget"]["points"][0]["reasons"], json!(["held"]));
    lab.run(["forget", &ids[0]]).expect(4);
    assert_promised("### `backstop unhold`", &[lab.json(["unhold", &ids[0]])]);
    lab.run(["forget", &ids[0]]).expect(0);
    assert_eq!(lab.point_count(), 2);
}

#[test]
fn a_command_line_that_would_drop_everything_or_nothing_is_refused() {
    let (lab, ids) = lab();
    lab.run(["forget"]).expect(2);
    lab.run(["forget", "--keep-last", "0"]).expect(2);
    lab.run(["forget", "--time-zone", "UTC"]).expect(2);
    lab.run(["forget", "--keep-daily", "1", "--time-zone", "Middle/Earth"]).expect(2);
    lab.run(["forget", "--undo", "--keep-last", "1", &ids[0]]).expect(2);
    lab.run(["forget", "db", "--keep-last", "1"]).expect(1);
    assert_eq!(lab.point_count(), 4);
}
