use std::fs;

use serde_json::{Value, json};

use crate::damage;
use crate::page::assert_promised;
use crate::support::{Lab, MIB, noise};

#[test]
fn a_damaged_repository_is_healed_only_when_asked_and_then_once() {
    let lab = Lab::new();
    let bytes = noise(4 * MIB, 1);
    lab.back_up("web", &bytes);
    damage::flip_a_byte_of_the_largest_pack(&lab);
    fs::remove_file(lab.repo().join("config.1")).unwrap();
    let plan = lab.run(["repair"]).expect(3);
    assert!(plan.stdout.starts_with("this is to be done; nothing was changed:\n"), "{plan:?}");
    assert!(plan.stdout.contains("disk \"disk\": 1 MiB at bytes "), "{plan:?}");
    assert!(!lab.repo().join("config.1").exists());
    let planned = lab.run(["repair", "--json"]).expect(3).json();
    let done = lab.run(["repair", "--apply", "--json"]).expect(3).json();
    assert_eq!(planned["repair"]["actions"], done["repair"]["actions"]);
    assert_eq!(planned["repair"]["affected"][0]["ranges"], done["repair"]["affected"][0]["ranges"]);
    assert!(lab.repo().join("config.1").exists());
    let again = lab.run(["repair", "--apply", "--json"]).expect(3).json();
    assert_eq!(again["repair"]["actions"], json!([]));
    lab.back_up("web", &bytes);
    let ran = lab.run(["repair", "--apply"]).expect(0);
    assert_eq!(ran.stdout, "nothing to heal\n");
    lab.run(["scrub", "--level", "points"]).expect(0);
}

#[test]
fn what_can_be_healed_is_no_problem_afterwards() {
    let lab = Lab::new();
    lab.back_up("web", &noise(2 * MIB, 1));
    fs::remove_file(lab.repo().join("config.0")).unwrap();
    fs::remove_dir_all(lab.repo().join("index")).unwrap();
    fs::remove_dir(lab.repo().join("forget")).unwrap();
    let ran = lab.run(["repair", "--apply"]).expect(0);
    assert_eq!(ran.stderr, "");
    lab.run(["scrub", "--level", "points"]).expect(0);
}

/// A list that is empty does not tell which keys its elements have.
fn without_empty_lists(mut answer: Value) -> Value {
    let repair = answer["repair"].as_object_mut().unwrap();
    repair.retain(|_, value| {
        !value.is_null() && value.as_array().is_none_or(|list| !list.is_empty())
    });
    answer
}

#[test]
fn reports_of_repairs_have_the_keys_that_the_page_promises() {
    let lab = Lab::new();
    lab.back_up("web", &noise(2 * MIB, 1));
    fs::remove_dir(lab.repo().join("forget")).unwrap();
    let directories = lab.run(["repair", "--json"]).expect(3).json();
    lab.run(["repair", "--apply"]).expect(0);
    damage::flip_a_byte_of_the_largest_pack(&lab);
    lab.run(["scrub"]).expect(3);
    fs::remove_file(lab.repo().join("config.0")).unwrap();
    let damaged = lab.run(["repair", "--json"]).expect(3).json();
    let smallest =
        damage::packs(&lab).into_iter().min_by_key(|pack| pack.metadata().unwrap().len());
    fs::remove_file(smallest.unwrap()).unwrap();
    let healed = lab.run(["repair", "--apply", "--json"]).expect(3).json();
    let commit = fs::read_dir(lab.repo().join("commit")).unwrap().next().unwrap().unwrap().path();
    fs::remove_file(&commit).unwrap();
    fs::write(&commit, "no commit").unwrap();
    let unhealed = lab.run(["repair", "--json"]).expect(3).json();
    let protected = Lab::empty();
    protected.run(["init", "--parity"]).expect(0);
    protected.back_up("web", &noise(2 * MIB, 1));
    damage::flip_a_byte_of_the_largest_pack(&protected);
    let parity = protected.run(["repair", "--apply", "--json"]).expect(0).json();
    let answers = [directories, damaged, healed, unhealed, parity].map(without_empty_lists);
    assert_promised("### `backstop repair`", &answers);
}
