use std::fs::{self, File};
use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::skip::skip;
use crate::support::{Lab, MIB, Ran, noise};

/// A chunk of noise, a chunk of zeros, the same noise, and a bit of something else.
fn small_disk() -> Vec<u8> {
    let data = noise(MIB, 1);
    [&data[..], &vec![0; MIB], &data, b"the end"].concat()
}

#[test]
fn the_document_says_what_was_read_found_and_stored() {
    let lab = Lab::new();
    let document = lab.back_up("web", &small_disk());
    let stats = &document["stats"];
    assert_eq!(stats["zero_bytes"], MIB);
    assert_eq!(stats["duplicate_bytes"], MIB);
    assert_eq!(stats["new_plain_bytes"], MIB + 7);
    assert!(stats["stored_bytes"].as_u64().unwrap() > MIB as u64);
    let disk = &document["point"]["disks"][0];
    assert_eq!(disk["name"], "disk");
    assert_eq!(disk["size_bytes"], 3 * MIB + 7);
    assert_eq!(disk["format"], "raw");
    assert_eq!(document["problems"], json!([]));
    let again = lab.back_up("web", &small_disk());
    assert_eq!(again["stats"]["new_plain_bytes"], 0);
    assert_eq!(again["stats"]["duplicate_bytes"], 2 * MIB + 7);
    assert_eq!(again["point"]["previous"], document["point"]["id"]);
    assert_eq!(again["point"]["disks"][0]["map_root"], disk["map_root"]);
}

#[test]
fn the_text_names_the_restore_point_and_the_next_step() {
    let lab = Lab::new();
    let image = lab.file("web.raw", &small_disk());
    let ran = lab.run(["backup", "image", "--vm", "web", &image]).expect(0);
    assert!(ran.stdout.starts_with("backed up web@"), "{ran:?}");
    let next = ran.stdout.lines().find_map(|line| line.strip_prefix("next: backstop show "));
    lab.run(["show", next.unwrap()]).expect(0);
    assert!(ran.stdout.contains("Duplicate  1 MiB\n"), "{ran:?}");
    assert_eq!(ran.stderr, "");
}

#[test]
fn names_may_have_spaces_and_letters_of_all_languages() {
    let lab = Lab::new();
    let image = lab.file("Plattenspieler äöü 磁盘.raw", b"data");
    let ran = lab.run(["backup", "image", "--vm", "it's a VM → 虚拟机", &image]).expect(0);
    let quoted = r"'it'\''s a VM → 虚拟机@";
    assert!(ran.stdout.contains(&format!("next: backstop show {quoted}")), "{ran:?}");
    let document = lab.json(["show", "it's a VM → 虚拟机@latest"]);
    assert_eq!(document["point"]["disks"][0]["name"], "Plattenspieler äöü 磁盘");
}

#[test]
fn a_path_with_an_equals_sign_is_a_path_where_there_is_such_a_file() {
    let lab = Lab::new();
    lab.file("size=2.raw", b"data");
    let document = lab.json(["backup", "image", "--vm", "web", "size=2.raw", "b=size=2.raw"]);
    let names: Vec<_> = disks(&document).map(|disk| disk["name"].clone()).collect();
    assert_eq!(names, ["size=2", "b"]);
}

fn disks(document: &Value) -> impl Iterator<Item = &Value> {
    document["point"]["disks"].as_array().unwrap().iter()
}

#[test]
fn standard_input_is_a_disk_of_any_length() {
    let lab = Lab::new();
    for len in [0, 1, MIB, 5 * MIB + 11] {
        let bytes = noise(len, 7);
        let mut stream = lab.start_stream("mail", &[]);
        stream.feed(&bytes);
        let document = stream.finish().expect(0).json();
        let disk = &document["point"]["disks"][0];
        assert_eq!((&disk["size_bytes"], &disk["format"]), (&json!(len), &json!("stream")));
        let restored = lab.command(["restore", "disk", "mail@latest", "disk", "-"]).output();
        assert!(restored.unwrap().stdout == bytes, "{len} bytes come back");
    }
}

#[test]
fn standard_input_is_named_disk_unless_named_and_is_there_once() {
    let lab = Lab::new();
    let document = lab.json(["backup", "image", "--vm", "mail", "-"]);
    assert_eq!(disks(&document).next().unwrap()["name"], "disk");
    lab.run(["backup", "image", "--vm", "mail", "a=-", "b=-"]).expect(2);
    lab.run(["backup", "image", "--vm", "mail", "--format", "qcow2", "-"]).expect(2);
}

#[test]
fn two_disks_of_one_name_are_refused_before_anything_begins() {
    let lab = Lab::empty();
    let ran = lab.run(["backup", "image", "--vm", "web", "a/disk.raw", "b/disk.qcow2"]).expect(2);
    assert!(ran.stderr.contains("a/disk.raw and b/disk.qcow2"), "{ran:?}");
}

#[test]
fn an_image_that_cannot_be_opened_gives_no_restore_point() {
    let lab = Lab::new();
    let good = lab.file("good.raw", b"data");
    for bad in ["missing.raw", ".", "/dev/null"] {
        let ran = lab.run(["backup", "image", "--vm", "web", &good, &format!("bad={bad}")]);
        assert!(ran.expect(1).stderr.contains("hint: "), "{bad}");
    }
    assert_eq!(lab.point_count(), 0);
}

#[test]
fn an_image_that_shrinks_while_it_is_read_gives_no_restore_point() {
    let lab = Lab::new();
    let image = lab.file("shrinking.raw", &noise(3 * MIB, 2));
    // The images are open when the first one, standard input, is read.
    let mut stream = lab.start_stream("web", &[&image]);
    stream.feed(&noise(2 * MIB, 3));
    File::options().write(true).open(&image).unwrap().set_len(MIB as u64).unwrap();
    let document = stream.finish().expect(1).json();
    assert_eq!(document["error"]["kind"], "source");
    assert_eq!(lab.point_count(), 0);
}

#[test]
fn an_image_that_changes_while_it_is_read_gives_no_restore_point() {
    let lab = Lab::new();
    let image = lab.file("changing.raw", &noise(3 * MIB, 2));
    let mut stream = lab.start_stream("web", &[&image]);
    stream.feed(&noise(2 * MIB, 3));
    let mut writer = File::options().write(true).open(&image).unwrap();
    // Times of files advance in ticks of the kernel.
    std::thread::sleep(std::time::Duration::from_millis(50));
    writer.write_all(b"something else").unwrap();
    stream.finish().expect(1);
    assert_eq!(lab.point_count(), 0);
}

#[test]
fn a_read_that_fails_gives_no_restore_point() {
    let lab = Lab::new();
    let mut command = lab.command(["backup", "image", "--vm", "web", "--json", "-"]);
    // Reading a directory is an error of the operating system.
    command.stdin(Stdio::from(File::open(lab.path("")).unwrap()));
    let document = Ran::of(command.output().unwrap()).expect(1).json();
    assert_eq!(document["error"]["kind"], "source");
    assert_eq!(lab.point_count(), 0);
}

#[test]
fn what_a_failed_run_has_stored_is_found_by_the_next() {
    let lab = Lab::new();
    let good = lab.file("good.raw", &noise(4 * MIB, 5));
    let shrinking = lab.file("shrinking.raw", &noise(2 * MIB, 6));
    let mut stream = lab.start_stream("web", &[&good, &shrinking]);
    stream.feed(&[1; 100 << 10]);
    File::options().write(true).open(&shrinking).unwrap().set_len(5).unwrap();
    stream.finish().expect(1);
    let document = lab.json(["backup", "image", "--vm", "web", &good]);
    assert_eq!(document["stats"]["duplicate_bytes"], 4 * MIB);
}

#[test]
fn a_qcow2_image_is_backed_up_as_the_disk_that_it_holds() {
    let lab = Lab::new();
    let bytes = small_disk();
    let raw = lab.file("plain.raw", &bytes);
    let qcow2 = lab.path("web.qcow2");
    let mut convert = Command::new("qemu-img");
    convert.args(["convert", "-q", "-O", "qcow2", &raw]).arg(&qcow2);
    if !convert.status().is_ok_and(|status| status.success()) {
        return skip("a_qcow2_image_is_backed_up_as_the_disk_that_it_holds", "no qemu-img");
    }
    let document = lab.json(["backup", "image", "--vm", "web", qcow2.to_str().unwrap()]);
    let disk = disks(&document).next().unwrap();
    assert_eq!((&disk["name"], &disk["format"]), (&json!("web"), &json!("qcow2")));
    lab.run(["restore", "disk", "web@latest", "web", "back.raw"]).expect(0);
    let back = fs::read(lab.path("back.raw")).unwrap();
    assert!(back.starts_with(&bytes), "qemu-img rounds the length up to a sector");
    // Without its name it is refused until somebody says what it is.
    let hidden = lab.path("web.img");
    fs::rename(&qcow2, &hidden).unwrap();
    let hidden = hidden.to_str().unwrap();
    let ran = lab.run(["backup", "image", "--vm", "web", hidden]).expect(1);
    assert!(ran.stderr.contains("--format"), "{ran:?}");
    lab.run(["backup", "image", "--vm", "web", "--format", "qcow2", hidden]).expect(0);
}

#[test]
fn a_backing_file_is_read_only_where_that_is_wanted() {
    let lab = Lab::new();
    let base = lab.file("base.raw", &noise(2 * MIB, 8));
    let mut create = Command::new("qemu-img");
    create.args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b", &base]);
    if !create.arg(lab.path("top.qcow2")).status().is_ok_and(|status| status.success()) {
        return skip("a_backing_file_is_read_only_where_that_is_wanted", "no qemu-img");
    }
    let ran = lab.run(["backup", "image", "--vm", "web", "top.qcow2"]).expect(1);
    assert!(ran.stderr.contains("--backing"), "{ran:?}");
    let document = lab.json(["backup", "image", "--vm", "web", "--backing", "top.qcow2"]);
    let disk = disks(&document).next().unwrap();
    assert_eq!(disk["backing_files"].as_array().unwrap().len(), 1);
    lab.run(["restore", "disk", "web@latest", "top", "back.raw"]).expect(0);
    assert!(fs::read(lab.path("back.raw")).unwrap() == noise(2 * MIB, 8));
}
