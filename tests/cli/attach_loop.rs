use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::mount::can_mount;
use crate::page::assert_promised;
use crate::skip::skip;
use crate::support::{Lab, MIB, noise, signal, wait, wait_until};

const PATIENCE: Duration = Duration::from_secs(20);

/// A repository whose attachments end with the value, and the name of its VM, which no other has.
struct Site(Lab, String);

impl Site {
    /// None, with a note, where this machine cannot attach. Loop devices are few.
    fn new(test: &str) -> Option<Self> {
        if !can_mount(test) {
            return None;
        }
        if !Path::new("/dev/loop-control").exists() {
            skip(test, "there are no loop devices");
            return None;
        }
        let lab = Lab::new();
        let vm = lab.path("").file_name().unwrap().to_string_lossy().replace('.', "vm");
        Some(Self(lab, vm))
    }

    /// Backs up an image as the disk of the VM.
    fn back_up(&self, image: &str) {
        self.0.json(["backup", "image", "--vm", &self.1, &format!("disk={image}")]);
    }

    fn latest(&self) -> String {
        format!("{}@latest", self.1)
    }

    fn attach(&self, more: &[&str]) -> Value {
        self.0.json(["attach", &self.latest(), "disk"].iter().chain(more))
    }

    /// Whether the device lies over a restore point of this VM.
    fn has(&self, device: &Path) -> bool {
        let name = device.file_name().unwrap().to_str().unwrap();
        let file = fs::read_to_string(format!("/sys/block/{name}/loop/backing_file"));
        file.is_ok_and(|file| file.contains(&format!("/vms/{}/", self.1)))
    }

    /// Attaches the disk, with the device.
    fn device(&self, more: &[&str]) -> PathBuf {
        self.attach(more)["attach"]["device"].as_str().unwrap().into()
    }

    fn list(&self) -> Vec<Value> {
        self.0.json(["attach", "--list"])["attachments"].as_array().unwrap().clone()
    }

    /// The only attachment.
    fn only(&self) -> Value {
        let mut list = self.list();
        assert_eq!(list.len(), 1, "{list:?}");
        list.remove(0)
    }

    fn kill_server(&self) {
        let process = self.only()["process"].to_string();
        assert!(Command::new("kill").args(["-9", &process]).status().unwrap().success());
        assert!(wait_until(PATIENCE, || self.only()["state"] == "dead"));
    }

    /// Nothing is attached, no device of ours is left, no directory, no mount.
    #[track_caller]
    fn assert_clean(&self, device: &Path) {
        assert!(wait_until(PATIENCE, || self.list().is_empty()), "{:?}", self.list());
        assert!(!self.has(device), "{device:?}");
        let left: Vec<_> = fs::read_dir(self.0.path("run")).unwrap().collect();
        assert_eq!(left.len(), 1, "the lock of the directory alone: {left:?}");
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        assert!(!mounts.contains(self.0.path("run").to_str().unwrap()), "{mounts}");
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ended = self.0.command(["detach", "--all"]).output();
    }
}

fn read(device: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    File::open(device).unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

fn run(program: &str, args: &[&str]) {
    let ran = Command::new(program).args(args).output().unwrap();
    assert!(ran.status.success(), "{program} {args:?}: {ran:?}");
}

#[test]
fn a_disk_is_a_block_device_until_it_is_detached() {
    let Some(site) = Site::new("a_disk_is_a_block_device_until_it_is_detached") else { return };
    let bytes = noise(3 * MIB + 512, 1);
    site.0.back_up(&site.1, &bytes);
    let attached = site.attach(&[]);
    let device = PathBuf::from(attached["attach"]["device"].as_str().unwrap());
    assert!(read(&device) == bytes);
    let written = File::options().write(true).open(&device);
    let written = written.and_then(|file| file.write_all_at(&[0; 512], 0));
    assert!(written.is_err(), "only to be read");
    let name = device.file_name().unwrap().to_str().unwrap();
    let about = |file: &str| fs::read_to_string(format!("/sys/block/{name}/{file}")).unwrap();
    assert_eq!((about("ro").trim(), about("loop/dio").trim()), ("1", "1"));
    assert_eq!(about("queue/read_ahead_kb").trim(), "2048");
    let list = site.0.json(["attach", "--list"]);
    let listed = &list["attachments"][0];
    assert_eq!((&listed["state"], &listed["vm"]), (&"attached".into(), &site.1.clone().into()));
    let text = site.0.run(["attach", "--list"]).expect(0).stdout;
    assert!(text.contains(device.to_str().unwrap()) && text.contains("attached"), "{text}");
    let detached = site.0.json(["detach", device.to_str().unwrap()]);
    assert_eq!(detached["detached"][0]["place"], attached["attach"]["device"]);
    site.assert_clean(&device);
    let refused = site.0.run(["detach", "/dev/loop99"]).expect(1);
    assert!(refused.stderr.contains("attach --list"), "{refused:?}");
    assert_promised("### `backstop detach`", &[detached]);
    assert_promised("#### Attachments", &[list]);
}

#[test]
fn a_disk_of_ten_tebibytes_is_there_in_a_second() {
    let Some(site) = Site::new("a_disk_of_ten_tebibytes_is_there_in_a_second") else { return };
    let image = site.0.file("big.raw", b"");
    let file = File::options().write(true).open(&image).unwrap();
    file.set_len(10 << 40).unwrap();
    file.write_all_at(&noise(MIB, 1), 9 << 40).unwrap();
    site.back_up(&image);
    let began = Instant::now();
    let device = site.device(&[]);
    let took = began.elapsed();
    let mut bytes = vec![0; MIB];
    File::open(&device).unwrap().read_exact_at(&mut bytes, 9 << 40).unwrap();
    assert!(bytes == noise(MIB, 1));
    // Much more than it takes, for machines that do much else.
    assert!(took < Duration::from_secs(1), "{took:?}");
    site.0.json(["detach", "--all"]);
    site.assert_clean(&device);
}

#[test]
fn a_device_in_use_is_not_detached_and_who_uses_it_is_named() {
    let name = "a_device_in_use_is_not_detached_and_who_uses_it_is_named";
    let Some(site) = Site::new(name) else { return };
    let image = site.0.file("fs.raw", b"");
    File::options().write(true).open(&image).unwrap().set_len(32 << 20).unwrap();
    run("mkfs.ext4", &["-q", &image]);
    site.back_up(&image);
    let overlay = site.0.path("over");
    fs::create_dir(&overlay).unwrap();
    let more = ["--writable", "--overlay", overlay.to_str().unwrap(), "--keep"];
    let device = site.device(&more);
    let (node, dir) = (device.to_str().unwrap(), site.0.path("guest"));
    fs::create_dir(&dir).unwrap();
    run("mount", &[node, dir.to_str().unwrap()]);
    fs::write(dir.join("new"), b"written").unwrap();
    let refused = site.0.run(["detach", node]).expect(5);
    let said = format!("mounted at {}", dir.display());
    assert!(refused.stderr.contains(&said), "{refused:?}");
    run("umount", &[dir.to_str().unwrap()]);
    let open = File::open(&device).unwrap();
    let refused = site.0.run(["detach", node]).expect(5);
    assert!(refused.stderr.contains(&format!("({})", std::process::id())), "{refused:?}");
    drop(open);
    site.0.json(["detach", node]);
    site.assert_clean(&device);
    let again = site.device(&more);
    run("mount", &["-o", "ro", again.to_str().unwrap(), dir.to_str().unwrap()]);
    assert_eq!(fs::read(dir.join("new")).unwrap(), b"written", "what was written is kept");
    run("umount", &[dir.to_str().unwrap()]);
    site.0.json(["detach", "--all"]);
    site.assert_clean(&again);
}

#[test]
fn files_of_a_guest_that_was_not_shut_down_are_shown_by_the_script_for_that() {
    let name = "files_of_a_guest_that_was_not_shut_down_are_shown_by_the_script_for_that";
    let Some(site) = Site::new(name) else { return };
    let (image, files) = (site.0.file("fs.raw", b""), site.0.path("files"));
    fs::create_dir(&files).unwrap();
    fs::write(files.join("hosts"), b"of the guest").unwrap();
    run("mkfs.ext4", &["-q", "-d", files.to_str().unwrap(), &image, "32M"]);
    // As the file system of a machine that runs says of itself.
    run("debugfs", &["-w", "-R", "feature needs_recovery", &image]);
    site.back_up(&image);
    let dir = site.0.path("guest");
    fs::create_dir(&dir).unwrap();
    let (dir, script) = (dir.to_str().unwrap(), "tools/guest-files");
    for more in [&[][..], &["--writable"]] {
        let device = site.device(more);
        let node = device.to_str().unwrap();
        let plain = Command::new("mount").args(["-o", "ro", node, dir]).output().unwrap();
        assert_eq!(plain.status.success(), !more.is_empty(), "what the script is for: {plain:?}");
        if plain.status.success() {
            run("umount", &[dir]);
        }
        run(script, &["mount", node, dir]);
        let shown = Path::new(dir).join(device.file_name().unwrap());
        assert_eq!(fs::read(shown.join("hosts")).unwrap(), b"of the guest");
        assert!(fs::write(shown.join("hosts"), b"").is_err());
        site.0.run(["detach", node]).expect(5);
        run(script, &["umount", dir]);
        site.0.json(["detach", node]);
        site.assert_clean(&device);
    }
}

#[test]
fn partitions_are_devices_where_that_was_asked_for() {
    let name = "partitions_are_devices_where_that_was_asked_for";
    let Some(site) = Site::new(name) else { return };
    let image = site.0.file("parts.raw", &noise(16 * MIB, 1));
    let mut sfdisk =
        Command::new("/sbin/sfdisk").args(["-q", &image]).stdin(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut sfdisk.stdin.take().unwrap(), b"2048,8192\n,\n").unwrap();
    assert!(sfdisk.wait().unwrap().success());
    let bytes = fs::read(&image).unwrap();
    site.back_up(&image);
    let attached = site.attach(&["--partscan"]);
    let device = PathBuf::from(attached["attach"]["device"].as_str().unwrap());
    let node = device.to_str().unwrap();
    let parts: Vec<_> = (1..3).map(|number| format!("{node}p{number}")).collect();
    let found = &attached["attach"]["partitions"];
    if found.as_array().unwrap().is_empty() {
        skip(name, "this kernel knows no partition tables; partx tells it of them");
        run("/usr/bin/partx", &["--add", node]);
    } else {
        assert_eq!(*found, serde_json::json!(parts));
    }
    assert!(read(Path::new(&parts[0])) == bytes[MIB..MIB + 8192 * 512]);
    let open = File::open(&parts[1]).unwrap();
    let refused = site.0.run(["detach", node]).expect(5);
    assert!(refused.stderr.contains(&format!("({})", std::process::id())), "{refused:?}");
    drop(open);
    site.0.json(["detach", "--all"]);
    site.assert_clean(&device);
}

#[test]
fn what_a_killed_server_leaves_is_listed_and_cleared_by_whoever_comes_next() {
    let name = "what_a_killed_server_leaves_is_listed_and_cleared_by_whoever_comes_next";
    let Some(site) = Site::new(name) else { return };
    site.0.back_up(&site.1, &noise(MIB, 1));
    let device = site.device(&[]);
    site.kill_server();
    assert!(site.has(&device));
    assert!(File::open(&device).unwrap().read(&mut [0; 512]).is_err(), "an error, and no wait");
    let next = site.device(&[]);
    assert_eq!(site.only()["state"], "attached", "the dead one is cleared");
    assert!(read(&next) == noise(MIB, 1));
    site.kill_server();
    let cleared = site.0.json(["detach", "--all"]);
    assert_eq!(cleared["detached"][0]["state"], "dead");
    site.assert_clean(&device);
    site.assert_clean(&next);
}

#[test]
fn a_device_that_was_detached_by_hand_takes_everything_with_it() {
    let name = "a_device_that_was_detached_by_hand_takes_everything_with_it";
    let Some(site) = Site::new(name) else { return };
    site.0.back_up(&site.1, &noise(MIB, 1));
    let device = site.device(&[]);
    run("/sbin/losetup", &["-d", device.to_str().unwrap()]);
    site.assert_clean(&device);
}

#[test]
fn an_attach_that_is_killed_leaves_nothing_or_what_is_listed() {
    let name = "an_attach_that_is_killed_leaves_nothing_or_what_is_listed";
    let Some(site) = Site::new(name) else { return };
    site.0.back_up(&site.1, &noise(MIB, 1));
    for millis in (0..60).step_by(4) {
        let mut child = site.0.command(["attach", &site.latest(), "disk"]).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(millis));
        child.kill().unwrap();
        child.wait().unwrap();
        // The background may not have come far: then it is told as being made, or not at all yet.
        assert!(wait_until(PATIENCE, || is_gone(&site)), "{:?}", site.list());
    }
    let loops = || (0..8).map(|number| PathBuf::from(format!("/dev/loop{number}")));
    let is_clean = || is_gone(&site) && !loops().any(|device| site.has(&device));
    assert!(wait_until(PATIENCE, is_clean), "{:?}", site.list());
}

/// Detaches everything, and says whether nothing is left.
fn is_gone(site: &Site) -> bool {
    let detached = site.0.command(["detach", "--all"]).output().unwrap();
    detached.status.success() && site.list().is_empty()
}

#[test]
fn an_attachment_in_the_foreground_ends_with_a_signal() {
    let name = "an_attachment_in_the_foreground_ends_with_a_signal";
    let Some(site) = Site::new(name) else { return };
    site.0.back_up(&site.1, &noise(MIB, 1));
    let child = site.0.command(["attach", &site.latest(), "disk", "--foreground"]).spawn().unwrap();
    let is_there = || site.list().first().is_some_and(|one| one["state"] == "attached");
    assert!(wait_until(PATIENCE, is_there));
    let device = PathBuf::from(site.only()["place"].as_str().unwrap());
    assert!(read(&device) == noise(MIB, 1));
    signal(&child, "TERM");
    wait(child, PATIENCE).expect(0);
    site.assert_clean(&device);
}

#[test]
fn an_attachment_that_fails_says_why_and_leaves_nothing() {
    let name = "an_attachment_that_fails_says_why_and_leaves_nothing";
    let Some(site) = Site::new(name) else { return };
    site.0.back_up(&site.1, &noise(MIB, 1));
    let refused = site.0.run(["attach", &site.latest(), "sdz"]).expect(1);
    assert!(refused.stderr.contains("its disks are \"disk\""), "{refused:?}");
    fs::create_dir(site.0.path("full")).unwrap();
    let over = ["--writable", "--overlay", "full", "--keep"];
    let first = site.device(&over);
    let second = site.0.run([&["attach", &site.latest(), "disk", "--json"], &over[..]].concat());
    let second = second.expect(5);
    assert_eq!(second.json()["error"]["kind"], "busy", "the background's own error: {second:?}");
    assert_eq!(site.list().len(), 1);
    site.0.json(["detach", "--all"]);
    site.assert_clean(&first);
}
