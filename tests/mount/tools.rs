//! The programs that people use on disks: ls, du, file, cp, qemu-img, df.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};

use crate::Place;
use crate::repo::{MIB, disk_input, noise};
use crate::run::{attempt, run};
use crate::server::Server;

/// 24.3 MiB: noise, a hole of 16 MiB, and noise.
fn sparse_disk() -> Vec<u8> {
    let mut bytes = noise(24 * MIB + 300_000, 5);
    bytes[4 * MIB..20 * MIB].fill(0);
    bytes
}

fn mounted(place: &Place) -> (Server, Vec<u8>) {
    let bytes = sparse_disk();
    place.back_up("web", vec![disk_input("root", &bytes), disk_input("data", &vec![0; 8 * MIB])]);
    (place.mount(), bytes)
}

fn lseek(file: &File, offset: i64, whence: i32) -> i64 {
    // SAFETY: no pointers; the descriptor is open.
    unsafe { libc::lseek(file.as_raw_fd(), offset, whence) }
}

#[test]
fn ls_du_file_and_df_show_disks_as_files() {
    let Some(place) = Place::new("ls_du_file_and_df_show_disks_as_files") else { return };
    let (server, bytes) = mounted(&place);
    let dir = server.path("vms/web/latest");
    let list = run("ls", ["-l".as_ref(), server.path("vms/web").as_os_str()]);
    assert!(list.contains("dr-x------ 1 root root"), "{list}");
    assert!(list.contains("latest -> 2026-11-23T"), "{list}");
    let list = run("ls", ["-lL".as_ref(), dir.as_os_str()]);
    assert!(list.contains(&format!("-r-------- 1 root root {:>8} Nov 23", bytes.len())), "{list}");
    let disk = dir.join("root.raw");
    let used = run("du", ["-B1".as_ref(), disk.as_os_str()]);
    let expected = (bytes.len() - 16 * MIB).next_multiple_of(512);
    assert_eq!(used.split_whitespace().next(), Some(expected.to_string().as_str()));
    let apparent = run("du", ["-b".as_ref(), disk.as_os_str()]);
    assert_eq!(apparent.split_whitespace().next(), Some(bytes.len().to_string().as_str()));
    let kind = run("file", [dir.join("point.json")]);
    assert!(kind.contains("JSON"), "{kind}");
    assert!(run("file", [&disk]).contains("data"));
    let space = run("df", ["-PT".as_ref(), server.path("").as_os_str()]);
    assert!(space.contains("backstop") && space.contains("fuse.backstop"), "{space}");
    let json: serde_json::Value =
        serde_json::from_slice(&fs::read(dir.join("point.json")).unwrap()).unwrap();
    assert_eq!(json["vm"], "web");
    assert_eq!(server.problems(), [""; 0]);
}

#[test]
fn cp_makes_a_sparse_copy_and_skips_the_holes() {
    let Some(place) = Place::new("cp_makes_a_sparse_copy_and_skips_the_holes") else { return };
    let (server, bytes) = mounted(&place);
    for (sparse, name) in [("always", "a"), ("auto", "b")] {
        let (from, to) = (server.path("vms/web/latest/root.raw"), place.path(name));
        let option = format!("--sparse={sparse}");
        run("cp", [option.as_ref(), from.as_os_str(), to.as_os_str()]);
        assert!(fs::read(&to).unwrap() == bytes);
        assert!(to.metadata().unwrap().blocks() * 512 < 10 * MIB as u64);
    }
}

#[test]
fn seek_data_and_hole_tell_the_chunks_that_are_holes() {
    let Some(place) = Place::new("seek_data_and_hole_tell_the_chunks_that_are_holes") else {
        return;
    };
    let (server, bytes) = mounted(&place);
    let file = File::open(server.path("vms/web/latest/root.raw")).unwrap();
    let mib = MIB as i64;
    let end = bytes.len() as i64;
    let searches = [
        (libc::SEEK_DATA, 0, 0),
        (libc::SEEK_HOLE, 0, 4 * mib),
        (libc::SEEK_HOLE, mib + 5, 4 * mib),
        (libc::SEEK_DATA, 4 * mib, 20 * mib),
        (libc::SEEK_HOLE, 10 * mib + 7, 10 * mib + 7),
        (libc::SEEK_HOLE, 20 * mib, end),
        (libc::SEEK_DATA, end, -1),
        (libc::SEEK_END, 0, end),
    ];
    for (whence, offset, found) in searches {
        assert_eq!(lseek(&file, offset, whence), found, "{whence} from {offset}");
    }
    let zero = File::open(server.path("vms/web/latest/data.raw")).unwrap();
    assert_eq!(lseek(&zero, 0, libc::SEEK_DATA), -1);
    assert_eq!(lseek(&zero, 0, libc::SEEK_HOLE), 0);
}

#[test]
fn qemu_img_reads_compares_and_converts_disks() {
    let Some(place) = Place::new("qemu_img_reads_compares_and_converts_disks") else { return };
    let (server, bytes) = mounted(&place);
    let disk = server.path("vms/web/latest/root.raw").into_os_string().into_string().unwrap();
    let info = run("qemu-img", ["info", "-f", "raw", "--output=json", &disk]);
    let info: serde_json::Value = serde_json::from_str(&info).unwrap();
    assert_eq!(info["virtual-size"], bytes.len().next_multiple_of(512));
    let copy = place.path("copy.raw").into_os_string().into_string().unwrap();
    fs::write(&copy, &bytes).unwrap();
    run("qemu-img", ["compare", "-f", "raw", "-F", "raw", &disk, &copy]);
    let image = place.path("copy.qcow2").into_os_string().into_string().unwrap();
    run("qemu-img", ["convert", "-f", "raw", "-O", "qcow2", &disk, &image]);
    run("qemu-img", ["compare", "-f", "raw", "-F", "qcow2", &disk, &image]);
    assert!(fs::metadata(&image).unwrap().blocks() * 512 < 10 * MIB as u64);
    let map = run("qemu-img", ["map", "-f", "raw", "--output=json", &disk]);
    assert!(map.contains("\"zero\": true"), "{map}");
}

#[test]
fn reads_of_any_kind_and_many_at_a_time_give_the_disk() {
    let Some(place) = Place::new("reads_of_any_kind_and_many_at_a_time_give_the_disk") else {
        return;
    };
    let (server, bytes) = mounted(&place);
    let disk = server.path("vms/web/latest/root.raw");
    assert!(fs::read(&disk).unwrap() == bytes);
    std::thread::scope(|scope| {
        for reader in 0..4u64 {
            let (disk, bytes) = (&disk, &bytes);
            scope.spawn(move || {
                let file = File::open(disk).unwrap();
                for n in 0..200u64 {
                    let place = (n * 7919 + reader * 104_729) * 4801 % (bytes.len() as u64 - 9000);
                    let mut got = vec![0; 9000];
                    file.read_exact_at(&mut got, place).unwrap();
                    assert!(got == bytes[place as usize..place as usize + 9000]);
                }
            });
        }
    });
    let (out, disk) = (place.path("direct"), disk.to_str().unwrap().to_owned());
    let direct = [&format!("if={disk}"), &format!("of={}", out.display()), "bs=4M"];
    run("dd", direct.iter().copied().chain(["iflag=direct", "status=none"]));
    assert!(fs::read(out).unwrap() == bytes);
    assert_eq!(server.problems(), [""; 0]);
}

#[test]
fn nothing_can_be_changed() {
    let Some(place) = Place::new("nothing_can_be_changed") else { return };
    let (server, _) = mounted(&place);
    let disk = server.path("vms/web/latest/root.raw");
    let refused = |error: std::io::Error| assert_eq!(error.raw_os_error(), Some(libc::EROFS));
    refused(File::options().write(true).open(&disk).unwrap_err());
    refused(fs::remove_file(&disk).unwrap_err());
    refused(fs::create_dir(server.path("vms/new")).unwrap_err());
    refused(fs::set_permissions(&disk, fs::Permissions::from_mode(0o777)).unwrap_err());
    assert!(!attempt("touch", [&disk]).status.success());
}
