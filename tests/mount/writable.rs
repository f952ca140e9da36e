//! Disks that are written through the kernel: file systems that replay their journals, and the
//! programs that check them.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use backstop::ingest::open::{Backing, ImageFormat, open_image};
use backstop::ingest::{DiskInput, Image};
use backstop::vfs::OverlayOptions;

use crate::Place;
use crate::guest::{FileSystem, GuestMount, assert_holds, build, file_tree};
use crate::repo::{disk_input, noise};
use crate::run::{attempt, run};
use crate::server::{Server, Way};

const MIB: u64 = 1 << 20;

impl Place {
    fn mount_writable(&self, limit_bytes: Option<u64>, keep: bool) -> Server {
        let dir = self.path("overlay");
        fs::create_dir_all(&dir).unwrap();
        let overlay = Some(OverlayOptions { dir, limit_bytes, keep });
        let way = Way { overlay, ..Way::default() };
        Server::mount_as(&self.path("repo"), &self.mount_dir(), way)
    }

    /// Everything that the repository holds of data, by name and hash.
    fn stored(&self) -> BTreeMap<PathBuf, String> {
        let mut found = BTreeMap::new();
        for area in ["packs", "index", "commit", "config.0", "config.1", "config.2"] {
            let listed = attempt(
                "find",
                [self.path("repo").join(area).as_os_str(), "-type".as_ref(), "f".as_ref()],
            );
            for path in String::from_utf8_lossy(&listed.stdout).lines() {
                found.insert(path.into(), run("sha256sum", [path]));
            }
        }
        assert!(found.len() > 3, "{found:?}");
        found
    }
}

/// An image of a file system that was mounted when the power went.
fn dirty_image(place: &Place, kind: FileSystem) -> PathBuf {
    let (image, dirty) = (place.path("image"), place.path("dirty"));
    build(kind, &file_tree(), &image);
    let mounted = GuestMount::new(&image, &place.path("mounted"), "loop");
    fs::write(mounted.dir().join("before-the-crash"), noise(300_000, 9)).unwrap();
    run("sync", ["-f".as_ref(), mounted.dir().as_os_str()]);
    fs::rename(mounted.dir().join("before-the-crash"), mounted.dir().join("renamed")).unwrap();
    run("sync", ["-f".as_ref(), mounted.dir().as_os_str()]);
    fs::copy(&image, &dirty).unwrap();
    dirty
}

fn is_clean(kind: FileSystem, disk: &Path) -> bool {
    // Its own check passes over a journal that it may not replay.
    if kind == FileSystem::Ext4
        && run("dumpe2fs", ["-h".as_ref(), disk.as_os_str()]).contains("needs_recovery")
    {
        return false;
    }
    let output = match kind {
        FileSystem::Ext4 => attempt("e2fsck", ["-f".as_ref(), "-n".as_ref(), disk.as_os_str()]),
        _ => attempt("xfs_repair", ["-f".as_ref(), "-n".as_ref(), disk.as_os_str()]),
    };
    output.status.success()
}

fn replay(test: &str, kind: FileSystem) {
    let Some(place) = Place::new(test) else { return };
    let dirty = dirty_image(&place, kind);
    assert!(!is_clean(kind, &dirty), "the image needs its journal");
    let opened = open_image(&dirty, Some(ImageFormat::Raw), Backing::Refuse).unwrap();
    let input = DiskInput { image: Image::Source(opened.source), ..disk_input("sda", b"") };
    place.back_up("guest", vec![input]);
    let stored = place.stored();
    let server = place.mount_writable(None, false);
    let disk = server.path("vms/guest/latest/sda.raw");
    let written = noise(2_000_000, 4);
    {
        let mounted = GuestMount::new(&disk, &place.path("guest"), "loop");
        assert!(fs::read(mounted.dir().join("renamed")).unwrap() == noise(300_000, 9));
        fs::remove_file(mounted.dir().join("renamed")).unwrap();
        assert_holds(mounted.dir(), &file_tree());
        fs::write(mounted.dir().join("new"), &written).unwrap();
        run("fstrim", [mounted.dir()]);
    }
    assert!(is_clean(kind, &disk), "after its journal was replayed");
    {
        let mounted = GuestMount::new(&disk, &place.path("guest"), "loop");
        assert!(fs::read(mounted.dir().join("new")).unwrap() == written);
    }
    assert_eq!(server.problems(), [""; 0]);
    drop(server);
    assert_eq!(place.stored(), stored, "the repository");
    assert_eq!(fs::read_dir(place.path("overlay")).unwrap().count(), 0);
}

#[test]
fn ext4_replays_its_journal_on_a_writable_disk_and_is_clean() {
    replay("ext4_replays_its_journal_on_a_writable_disk_and_is_clean", FileSystem::Ext4);
}

#[test]
fn xfs_replays_its_log_on_a_writable_disk_and_is_clean() {
    replay("xfs_replays_its_log_on_a_writable_disk_and_is_clean", FileSystem::Xfs);
}

fn punch(path: &Path, offset: u64, len: u64) {
    let (offset, len) = (format!("--offset={offset}"), format!("--length={len}"));
    run(
        "fallocate",
        ["--punch-hole".as_ref(), OsStr::new(&offset), OsStr::new(&len), path.as_os_str()],
    );
}

#[test]
fn random_writes_discards_and_remounts_agree_with_a_file() {
    let name = "random_writes_discards_and_remounts_agree_with_a_file";
    let Some(place) = Place::new(name) else { return };
    let size = 5 * MIB + 3 * 512;
    let mut model = noise(size as usize, 3);
    model[MIB as usize..3 * MIB as usize].fill(0);
    place.back_up("vm", vec![disk_input("sda", &model)]);
    let dice = noise(4 * 12 * 150, 12);
    let mut dice =
        dice.chunks(4).map(|four| u64::from(u32::from_le_bytes(four.try_into().unwrap())));
    let mut roll = |most: u64| dice.next().unwrap() % most;
    for round in 0..3 {
        let server = place.mount_writable(None, true);
        let path = server.path("vms/vm/latest/sda.raw");
        let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        for step in 0..100 {
            let at = roll(size - 1);
            let len = (1 + roll(200_000)).min(size - at);
            match roll(10) {
                0..5 => {
                    let bytes = noise(len as usize, round * 1000 + step);
                    file.write_all_at(&bytes, at).unwrap();
                    model[at as usize..(at + len) as usize].copy_from_slice(&bytes);
                }
                5..7 => {
                    punch(&path, at, len);
                    model[at as usize..(at + len) as usize].fill(0);
                }
                7 => file.sync_all().unwrap(),
                _ => {
                    let mut bytes = vec![0; len as usize];
                    file.read_exact_at(&mut bytes, at).unwrap();
                    assert!(bytes == model[at as usize..(at + len) as usize], "{round} {step}");
                }
            }
        }
        assert!(fs::read(&path).unwrap() == model, "round {round}");
        file.sync_all().unwrap();
        drop(file);
        drop(server);
    }
    let server = place.mount_writable(None, true);
    assert!(fs::read(server.path("vms/vm/latest/sda.raw")).unwrap() == model);
}

#[test]
fn a_full_overlay_is_enospc_and_a_disk_keeps_its_length() {
    let Some(place) = Place::new("a_full_overlay_is_enospc_and_a_disk_keeps_its_length") else {
        return;
    };
    place.back_up("vm", vec![disk_input("sda", &noise(2 * MIB as usize, 1))]);
    let server = place.mount_writable(Some(MIB), false);
    let path = server.path("vms/vm/latest/sda.raw");
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(&vec![5; MIB as usize], 0).unwrap();
    let error = file.write_all_at(&[6; 4096], MIB).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert!(server.problems()[0].contains("limit"), "{:?}", server.problems());
    assert!(file.set_len(1).is_err() && file.set_len(3 * MIB).is_err());
    file.set_len(2 * MIB).unwrap();
    let denied = |result: io::Result<()>| {
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    };
    let beside = |name: &str| path.with_file_name(name);
    denied(fs::remove_file(&path));
    denied(fs::rename(&path, beside("other")));
    denied(fs::create_dir(beside("other")));
    denied(fs::write(beside("other"), "x"));
    denied(OpenOptions::new().write(true).open(beside("point.json")).map(drop));
    let expected = [vec![5; MIB as usize], noise(2 * MIB as usize, 1)[MIB as usize..].to_vec()];
    assert!(fs::read(&path).unwrap() == expected.concat());
}
