//! Large disks through the real program: time and memory must not follow their length.

#[path = "support/repo.rs"]
mod support;

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use support::{MIB, noise};

const GIB: u64 = 1 << 30;

fn backstop(repo: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_backstop"));
    command.arg("-r").arg(repo).args(args).stdout(Stdio::null());
    command
}

fn run(repo: &Path, args: &[&str]) {
    let status = backstop(repo, args).status().unwrap();
    assert!(status.success(), "backstop {args:?}: {status}");
}

fn new_repo() -> (TempDir, std::path::PathBuf) {
    let scratch = tempfile::tempdir().unwrap();
    let repo = scratch.path().join("repository");
    run(&repo, &["init"]);
    (scratch, repo)
}

/// Waits for the child and says how much memory it ever had resident, in KiB.
fn peak_resident_kib(child: &mut Child) -> u64 {
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    while child.try_wait().unwrap().is_none() {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
        peak = peak.max(kib.unwrap_or(0));
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(child.wait().unwrap().success());
    peak
}

#[test]
fn a_disk_of_10_tib_that_is_all_zero_is_backed_up_within_five_seconds() {
    let (scratch, repo) = new_repo();
    let image = scratch.path().join("zero.raw");
    File::create(&image).unwrap().set_len(10 << 40).unwrap();
    let began = Instant::now();
    run(&repo, &["backup", "image", "--vm", "zero", image.to_str().unwrap()]);
    assert!(began.elapsed() < Duration::from_secs(5), "took {:?}", began.elapsed());
    run(&repo, &["scrub", "--level", "points"]);
}

#[test]
fn scattered_data_on_64_gib_comes_back_and_the_rest_stays_a_hole() {
    let (scratch, repo) = new_repo();
    let image = scratch.path().join("scattered.raw");
    let file = File::create(&image).unwrap();
    file.set_len(64 * GIB).unwrap();
    for n in 0..200 {
        let at = (n * 331 + 17) * 1_000_003 % (64 * GIB - 70_000);
        file.write_all_at(&noise(1 + n as usize * 331, n), at).unwrap();
    }
    run(&repo, &["backup", "image", "--vm", "vm", image.to_str().unwrap()]);
    let restored = scratch.path().join("restored.raw");
    let target = restored.to_str().unwrap();
    run(&repo, &["restore", "disk", "vm@latest", "scattered", target]);
    assert!(std::fs::metadata(&restored).unwrap().blocks() * 512 < 400 * MIB as u64);
    let compared = Command::new("qemu-img")
        .args(["compare", "-f", "raw", "-F", "raw", image.to_str().unwrap(), target])
        .output()
        .expect("qemu-img is installed (tools/setup test)");
    let said = String::from_utf8_lossy(&compared.stdout).into_owned();
    assert!(compared.status.success() && said.contains("identical"), "{said}");
}

#[test]
fn a_backup_and_a_restore_stay_below_256_mib_of_memory() {
    let (scratch, repo) = new_repo();
    let image = scratch.path().join("noise.raw");
    let file = File::create(&image).unwrap();
    let len = 700 * MIB;
    for at in (0..len).step_by(50 * MIB) {
        file.write_all_at(&noise(50 * MIB, at as u64), at as u64).unwrap();
    }
    let path = image.to_str().unwrap();
    let backup = ["backup", "image", "--threads", "2", "--vm", "vm", path];
    let first = peak_resident_kib(&mut backstop(&repo, &backup).spawn().unwrap());
    assert!((20 << 10..256 << 10).contains(&first), "a first backup took {first} KiB");
    let again = peak_resident_kib(&mut backstop(&repo, &backup).spawn().unwrap());
    assert!(again < 256 << 10, "a second backup took {again} KiB");
    let target = scratch.path().join("restored.raw");
    let restore = ["restore", "disk", "vm@latest", "noise", target.to_str().unwrap()];
    let restored = peak_resident_kib(&mut backstop(&repo, &restore).spawn().unwrap());
    assert!(restored < 256 << 10, "a restore took {restored} KiB");
}
