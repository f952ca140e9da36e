//! Ordinary users mount through fusermount3, and for themselves unless they ask otherwise.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;

use crate::Place;
use crate::repo::{MIB, disk_input, noise};
use crate::run::{attempt, run};
use crate::server::{Server, Way, is_mounted};

/// The user `nobody` of most systems.
const USER: u32 = 65534;

/// Lets everybody use FUSE while the value lives, as most systems do.
struct OpenDevice {
    before: Permissions,
    /// Of several tests, in several processes, one at a time.
    _turn: File,
}

impl OpenDevice {
    fn new() -> Self {
        let turn = std::env::temp_dir().join("backstop-test-fuse-device");
        let turn = File::options().create(true).append(true).open(turn).unwrap();
        turn.lock().unwrap();
        let before = fs::metadata("/dev/fuse").unwrap().permissions();
        fs::set_permissions("/dev/fuse", Permissions::from_mode(0o666)).unwrap();
        Self { before, _turn: turn }
    }
}

impl Drop for OpenDevice {
    fn drop(&mut self) {
        fs::set_permissions("/dev/fuse", self.before.clone()).unwrap();
    }
}

/// Gives repository and mount directory to the user.
fn hand_over(place: &Place) {
    let owner = format!("{USER}:{USER}");
    run("chown", ["-R".as_ref(), owner.as_ref(), place.dir.path().as_os_str()]);
    // The programs of the tests must be within reach.
    let program = std::env::current_exe().unwrap();
    let reachable = program.ancestors().skip(1).all(|directory| {
        fs::metadata(directory).is_ok_and(|about| about.permissions().mode() & 1 == 1)
    });
    assert!(reachable, "the user {USER} cannot run {}", program.display());
}

fn as_user(program: &str, path: PathBuf) -> std::process::Output {
    let ids = [format!("--reuid={USER}"), format!("--regid={USER}"), "--clear-groups".to_owned()];
    let args = ids.into_iter().chain([program.to_owned(), path.display().to_string()]);
    attempt("setpriv", args)
}

#[test]
fn an_ordinary_user_mounts_for_itself_through_fusermount3() {
    let Some(place) = Place::new("an_ordinary_user_mounts_for_itself_through_fusermount3") else {
        return;
    };
    let bytes = noise(3 * MIB, 1);
    place.back_up("vm", vec![disk_input("sda", &bytes)]);
    hand_over(&place);
    let _open = OpenDevice::new();
    let way = Way { user: Some(USER), ..Way::default() };
    let mount = || Server::mount_as(&place.path("repo"), &place.mount_dir(), way.clone());
    for end in ["TERM", "fusermount3"] {
        let mut server = mount();
        let read = as_user("cat", server.path("vms/vm/latest/sda.raw"));
        assert!(read.stdout == bytes, "{}", String::from_utf8_lossy(&read.stderr));
        let others = fs::read_dir(server.path("vms")).unwrap_err();
        assert_eq!(others.raw_os_error(), Some(libc::EACCES), "not even root");
        match end {
            "TERM" => server.signal("TERM"),
            _ => drop(run("fusermount3", ["-u".as_ref(), place.mount_dir().as_os_str()])),
        }
        assert!(server.wait().success());
        assert!(!is_mounted(&place.mount_dir()));
        assert_eq!(server.log(), "ready\nended\n", "{end}");
    }
    let mut dead = mount();
    dead.kill();
    let next = mount();
    assert!(next.problems()[0].contains("took over"), "{}", next.log());
}

#[test]
fn an_ordinary_user_lets_others_in_only_where_the_system_allows_it() {
    let name = "an_ordinary_user_lets_others_in_only_where_the_system_allows_it";
    let Some(place) = Place::new(name) else { return };
    place.back_up("vm", vec![disk_input("sda", b"x")]);
    hand_over(&place);
    let _open = OpenDevice::new();
    let conf = fs::read_to_string("/etc/fuse.conf").unwrap_or_default();
    let is_allowed = conf.lines().any(|line| line.trim() == "user_allow_other");
    let way = Way { user: Some(USER), allow_other: true, ..Way::default() };
    let mut server = Server::start(&place.path("repo"), &place.mount_dir(), way);
    if is_allowed {
        server.wait_for_log(|log| log.contains("ready"));
        assert_eq!(fs::read(server.path("vms/vm/latest/sda.raw")).unwrap(), b"x");
    } else {
        server.wait();
        assert!(server.log().contains("user_allow_other"), "{}", server.log());
    }
}

#[test]
fn root_lets_others_in_only_when_asked() {
    let Some(place) = Place::new("root_lets_others_in_only_when_asked") else { return };
    place.back_up("vm", vec![disk_input("sda", b"x")]);
    fs::set_permissions(place.dir.path(), Permissions::from_mode(0o755)).unwrap();
    chown(place.dir.path(), Some(0), Some(0)).unwrap();
    for allow_other in [false, true] {
        let way = Way { allow_other, ..Way::default() };
        let server = Server::mount_as(&place.path("repo"), &place.mount_dir(), way.clone());
        let read = as_user("cat", server.path("vms/vm/latest/sda.raw"));
        assert_eq!(read.status.success(), allow_other);
        assert_eq!(read.stdout == b"x", allow_other);
    }
}
