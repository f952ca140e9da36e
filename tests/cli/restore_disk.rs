use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use crate::support::{Lab, MIB, Ran, noise};

fn disk() -> Vec<u8> {
    let mut bytes = noise(2 * MIB, 1);
    bytes.extend(vec![0; 4 * MIB]);
    bytes.extend(b"and a bit");
    bytes
}

#[test]
fn a_disk_comes_back_as_a_sparse_file_that_only_its_user_can_read() {
    let lab = Lab::new();
    lab.back_up("web", &disk());
    let ran = lab.run(["restore", "disk", "web@latest", "disk", "back.raw"]).expect(0);
    assert!(ran.stdout.starts_with("restored disk \"disk\" of web@"), "{ran:?}");
    assert!(fs::read(lab.path("back.raw")).unwrap() == disk());
    let about = fs::metadata(lab.path("back.raw")).unwrap();
    assert!(about.blocks() * 512 < 4 * MIB as u64, "zeros take no room");
    assert_eq!(about.permissions().mode() & 0o777, 0o600);
}

#[test]
fn the_document_says_what_was_written() {
    let lab = Lab::new();
    let point = lab.back_up("web", &disk())["point"].clone();
    let document = lab.json(["restore", "disk", "web@latest", "disk", "back.raw"]);
    let restore = &document["restore"];
    assert_eq!(restore["point"], point["id"]);
    assert_eq!(restore["size_bytes"], disk().len());
    assert_eq!(restore["map_root"], point["disks"][0]["map_root"]);
    assert_eq!(restore["zero_bytes"], 4 * MIB);
}

#[test]
fn nothing_is_overwritten_unasked() {
    let lab = Lab::new();
    lab.back_up("web", &disk());
    lab.file("there.raw", b"precious");
    let ran = lab.run(["restore", "disk", "web@latest", "disk", "there.raw"]).expect(1);
    assert!(ran.stderr.contains("--force"), "{ran:?}");
    assert_eq!(fs::read(lab.path("there.raw")).unwrap(), b"precious");
    lab.run(["restore", "disk", "web@latest", "disk", "there.raw", "--force"]).expect(0);
    assert!(fs::read(lab.path("there.raw")).unwrap() == disk());
}

#[test]
fn standard_output_carries_the_disk_and_nothing_else() {
    let lab = Lab::new();
    lab.back_up("web", &disk());
    let args = ["restore", "disk", "web@latest", "disk", "-"];
    let output = lab.command(args).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stdout == disk());
    let summary = String::from_utf8(output.stderr).unwrap();
    assert!(summary.contains("to standard output: 6 MiB"), "{summary}");
    let refused = lab.run(args.iter().chain([&"--json"])).expect(2);
    assert_eq!(refused.json()["error"]["kind"], "usage");
}

#[test]
fn a_restore_whose_reader_goes_away_fails() {
    let lab = Lab::new();
    lab.back_up("web", &disk());
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let args = ["restore", "disk", "web@latest", "disk", "-"];
    let output = lab.command(args).stdout(writer).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn a_wrong_disk_is_answered_with_the_names_of_the_right_ones() {
    let lab = Lab::new();
    lab.file("a.raw", b"1");
    lab.file("b.raw", b"2");
    lab.json(["backup", "image", "--vm", "web", "a.raw", "b.raw"]);
    let ran = lab.run(["restore", "disk", "web@latest", "c", "back.raw"]).expect(1);
    assert!(ran.stderr.contains(r#"its disks are "a", "b""#), "{ran:?}");
    assert!(!lab.path("back.raw").exists());
}

#[test]
fn a_damaged_chunk_fails_the_restore_and_is_named() {
    let lab = Lab::new();
    lab.back_up("web", &disk());
    crate::damage::flip_a_byte_of_the_largest_pack(&lab);
    let ran = lab.run(["restore", "disk", "web@latest", "disk", "back.raw", "--json"]).expect(1);
    let error = &ran.json()["error"];
    assert_eq!(error["kind"], "corrupt");
    assert!(error["hint"].as_str().unwrap().contains("scrub"), "{error}");
    assert!(error["message"].as_str().unwrap().contains("of disk \"disk\""), "{error}");
}

#[test]
fn where_the_target_is_full_nothing_is_said_to_be_kept() {
    let lab = Lab::new();
    lab.back_up("web", &noise(MIB, 1));
    let mut command = lab.command(["restore", "disk", "web@latest", "disk", "-"]);
    command.stdout(fs::File::options().write(true).open("/dev/full").unwrap());
    let ran = Ran::of(command.output().unwrap()).expect(1);
    assert!(ran.stderr.contains("hint: make room where TARGET lies"), "{ran:?}");
}
