use std::fs;
use std::process::Child;
use std::time::Duration;

use crate::damage;
use crate::page::assert_promised;
use crate::support::{Lab, MIB, noise, signal, wait, wait_until};

/// How long a test waits for what must come.
const LONG: Duration = Duration::from_secs(60);

/// A repository with two restore points of one VM, of which the first was dropped; its id.
fn lab() -> (Lab, String) {
    let lab = Lab::new_in_memory();
    let first = lab.back_up("web", &noise(3 * MIB, 1));
    lab.back_up("web", &noise(2 * MIB, 2));
    let id = first["point"]["id"].as_str().unwrap().to_owned();
    lab.run(["forget", &id]).expect(0);
    (lab, id)
}

fn pack_bytes(lab: &Lab) -> u64 {
    lab.json(["stats"])["stats"]["pack_bytes"].as_u64().unwrap()
}

/// Number of lists of condemned packs.
fn lists(lab: &Lab) -> usize {
    fs::read_dir(lab.repo().join("gc")).unwrap().count()
}

/// A prune that has condemned what it can, and waits.
fn waiting_prune(lab: &Lab) -> Child {
    let child = lab.command(["prune", "--wait", "1h", "--json"]).spawn().unwrap();
    assert!(wait_until(LONG, || lists(lab) > 0), "nothing is condemned");
    child
}

#[track_caller]
fn assert_newest_is_whole(lab: &Lab) {
    lab.run(["restore", "disk", "web@latest", "disk", "back.raw", "--force"]).expect(0);
    assert!(fs::read(lab.path("back.raw")).unwrap() == noise(2 * MIB, 2));
    lab.run(["scrub", "--level", "points"]).expect(0);
}

#[test]
fn a_prune_says_first_what_it_would_do_and_then_does_that() {
    let (lab, id) = lab();
    let before = pack_bytes(&lab);
    let planned = lab.json(["prune", "--dry-run"]);
    assert_promised("### `backstop prune`", std::slice::from_ref(&planned));
    let text = lab.run(["prune", "-n"]).expect(0).stdout;
    assert!(text.contains("Would delete") && text.ends_with("nothing was changed\n"), "{text}");
    assert_eq!(pack_bytes(&lab), before);
    let done = lab.json(["prune"]);
    for key in ["deleted_packs", "deleted_bytes", "dropped_points"] {
        assert_eq!(done["prune"][key], planned["prune"][key], "{key}");
    }
    assert_eq!(before - pack_bytes(&lab), done["prune"]["deleted_bytes"].as_u64().unwrap());
    assert!(before - pack_bytes(&lab) >= 3 * MIB as u64);
    lab.run(["forget", "--undo", &id]).expect(1);
    assert_newest_is_whole(&lab);
    let text = lab.run(["prune"]).expect(0).stdout;
    assert!(text.contains("Deleted         0 packs, 0 B"), "{text}");
}

#[test]
fn a_prune_goes_on_without_a_backup_that_runs_and_a_later_one_finishes() {
    let (lab, id) = lab();
    let mut stream = lab.start_stream("mail", &[]);
    stream.feed(&noise(2 * MIB, 3));
    let before = pack_bytes(&lab);
    let text = lab.run(["prune", "--wait", "0s"]).expect(0).stdout;
    assert!(text.contains("1 session at work may refer to what is to go"), "{text}");
    assert!(text.contains(&format!("\n  process {} on ", stream.id())), "{text}");
    assert!(text.contains("next: backstop prune"), "{text}");
    assert_eq!(pack_bytes(&lab), before);
    let refused = lab.run(["forget", "--undo", &id]).expect(5);
    assert!(refused.stderr.contains("a prune has condemned"), "{refused:?}");
    assert_newest_is_whole(&lab);
    stream.finish().expect(0);
    assert_eq!(lab.json(["prune"])["prune"]["waits_for"], serde_json::json!([]));
    assert!(pack_bytes(&lab) < before);
    assert_eq!(lists(&lab), 0);
    assert_newest_is_whole(&lab);
}

#[test]
fn a_prune_waits_for_a_backup_and_names_itself_to_another_prune() {
    let (lab, _) = lab();
    let mut stream = lab.start_stream("mail", &[]);
    stream.feed(&noise(2 * MIB, 3));
    let prune = waiting_prune(&lab);
    let pid = prune.id();
    let busy = lab.run(["prune"]).expect(5);
    let text = format!("another prune is running (process {pid} on ");
    assert!(busy.stderr.contains(&text), "{busy:?}");
    stream.finish().expect(0);
    let done = wait(prune, LONG).expect(0).json();
    assert!(done["prune"]["deleted_packs"].as_u64().unwrap() > 0, "{done}");
    assert_newest_is_whole(&lab);
}

#[test]
fn a_prune_that_is_interrupted_or_killed_while_it_waits_has_deleted_nothing() {
    let (lab, id) = lab();
    let before = pack_bytes(&lab);
    let mut stream = lab.start_stream("mail", &[]);
    stream.feed(&noise(2 * MIB, 3));
    let prune = waiting_prune(&lab);
    signal(&prune, "INT");
    let ran = wait(prune, Duration::from_secs(2)).expect(1);
    assert_eq!(ran.json()["error"]["kind"], "cancelled");
    assert_eq!((lists(&lab), pack_bytes(&lab)), (0, before));
    lab.run(["forget", "--undo", &id]).expect(0);
    lab.run(["forget", &id]).expect(0);
    let mut prune = waiting_prune(&lab);
    prune.kill().unwrap();
    prune.wait().unwrap();
    assert!(lists(&lab) > 0);
    stream.finish().expect(0);
    lab.run(["prune"]).expect(0);
    assert_eq!(lists(&lab), 0);
    assert!(pack_bytes(&lab) < before);
    assert_newest_is_whole(&lab);
}

#[test]
fn a_repository_of_which_something_is_gone_is_not_pruned() {
    let (lab, _) = lab();
    let pack = damage::largest_pack(&lab);
    let bytes = fs::read(&pack).unwrap();
    fs::remove_file(&pack).unwrap();
    let before = pack_bytes(&lab);
    for args in [&["prune"][..], &["prune", "--dry-run"]] {
        let failed = lab.run(args).expect(1);
        assert!(failed.stderr.contains("nothing was deleted"), "{failed:?}");
        assert!(failed.stderr.contains("backstop scrub"), "{failed:?}");
    }
    assert_eq!(pack_bytes(&lab), before);
    fs::write(&pack, bytes).unwrap();
    lab.run(["prune"]).expect(0);
    assert_newest_is_whole(&lab);
}

#[test]
fn a_prune_after_a_scrub_and_a_new_backup_takes_the_damage_away() {
    let lab = Lab::new();
    lab.back_up("web", &noise(4 * MIB, 1));
    damage::flip_a_byte_of_the_largest_pack(&lab);
    lab.run(["scrub"]).expect(3);
    lab.back_up("web", &noise(4 * MIB, 1));
    lab.run(["prune"]).expect(0);
    lab.run(["scrub", "--level", "points"]).expect(0);
}

#[test]
fn a_command_line_that_makes_no_sense_is_refused() {
    let (lab, _) = lab();
    for args in [["--wait", "soon"], ["--live-share", "101"], ["--live-share", "half"]] {
        lab.run(["prune"].iter().chain(&args)).expect(2);
    }
    // As long as that nobody would ever wait.
    lab.run(["prune", "--wait", "500000000000y"]).expect(0);
}
