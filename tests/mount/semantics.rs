//! Passages of `docs/semantics.md`, each checked where it is quoted.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, PermissionsExt};

use crate::Place;
use crate::repo::{MIB, back_up_configured, configuration, disk_input, noise};
use crate::run::{attempt, run};

const PAGE: &str = include_str!("../../docs/semantics.md");

/// Fails unless the page says so, whatever its line breaks.
fn says(passage: &str) {
    let page: Vec<_> = PAGE.split_whitespace().collect();
    assert!(page.join(" ").contains(passage), "the page does not say: {passage}");
}

#[test]
fn what_stat_tells_is_what_the_page_says() {
    let Some(place) = Place::new("what_stat_tells_is_what_the_page_says") else { return };
    let mut bytes = noise(6 * MIB + 100, 1);
    bytes[MIB..4 * MIB].fill(0);
    let point = place.back_up("vm", vec![disk_input("sda", &bytes)]);
    let server = place.mount();
    let disk = server.path("vms/vm/latest/sda.raw").metadata().unwrap();
    says("its length; its blocks as below; the time of the restore point as all of its times");
    assert_eq!(disk.len(), bytes.len() as u64);
    let times = [disk.mtime(), disk.atime(), disk.ctime()];
    assert_eq!(times, [point.time.unix_seconds(); 3]);
    says("The blocks of a disk are those of its chunks that are no holes");
    assert_eq!(disk.blocks(), (3 * MIB as u64 + 100).div_ceil(512));
    says("mode 0400");
    assert_eq!(disk.permissions().mode(), 0o100_400);
    says("length 0, one link, mode 0500; the time of its newest restore point");
    let vm = server.path("vms/vm").metadata().unwrap();
    assert_eq!((vm.len(), vm.nlink(), vm.permissions().mode()), (0, 1, 0o040_500));
    assert_eq!(vm.mtime(), point.time.unix_seconds());
    let link = fs::symlink_metadata(server.path("vms/vm/latest")).unwrap();
    assert!(link.file_type().is_symlink() && !link.file_type().is_fifo());
}

#[test]
fn what_read_and_seek_do_is_what_the_page_says() {
    let Some(place) = Place::new("what_read_and_seek_do_is_what_the_page_says") else { return };
    let mut bytes = noise(2 * MIB + 100, 1);
    bytes[4096..MIB].fill(0);
    place.back_up("vm", vec![disk_input("sda", &bytes)]);
    let server = place.mount();
    let mut file = File::open(server.path("vms/vm/latest/sda.raw")).unwrap();
    says("nothing at or beyond the end");
    assert_eq!(file.read_at(&mut [0; 10], bytes.len() as u64).unwrap(), 0);
    assert_eq!(file.read_at(&mut [0; 10], 1 << 50).unwrap(), 0);
    says("by whole chunks of 1 MiB: a chunk that is all zero is a hole");
    let script = "import os,sys; f=os.open(sys.argv[1],0); print(os.lseek(f,8192,os.SEEK_HOLE))";
    let found = run(
        "python3",
        ["-c".as_ref(), script.as_ref(), server.path("vms/vm/latest/sda.raw").as_os_str()],
    );
    assert_eq!(found.trim(), bytes.len().to_string());
    file.seek(SeekFrom::Start(5)).unwrap();
    let mut rest = Vec::new();
    file.read_to_end(&mut rest).unwrap();
    assert!(rest == bytes[5..]);
}

#[test]
fn names_are_what_the_page_says() {
    let Some(place) = Place::new("names_are_what_the_page_says") else { return };
    place.back_up("a/b%", vec![disk_input(".d ", b"x")]);
    let server = place.mount();
    says("are written as `%` and two hexadecimal digits per byte");
    assert_eq!(fs::read(server.path("vms/a%2Fb%25/latest/%2Ed%20.raw")).unwrap(), b"x");
    says("The name as it was given is in `point.json`");
    let json = fs::read_to_string(server.path("vms/a%2Fb%25/latest/point.json")).unwrap();
    assert!(json.contains("\"a/b%\"") && json.contains("\".d \""), "{json}");
}

#[test]
fn the_configuration_of_a_vm_is_what_the_page_says() {
    let name = "the_configuration_of_a_vm_is_what_the_page_says";
    let Some(place) = Place::new(name) else { return };
    let stored = configuration(Some("<ovf/>"));
    back_up_configured(&place.repo, "vm", vec![disk_input("vm.json", b"x")], &stored).unwrap();
    let server = place.mount();
    let path = |name: &str| server.path("vms/vm/latest").join(name);
    says("a disk named `vm.json` is `vm.json.raw` and hides nothing");
    assert_eq!(fs::read(path("vm.json.raw")).unwrap(), b"x");
    says("is the [configuration](format/vm.md) as it was stored");
    assert_eq!(fs::read(path("vm.json")).unwrap(), stored);
    assert_eq!(fs::read(path("vm.ovf")).unwrap(), b"<ovf/>");
    assert_eq!(path("vm.ovf").metadata().unwrap().len(), 6);
}

#[test]
fn options_and_space_are_what_the_page_says() {
    let Some(place) = Place::new("options_and_space_are_what_the_page_says") else { return };
    place.back_up("vm", vec![disk_input("sda", b"x")]);
    let server = place.mount();
    says("The mount is read-only unless `--writable` says otherwise, and without device files");
    let table = fs::read_to_string("/proc/self/mounts").unwrap();
    let dir = place.mount_dir();
    let line = table.lines().find(|line| line.split(' ').nth(1) == dir.to_str()).unwrap();
    let options: Vec<_> = line.split(' ').nth(3).unwrap().split(',').collect();
    for option in ["ro", "nodev", "nosuid", "noatime", "default_permissions"] {
        assert!(options.contains(&option), "{option} in {line}");
    }
    assert!(!options.contains(&"allow_other"), "{line}");
    says("size and free space of the medium that the repository lies on");
    let total = |path: std::path::PathBuf| {
        let out = run("df", ["-B1".as_ref(), "--output=size".as_ref(), path.as_os_str()]);
        out.lines().last().unwrap().trim().parse::<u64>().unwrap()
    };
    let (shown, medium) = (total(dir), total(place.path("repo")));
    assert!(shown.abs_diff(medium) < 8192, "{shown} {medium}");
    says("pieces of 128 KiB instead of 1 MiB");
    let device = run("mountpoint", ["-d".as_ref(), server.path("").as_os_str()]);
    let setting = format!("/sys/class/bdi/{}/read_ahead_kb", device.trim());
    assert_eq!(fs::read_to_string(setting).unwrap().trim(), "2048");
}

#[test]
fn what_there_is_not_is_refused_as_the_page_says() {
    let Some(place) = Place::new("what_there_is_not_is_refused_as_the_page_says") else { return };
    place.back_up("vm", vec![disk_input("sda", b"x")]);
    let server = place.mount();
    let disk = server.path("vms/vm/latest/sda.raw");
    says("there are none: EOPNOTSUPP");
    let script = "import os,sys; print(os.listxattr(sys.argv[1]))";
    let listed = attempt("python3", ["-c".as_ref(), script.as_ref(), disk.as_os_str()]);
    let said = String::from_utf8_lossy(&listed.stderr).into_owned();
    assert!(said.contains("Operation not supported"), "{said}");
    says("EROFS");
    let error = File::options().append(true).open(&disk).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EROFS));
    says("ENOTTY");
    let script = "import fcntl,os,sys; fcntl.ioctl(os.open(sys.argv[1],0),0x80081272,b'8'*8)";
    let asked = attempt("python3", ["-c".as_ref(), script.as_ref(), disk.as_os_str()]);
    let said = String::from_utf8_lossy(&asked.stderr).into_owned();
    assert!(said.contains("Inappropriate ioctl"), "{said}");
}
