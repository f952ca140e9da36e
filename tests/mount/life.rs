//! How a mount begins, what appears and vanishes in it, and how it ends.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use backstop::base::clock::UtcTime;
use backstop::format::layout::{Area, ObjectName};
use backstop::format::lists::Forgotten;
use backstop::store::Published;

use crate::Place;
use crate::repo::{MIB, disk_input, noise};
use crate::run::run;
use crate::server::{Server, Way, is_mounted, wait_until};

fn names(path: &Path) -> Vec<String> {
    let entries = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<_> = entries.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    names
}

fn sessions(place: &Place) -> usize {
    place.repo.store().list(Area::Sessions).unwrap().len()
}

#[test]
fn new_restore_points_appear_and_dropped_ones_vanish_but_stay_readable_while_open() {
    let name = "new_restore_points_appear_and_dropped_ones_vanish_but_stay_readable_while_open";
    let Some(place) = Place::new(name) else { return };
    let server = place.mount();
    assert_eq!(names(&server.path("vms")), [""; 0]);
    let bytes = noise(5 * MIB, 1);
    let first = place.back_up("vm", vec![disk_input("sda", &bytes)]);
    wait_until("the first restore point", || server.path("vms/vm/latest/sda.raw").exists());
    let file = File::open(server.path(&format!("vms/vm/{}/sda.raw", first.time))).unwrap();
    let second = place.back_up("vm", vec![disk_input("sda", b"new")]);
    let latest = server.path("vms/vm/latest");
    wait_until("the link to lead to the second", || {
        fs::read_link(&latest).unwrap() == Path::new(&second.time.to_string())
    });
    assert_eq!(fs::read(latest.join("sda.raw")).unwrap(), b"new");
    let tombstone = Forgotten { point: first.id, time: UtcTime::EPOCH }.encode();
    let created = place.repo.store().create(&ObjectName::forgotten(first.id), &tombstone);
    assert_eq!(created.unwrap(), Published::Created);
    let directory = server.path(&format!("vms/vm/{}", first.time));
    wait_until("the first to vanish", || !directory.exists());
    assert_eq!(names(&server.path("vms/vm")), [second.time.to_string().as_str(), "latest"]);
    let mut got = vec![0; bytes.len()];
    file.read_exact_at(&mut got, 0).unwrap();
    assert!(got == bytes);
    assert_eq!(file.metadata().unwrap().len(), bytes.len() as u64);
}

#[test]
fn reads_go_on_unhurt_while_backups_run() {
    let Some(place) = Place::new("reads_go_on_unhurt_while_backups_run") else { return };
    let bytes = noise(8 * MIB, 1);
    place.back_up("vm", vec![disk_input("sda", &bytes)]);
    let server = place.mount();
    std::thread::scope(|scope| {
        let backups = scope.spawn(|| {
            (0..8).for_each(|n| {
                drop(place.back_up("new", vec![disk_input("d", &noise(3 * MIB, n))]))
            });
        });
        while !backups.is_finished() {
            assert!(fs::read(server.path("vms/vm/latest/sda.raw")).unwrap() == bytes);
            if let Ok(points) = fs::read_dir(server.path("vms/new")) {
                let disks = points.map(|point| point.unwrap().path().join("d.raw"));
                disks.for_each(|disk| assert_eq!(fs::read(disk).unwrap().len(), 3 * MIB));
            }
        }
        backups.join().unwrap();
    });
    assert_eq!(server.problems(), [""; 0]);
}

#[test]
fn signals_and_umount_end_an_idle_mount_cleanly() {
    let Some(place) = Place::new("signals_and_umount_end_an_idle_mount_cleanly") else { return };
    place.back_up("vm", vec![disk_input("sda", b"x")]);
    for end in ["TERM", "INT", "HUP", "umount", "fusermount3"] {
        let mut server = place.mount();
        fs::read(server.path("vms/vm/latest/sda.raw")).unwrap();
        // The kernel closes a file some time after the program has.
        wait_until("the session of the mount alone", || sessions(&place) == 1);
        match end {
            "umount" => drop(run("umount", [place.mount_dir()])),
            "fusermount3" => {
                drop(run("fusermount3", ["-u".as_ref(), place.mount_dir().as_os_str()]));
            }
            signal => server.signal(signal),
        }
        assert!(server.wait().success());
        assert!(!is_mounted(&place.mount_dir()), "{end}");
        assert_eq!(server.log(), "ready\nended\n", "{end}");
        assert_eq!(sessions(&place), 0, "{end}");
    }
}

#[test]
fn a_busy_mount_says_who_is_in_the_way_and_a_second_signal_detaches_it() {
    let name = "a_busy_mount_says_who_is_in_the_way_and_a_second_signal_detaches_it";
    let Some(place) = Place::new(name) else { return };
    let bytes = noise(3 * MIB, 1);
    place.back_up("vm", vec![disk_input("sda", &bytes)]);
    let mut server = place.mount();
    let mut file = File::open(server.path("vms/vm/latest/sda.raw")).unwrap();
    server.signal("TERM");
    server.wait_for_log(|log| log.contains("in use"));
    assert!(is_mounted(&place.mount_dir()));
    server.signal("TERM");
    wait_until("the mount to go out of sight", || !is_mounted(&place.mount_dir()));
    let mut got = Vec::new();
    file.read_to_end(&mut got).unwrap();
    assert!(got == bytes, "what is open can be read");
    // The next one may come while the old one still serves; neither hurts the other.
    let next = place.mount();
    drop(file);
    assert!(server.wait().success());
    assert!(server.log().ends_with("ended\n"), "{}", server.log());
    assert!(fs::read(next.path("vms/vm/latest/sda.raw")).unwrap() == bytes);
}

#[test]
fn a_third_signal_gives_up_on_open_files() {
    let Some(place) = Place::new("a_third_signal_gives_up_on_open_files") else { return };
    place.back_up("vm", vec![disk_input("sda", b"x")]);
    let mut server = place.mount();
    let file = File::open(server.path("vms/vm/latest/sda.raw")).unwrap();
    server.signal("INT");
    server.wait_for_log(|log| log.contains("in use"));
    server.signal("INT");
    wait_until("the mount to go out of sight", || !is_mounted(&place.mount_dir()));
    server.signal("INT");
    server.wait();
    assert!(server.log().contains("failed: Cancelled"), "{}", server.log());
    drop(file);
}

#[test]
fn the_mount_of_a_killed_process_is_taken_over_with_a_message() {
    let name = "the_mount_of_a_killed_process_is_taken_over_with_a_message";
    let Some(place) = Place::new(name) else { return };
    place.back_up("vm", vec![disk_input("sda", &noise(MIB, 1))]);
    let mut dead = place.mount();
    let file = File::open(dead.path("vms/vm/latest/sda.raw")).unwrap();
    dead.kill();
    let error = fs::read_dir(place.mount_dir()).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ENOTCONN));
    let mut server = place.mount();
    let problems = server.problems();
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].contains("took over the mount of a process that was killed"));
    assert!(fs::read(server.path("vms/vm/latest/sda.raw")).unwrap() == noise(MIB, 1));
    assert!(file.read_at(&mut [0; 10], 0).is_err());
    server.signal("TERM");
    assert!(server.wait().success());
    assert!(!is_mounted(&place.mount_dir()));
    // The registration that the killed one left is cleared by the next backup.
    place.back_up("vm", vec![disk_input("sda", b"x")]);
    assert_eq!(sessions(&place), 0);
}

#[test]
fn a_mount_point_that_will_not_do_is_refused() {
    let Some(place) = Place::new("a_mount_point_that_will_not_do_is_refused") else { return };
    let repo = place.path("repo");
    let refusal = |dir: &Path| {
        let mut server = Server::start(&repo, dir, Way::default());
        server.wait();
        server.log()
    };
    fs::create_dir(place.path("full")).unwrap();
    fs::write(place.path("full/file"), "").unwrap();
    assert!(refusal(&place.path("full")).contains("is not empty"));
    assert!(refusal(&place.path("missing")).contains("failed: NotFound"));
    assert!(refusal(&repo.join("packs")).contains("lies in the repository"));
    assert!(refusal(place.dir.path()).contains("the repository lies below"));
    let _first = place.mount();
    let second = refusal(&place.mount_dir());
    assert!(second.contains("failed: Busy: restore points are mounted there already"), "{second}");
}

#[test]
fn a_repository_that_cannot_be_written_can_be_mounted() {
    let Some(place) = Place::new("a_repository_that_cannot_be_written_can_be_mounted") else {
        return;
    };
    place.back_up("vm", vec![disk_input("sda", b"x")]);
    let repo = place.path("repo");
    run("mount", ["--bind".as_ref(), repo.as_os_str(), repo.as_os_str()]);
    let _undo = Unmount(&repo);
    run("mount", ["-o".as_ref(), "remount,ro,bind".as_ref(), repo.as_os_str()]);
    let server = place.mount();
    assert_eq!(fs::read(server.path("vms/vm/latest/sda.raw")).unwrap(), b"x");
    assert_eq!(server.problems(), [""; 0]);
}

struct Unmount<'a>(&'a Path);

impl Drop for Unmount<'_> {
    fn drop(&mut self) {
        crate::run::attempt("umount", ["-l".as_ref(), self.0.as_os_str()]);
    }
}

#[test]
fn pages_of_a_file_that_was_closed_are_kept_by_the_kernel() {
    let Some(place) = Place::new("pages_of_a_file_that_was_closed_are_kept_by_the_kernel") else {
        return;
    };
    let bytes = noise(4 * MIB, 1);
    place.back_up("vm", vec![disk_input("sda", &bytes)]);
    let server = place.mount();
    let disk = server.path("vms/vm/latest/sda.raw");
    assert!(fs::read(&disk).unwrap() == bytes);
    // Nobody answers any more, and yet the bytes are there: they come from the kernel.
    let file = File::open(&disk).unwrap();
    server.signal("STOP");
    let mut got = vec![0; bytes.len()];
    let read = file.read_exact_at(&mut got, 0);
    server.signal("CONT");
    read.unwrap();
    assert!(got == bytes);
}

#[test]
fn a_path_with_blanks_and_commas_can_be_mounted_on() -> io::Result<()> {
    let Some(place) = Place::new("a_path_with_blanks_and_commas_can_be_mounted_on") else {
        return Ok(());
    };
    place.back_up("vm", vec![disk_input("sda", b"x")]);
    let dir = place.path("a b,c\\d");
    fs::create_dir(&dir)?;
    let mut server = Server::mount(&place.path("repo"), &dir);
    assert_eq!(fs::read(server.path("vms/vm/latest/sda.raw"))?, b"x");
    server.signal("TERM");
    assert!(server.wait().success());
    assert_eq!(server.log(), "ready\nended\n");
    Ok(())
}
