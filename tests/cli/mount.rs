use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixDatagram;
use std::process::Child;
use std::time::Duration;

use crate::page::assert_promised;
use crate::skip::{is_root, skip};
use crate::support::{Lab, MIB, noise, signal, wait};

/// How long a mount may take to end.
const PATIENCE: Duration = Duration::from_secs(20);

/// Whether this machine can mount; says so where it cannot.
pub(crate) fn can_mount(test: &str) -> bool {
    let opened = File::options().read(true).write(true).open("/dev/fuse");
    match (is_root(), opened) {
        (true, Ok(_)) => true,
        (false, _) => no(test, "not root"),
        (_, Err(error)) => no(test, &format!("/dev/fuse: {error}")),
    }
}

fn no(test: &str, reason: &str) -> bool {
    skip(test, reason);
    false
}

/// Mounts, and returns the run with all that it has printed by then: `lines` lines.
fn mount(lab: &Lab, more: &[&str], lines: usize) -> (Child, String) {
    fs::create_dir_all(lab.path("mnt")).unwrap();
    let mut child = lab.command(["mount", "mnt"].iter().chain(more)).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut text = String::new();
    for _ in 0..lines {
        stdout.read_line(&mut text).unwrap();
    }
    (child, text)
}

#[test]
fn a_mount_shows_the_disks_until_it_is_interrupted() {
    if !can_mount("a_mount_shows_the_disks_until_it_is_interrupted") {
        return;
    }
    let lab = Lab::new();
    let bytes = noise(3 * MIB + 5, 1);
    lab.back_up("web", &bytes);
    let (child, text) = mount(&lab, &[], 2);
    assert!(text.starts_with("mounted all restore points at mnt"), "{text}");
    assert!(text.contains("fusermount3 -u mnt"), "{text}");
    let mut shown = Vec::new();
    File::open(lab.path("mnt/vms/web/latest/disk.raw")).unwrap().read_to_end(&mut shown).unwrap();
    assert!(shown == bytes, "the mount shows what was backed up");
    signal(&child, "INT");
    wait(child, PATIENCE).expect(0);
    assert_eq!(fs::read_dir(lab.path("mnt")).unwrap().count(), 0);
}

#[test]
fn a_mount_answers_with_one_document_and_ends_when_it_is_unmounted() {
    if !can_mount("a_mount_answers_with_one_document_and_ends_when_it_is_unmounted") {
        return;
    }
    let lab = Lab::new();
    let answer = |more: &[&str], lines: usize| {
        let (child, text) = mount(&lab, &[&["--json"], more].concat(), lines);
        let document: serde_json::Value = serde_json::from_str(&text).unwrap();
        let unmounted = std::process::Command::new("umount").arg(lab.path("mnt")).status().unwrap();
        assert!(unmounted.success());
        wait(child, PATIENCE).expect(0);
        document
    };
    let plain = answer(&["--cache", "32MiB"], 11);
    assert_eq!(plain["mount"]["mountpoint"], "mnt");
    assert_eq!(plain["mount"]["cache_bytes"], 32 * MIB);
    assert!(plain["mount"]["overlay"].is_null() && plain["mount"]["stats"].is_null());
    fs::create_dir(lab.path("over")).unwrap();
    let limit = ["--overlay-limit", "5MiB"];
    let more = [&["--stats", "--writable", "--overlay", "over", "--keep"][..], &limit].concat();
    let writable = answer(&more, 15);
    assert_eq!(writable["mount"]["stats"], "mnt/.backstop/stats.json");
    let overlay = &writable["mount"]["overlay"];
    assert_eq!((&overlay["limit_bytes"], &overlay["kept"]), (&(5 * MIB).into(), &true.into()));
    assert_promised("### `backstop mount`", &[plain, writable]);
}

#[test]
fn a_disk_is_written_only_where_that_was_asked_for() {
    if !can_mount("a_disk_is_written_only_where_that_was_asked_for") {
        return;
    }
    let lab = Lab::new();
    let bytes = noise(MIB + 5, 1);
    lab.back_up("web", &bytes);
    let disk = lab.path("mnt/vms/web/latest/disk.raw");
    let write =
        |disk| File::options().write(true).open(disk).and_then(|mut file| file.write_all(b"new"));
    let (child, _) = mount(&lab, &[], 2);
    assert_eq!(write(&disk).unwrap_err().kind(), io::ErrorKind::ReadOnlyFilesystem);
    signal(&child, "INT");
    wait(child, PATIENCE).expect(0);
    let (child, text) = mount(&lab, &["--writable"], 3);
    assert!(text.contains("ends with this"), "{text}");
    write(&disk).unwrap();
    assert!(fs::read(&disk).unwrap() == [b"new".as_slice(), &bytes[3..]].concat());
    signal(&child, "INT");
    wait(child, PATIENCE).expect(0);
    lab.run(["mount", "mnt", "--writable", "--overlay", "missing"]).expect(2);
    lab.run(["mount", "mnt", "--keep"]).expect(2);
}

#[test]
fn a_directory_that_cannot_be_mounted_on_is_refused_with_a_hint() {
    let lab = Lab::new();
    let ran = lab.run(["mount", "missing"]).expect(1);
    assert!(ran.stderr.contains("make the directory first"), "{ran:?}");
    lab.run(["mount", "mnt", "--cache", "5"]).expect(2);
    let inside = lab.repo().join("mnt");
    fs::create_dir(&inside).unwrap();
    let ran = lab.run(["mount", inside.to_str().unwrap()]).expect(1);
    assert!(ran.stderr.contains("outside of the repository"), "{ran:?}");
}

#[test]
fn a_service_is_told_when_the_mount_is_there() {
    if !can_mount("a_service_is_told_when_the_mount_is_there") {
        return;
    }
    let lab = Lab::new();
    lab.back_up("web", &noise(MIB, 1));
    fs::create_dir(lab.path("mnt")).unwrap();
    let socket = UnixDatagram::bind(lab.path("notify")).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut command = lab.command(["mount", "mnt"]);
    let child = command.env("NOTIFY_SOCKET", lab.path("notify")).spawn().unwrap();
    let mut told = [0; 64];
    let len = socket.recv(&mut told).unwrap();
    assert_eq!(&told[..len], b"READY=1");
    assert!(lab.path("mnt/vms/web/latest/disk.raw").exists());
    signal(&child, "TERM");
    wait(child, PATIENCE).expect(0);
}

#[test]
fn mount_itself_mounts_restore_points_by_its_helper() {
    if !can_mount("mount_itself_mounts_restore_points_by_its_helper") {
        return;
    }
    let lab = Lab::new();
    let bytes = noise(MIB, 1);
    lab.back_up("web", &bytes);
    for dir in ["mnt", "helpers"] {
        fs::create_dir(lab.path(dir)).unwrap();
    }
    for helper in ["mount.backstop", "mount.fuse.backstop"] {
        symlink(env!("CARGO_BIN_EXE_backstop"), lab.path("helpers").join(helper)).unwrap();
    }
    // In mounts of its own, where /sbin holds the helpers alone.
    let script = "mount --bind helpers /sbin/. &&
        for kind in backstop fuse.backstop; do
            mount -t $kind \"$BACKSTOP_REPO\" \"$PWD/mnt\" -o defaults,cache=32MiB || exit 1
            cmp mnt/vms/web/latest/disk.raw image.raw || exit 1
            umount mnt || exit 1
        done
        mount -t backstop \"$BACKSTOP_REPO\" \"$PWD/missing\" && exit 1
        mount -t backstop \"$BACKSTOP_REPO\" \"$PWD/mnt\" -o nonsense && exit 1
        echo done";
    let mut command = std::process::Command::new("unshare");
    command.args(["-m", "sh", "-c", script]).current_dir(lab.path(""));
    command.env("BACKSTOP_REPO", lab.path("repo"));
    let ran = command.output().unwrap();
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(said.ends_with("done\n"), "{ran:?}");
    assert!(said.contains("mounted all restore points"), "{ran:?}");
}
