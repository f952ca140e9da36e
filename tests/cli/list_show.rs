use std::fs::File;
use std::process::Stdio;

use serde_json::Value;

use crate::support::{Lab, MIB, Ran, noise};

fn lab_with_points() -> Lab {
    let lab = Lab::new();
    lab.back_up("web", &noise(2 * MIB, 1));
    lab.back_up("mail server", &noise(MIB, 2));
    lab.back_up("web", &noise(3 * MIB, 1));
    lab
}

#[test]
fn points_are_listed_by_vm_and_from_the_oldest_to_the_newest() {
    let lab = lab_with_points();
    let points = lab.json(["list"])["points"].as_array().unwrap().clone();
    let key = |point: &Value| format!("{} {}", point["vm"].as_str().unwrap(), point["sequence"]);
    assert_eq!(points.iter().map(key).collect::<Vec<_>>(), ["mail server 1", "web 1", "web 2"]);
    let text = lab.run(["list"]).expect(0).stdout;
    let lines: Vec<_> = text.lines().collect();
    assert!(lines[0].starts_with("VM           TIME "), "{text}");
    assert!(lines[1].starts_with("mail server  20"), "{text}");
    assert_eq!(lines.len(), 4);
    assert!(lines.iter().all(|line| line.trim_end() == *line), "no spaces at the ends of lines");
}

#[test]
fn one_vm_is_listed_and_an_unknown_one_is_an_error() {
    let lab = lab_with_points();
    assert_eq!(lab.json(["list", "web"])["points"].as_array().unwrap().len(), 2);
    let ran = lab.run(["list", "wbe"]).expect(1);
    assert!(ran.stderr.contains("there is no restore point of a VM named \"wbe\""), "{ran:?}");
}

#[test]
fn an_empty_repository_says_how_to_go_on() {
    let ran = Lab::new().run(["list"]).expect(0);
    assert!(ran.stdout.contains("backstop backup image"), "{ran:?}");
}

#[test]
fn a_point_is_shown_by_every_kind_of_name() {
    let lab = lab_with_points();
    let latest = lab.json(["show", "web@latest"])["point"].clone();
    assert_eq!(latest["sequence"], 2);
    let by_time = lab.json(["show", latest["name"].as_str().unwrap()]);
    let by_id = lab.json(["show", &latest["id"].as_str().unwrap()[..12]]);
    assert_eq!(by_time["point"], latest);
    assert_eq!(by_id["point"], latest);
    let text = lab.run(["show", "web@latest"]).expect(0).stdout;
    assert!(text.contains(latest["id"].as_str().unwrap()), "{text}");
}

#[test]
fn times_are_rfc_3339_in_json_and_fit_for_file_names_in_text() {
    let lab = lab_with_points();
    let point = lab.json(["show", "web@latest"])["point"].clone();
    let time = point["time"].as_str().unwrap();
    assert_eq!((time.len(), &time[10..11], &time[19..]), (20, "T", "Z"));
    let in_text = time.replace(':', "");
    assert!(lab.run(["show", "web@latest"]).stdout.contains(&format!("Time        {in_text}\n")));
    assert!(point["name"].as_str().unwrap().ends_with(&in_text));
}

#[test]
fn a_reader_that_goes_away_ends_the_answer_quietly() {
    let lab = lab_with_points();
    for args in [&["list"][..], &["list", "--json"], &["show", "web@latest"], &["--help"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let ran = Ran::of(lab.command(args).stdout(writer).output().unwrap());
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{args:?}");
    }
}

#[test]
fn an_answer_that_cannot_be_written_is_a_failure() {
    let lab = lab_with_points();
    let full = File::options().write(true).open("/dev/full").unwrap();
    let ran = Ran::of(lab.command(["list"]).stdout(Stdio::from(full)).output().unwrap());
    assert!(ran.expect(1).stderr.contains("standard output"));
}

#[test]
fn a_commit_that_cannot_be_read_is_named_and_the_others_are_listed() {
    let lab = lab_with_points();
    let id = lab.json(["show", "web@latest"])["point"]["id"].as_str().unwrap().to_owned();
    let path = lab.repo().join("commit").join(&id);
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, bytes).unwrap();
    let ran = lab.run(["list", "--json"]).expect(3);
    let document = ran.json();
    assert_eq!(document["points"].as_array().unwrap().len(), 2);
    let problem = &document["problems"][0];
    assert_eq!(problem["kind"], "corrupt");
    assert!(problem["message"].as_str().unwrap().contains(&id), "{problem}");
    assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
    assert!(ran.stderr.starts_with("problem: "), "{ran:?}");
}
