//! Random histories of backups, read back through a real mount and through restore.

#[path = "support/repo.rs"]
mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use backstop::error::Result;
use backstop::format::commit::PointRecord;
use backstop::ingest::back_up;
use backstop::repo::Repository;
use backstop::store::DirStore;
use proptest::prelude::*;

use support::{MIB, disk_input, environment, noise, options};

fn backstop(repo: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_backstop"));
    command.arg("-r").arg(repo).stdout(Stdio::null());
    let beside = |name: &str| repo.with_file_name(name);
    command.arg("--trust-dir").arg(beside("trust"));
    if support::is_encrypted() {
        let key = beside("key");
        fs::write(&key, [7; 32]).unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        command.arg("--key-file").arg(key);
    }
    command
}

/// A mount that ends with the value.
struct Mount {
    serving: Child,
    path: PathBuf,
}

impl Mount {
    fn start(repo: &Path, path: PathBuf) -> Self {
        fs::create_dir_all(&path).unwrap();
        let serving = backstop(repo).arg("mount").arg(&path).spawn().unwrap();
        let mount = Self { serving, path };
        let began = Instant::now();
        while !mount.path.join("vms").exists() {
            assert!(began.elapsed() < Duration::from_secs(20), "the mount did not come");
            std::thread::sleep(Duration::from_millis(10));
        }
        mount
    }

    fn file(&self, point: &PointRecord, disk: &str) -> PathBuf {
        let time = point.time.to_string();
        self.path.join("vms").join(&point.vm).join(time).join(format!("{disk}.raw"))
    }

    fn end(mut self) {
        let pid = self.serving.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        assert!(self.serving.wait().unwrap().success(), "the mount ends cleanly");
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if self.serving.try_wait().is_ok_and(|ended| ended.is_none()) {
            let _unmounted = Command::new("umount").arg("-l").arg(&self.path).status();
            let _killed = self.serving.kill();
            let _ended = self.serving.wait();
        }
    }
}

/// One backup of a disk: its length, and what is written to it first, in places of 1/256 of it.
#[derive(Debug, Clone)]
struct Step {
    len: usize,
    writes: Vec<(u8, usize, u64)>,
}

fn step() -> impl Strategy<Value = Step> {
    let len = prop_oneof![
        Just(512usize),
        Just(MIB - 512),
        Just(MIB + 512),
        Just(4 * MIB),
        1usize..5 * MIB,
    ];
    let write = (any::<u8>(), 1usize..300_000, any::<u64>());
    (len, prop::collection::vec(write, 0..4)).prop_map(|(len, writes)| Step { len, writes })
}

fn run_history(repo: &Repository, history: &[Step]) -> Result<Vec<(PointRecord, Vec<u8>)>> {
    let mut disk = Vec::new();
    let mut points = Vec::new();
    for step in history {
        disk.resize(step.len, 0);
        for (place, len, seed) in &step.writes {
            let start = disk.len() * usize::from(*place) / 256;
            let end = (start + len).min(disk.len());
            disk[start..end].copy_from_slice(&noise(end - start, *seed));
        }
        let inputs = vec![disk_input("disk", &disk), disk_input("copy", &disk[..disk.len() / 2])];
        points.push((back_up(repo, "vm", inputs, &options())?, disk.clone()));
    }
    Ok(points)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn every_point_reads_back_through_a_mount_and_through_restore(
        history in prop::collection::vec(step(), 1..5),
    ) {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("repository");
        let store = Arc::new(DirStore::create(&path).unwrap());
        let repo = support::create_repo(store, environment(5)).unwrap();
        let points = run_history(&repo, &history).unwrap();
        let mount = Mount::start(&path, scratch.path().join("mnt"));
        for (number, (point, disk)) in points.iter().enumerate() {
            prop_assert!(fs::read(mount.file(point, "disk")).unwrap() == *disk);
            prop_assert!(fs::read(mount.file(point, "copy")).unwrap() == disk[..disk.len() / 2]);
            let target = scratch.path().join(format!("restored-{number}"));
            let restored = backstop(&path)
                .args(["restore", "disk", &point.id.to_string(), "disk"])
                .arg(&target)
                .status()
                .unwrap();
            prop_assert!(restored.success());
            prop_assert!(fs::read(&target).unwrap() == *disk);
        }
        mount.end();
    }
}
