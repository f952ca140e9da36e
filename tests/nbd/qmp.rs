//! A disk that a running QEMU is given by its control socket, and code of a restore point that the
//! guest runs from it.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::bench::Bench;
use crate::repo::{MIB, noise};
use crate::run::{attempt, run};
use crate::skip::skip;

const PATIENCE: Duration = Duration::from_secs(60);
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tools/guest-disk");
const SAYS: &[u8] = b"booted from a restore point\n\0";

/// Sends [`SAYS`] to the first serial port and halts: `lodsb` and `out` in a loop.
const CODE: [u8; 22] = [
    0x31, 0xc0, 0x8e, 0xd8, 0xfc, 0xba, 0xf8, 0x03, 0xbe, 0x16, 0x7c, 0xac, 0x84, 0xc0, 0x74, 0x03,
    0xee, 0xeb, 0xf8, 0xf4, 0xeb, 0xfd,
];

/// A disk that boots.
fn disk() -> Vec<u8> {
    let mut bytes = noise(4 * MIB, 1);
    bytes[..512].fill(0);
    bytes[..CODE.len()].copy_from_slice(&CODE);
    bytes[CODE.len()..CODE.len() + SAYS.len()].copy_from_slice(SAYS);
    bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
    bytes
}

/// A machine that waits for `cont`, killed when this is dropped.
struct Machine {
    child: Child,
    qmp: PathBuf,
    serial: PathBuf,
}

impl Machine {
    fn start(dir: &Path) -> Self {
        let (qmp, serial) = (dir.join("qmp.sock"), dir.join("serial"));
        let child = Command::new("qemu-system-x86_64")
            .args(["-machine", "pc,accel=tcg", "-m", "64", "-nodefaults", "-display", "none"])
            .args(["-device", "virtio-scsi-pci", "-S"])
            .args(["-qmp", &format!("unix:{},server=on,wait=off", qmp.display())])
            .args(["-serial", &format!("file:{}", serial.display())])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let machine = Self { child, qmp, serial };
        machine.wait("its control socket", |machine| machine.qmp.exists());
        machine
    }

    fn wait(&self, what: &str, is_there: impl Fn(&Self) -> bool) {
        let began = Instant::now();
        while !is_there(self) {
            assert!(began.elapsed() < PATIENCE, "{what} does not come");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn script(&self, command: &str, more: &[&str]) {
        let qmp = self.qmp.to_str().unwrap();
        run(SCRIPT, [&[command, qmp], more].concat());
    }

    /// Lets the guest run.
    fn go(&self) {
        let mut control = UnixStream::connect(&self.qmp).unwrap();
        control.set_read_timeout(Some(PATIENCE)).unwrap();
        let commands = "{\"execute\":\"qmp_capabilities\"}\n{\"execute\":\"cont\"}\n";
        control.write_all(commands.as_bytes()).unwrap();
        let mut lines = BufReader::new(control).lines();
        assert!(lines.any(|line| line.unwrap().contains("RESUME")));
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.serial).unwrap_or_default()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ended = self.child.kill().and_then(|()| self.child.wait());
    }
}

fn has_qemu(test: &str) -> bool {
    let found = Command::new("qemu-system-x86_64").arg("--version").output();
    let is_there = found.is_ok_and(|ran| ran.status.success());
    if !is_there {
        skip(test, "qemu-system-x86_64 is not installed");
    }
    is_there
}

#[test]
fn a_guest_boots_from_a_disk_that_its_running_machine_was_given() {
    if !has_qemu("a_guest_boots_from_a_disk_that_its_running_machine_was_given") {
        return;
    }
    let bench = Bench::of(disk());
    let server = bench.serve();
    let machine = Machine::start(bench.dir());
    machine.script("add", &[&server.address().uri()]);
    assert!(server.connections() > 0);
    machine.go();
    machine.wait("what the boot sector says", |machine| {
        machine.said().contains("booted from a restore point")
    });
}

#[test]
fn a_disk_that_a_machine_was_given_is_taken_away_again() {
    if !has_qemu("a_disk_that_a_machine_was_given_is_taken_away_again") {
        return;
    }
    let bench = Bench::of(disk());
    let server = bench.serve_writable();
    let machine = Machine::start(bench.dir());
    let uri = server.address().uri();
    for _ in 0..2 {
        machine.script("add", &[&uri, "--device", "scsi-hd", "--writable", "--id", "old"]);
        assert_eq!(server.connections(), 1);
        machine.script("remove", &["--id", "old"]);
        machine.wait("the end of the connection", |_| server.connections() == 0);
    }
    let qmp = machine.qmp.to_str().unwrap();
    let refused = attempt(SCRIPT, ["add", qmp, "nbd+unix:///?socket=/nowhere"]);
    assert!(!refused.status.success());
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.starts_with("guest-disk: blockdev-add: "), "{said}");
}
