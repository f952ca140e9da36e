//! Backstop's own mount, a loop device on it, and the same mount where bytes cost nothing.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use backstop::base::chance::Chance;
use backstop::base::limits::CHUNK_BYTES;
use backstop::store::testing::SeededChance;

use crate::Contender;
use crate::library::repository_of;
use crate::reads::{Plan, Timed, Work, read_file};

/// The name of the mount whose bytes cost nothing.
pub(crate) const FREE: &str = "a mount whose bytes cost nothing";
const PATIENCE: Duration = Duration::from_secs(60);

/// Both, where this machine can mount.
pub(crate) fn all(scratch: &Path) -> Vec<Box<dyn Contender>> {
    let repository = scratch.join("repository");
    let dir = scratch.join("backstop");
    fs::create_dir(&dir).expect("a directory");
    let mount = Mount { repository, dir };
    vec![Box::new(mount.clone()), Box::new(Loop(mount))]
}

/// The mount of a disk of the same shape, whose chunks with data are all the same one.
pub(crate) fn free(scratch: &Path, plan: &Plan) -> Box<dyn Contender> {
    let image = scratch.join("free.raw");
    let file = File::create(&image).expect("a file");
    file.set_len(plan.image_bytes).expect("a sparse file");
    let mut chunk = vec![0; CHUNK_BYTES];
    SeededChance::new(11).fill(&mut chunk);
    for page in &plan.pages {
        let start = page - page % CHUNK_BYTES as u64;
        let len = (plan.image_bytes - start).min(CHUNK_BYTES as u64);
        file.write_all_at(&chunk[..len as usize], start).expect("the image");
    }
    let (repository, dir) = (scratch.join("free.repo"), scratch.join("free"));
    repository_of(repository.clone(), &image);
    fs::remove_file(image).expect("the image");
    fs::create_dir(&dir).expect("a directory");
    Box::new(Free(Mount { repository, dir }))
}

#[derive(Clone)]
struct Mount {
    repository: PathBuf,
    dir: PathBuf,
}

impl Mount {
    fn serve(&self) -> Served {
        let program = env!("CARGO_BIN_EXE_backstop");
        let mut command = Command::new(program);
        command.arg("--repo").arg(&self.repository).arg("mount").arg(&self.dir);
        Served::start(command, &self.dir, &self.dir.join("vms/vm/latest/disk.raw"))
    }
}

impl Contender for Mount {
    fn name(&self) -> &str {
        "backstop"
    }

    fn run(&self, work: Work, plan: &Plan) -> Timed {
        let served = self.serve();
        read_file(&served.disk, work, plan, &[served.id()])
    }
}

/// Decodes one chunk, and answers everything after that from the one buffer: what is left is
/// what any mount with these requests costs, in the kernel, its reader and its server.
struct Free(Mount);

impl Contender for Free {
    fn name(&self) -> &str {
        FREE
    }

    fn can(&self, work: Work) -> bool {
        matches!(work, Work::InOrder | Work::PastCache)
    }

    fn run(&self, work: Work, plan: &Plan) -> Timed {
        self.0.run(work, plan)
    }
}

struct Loop(Mount);

impl Contender for Loop {
    fn name(&self) -> &str {
        "loop device on backstop"
    }

    fn run(&self, work: Work, plan: &Plan) -> Timed {
        let served = self.0.serve();
        let device = LoopDevice::over(&served.disk);
        read_file(&device.0, work, plan, &[served.id()])
    }
}

struct LoopDevice(PathBuf);

impl LoopDevice {
    fn over(disk: &Path) -> Self {
        let options = ["--find", "--show", "--read-only", "--direct-io=on"];
        let name = run(Command::new("losetup").args(options).arg(disk));
        let short = name.trim().trim_start_matches("/dev/").to_owned();
        let setting = format!("/sys/block/{short}/queue/read_ahead_kb");
        fs::write(setting, "2048").expect("the read-ahead can be set");
        Self(name.trim().into())
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        run(Command::new("losetup").arg("--detach").arg(&self.0));
    }
}

/// A process that serves a mount; both end when the value is dropped.
pub(crate) struct Served {
    child: Child,
    /// Where it is mounted: a directory, or a file.
    mounted: PathBuf,
    /// The image in it.
    pub(crate) disk: PathBuf,
}

impl Served {
    /// Starts a process and waits until `disk` is there and something is mounted on `mounted`.
    pub(crate) fn start(mut command: Command, mounted: &Path, disk: &Path) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().expect("the program starts");
        let served = Self { child, mounted: mounted.to_owned(), disk: disk.to_owned() };
        let began = Instant::now();
        while !(is_mounted(mounted) && disk.metadata().is_ok_and(|disk| disk.len() > 0)) {
            assert!(began.elapsed() < PATIENCE, "{disk:?} does not appear");
            thread::sleep(Duration::from_millis(5));
        }
        served
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let began = Instant::now();
        while is_mounted(&self.mounted) && began.elapsed() < PATIENCE {
            let mut unmount = Command::new("umount");
            unmount.arg(&self.mounted).stderr(Stdio::null());
            if !unmount.status().is_ok_and(|status| status.success()) {
                thread::sleep(Duration::from_millis(20));
            }
        }
        let _ended_already = self.child.kill();
        let _status = self.child.wait();
    }
}

pub(crate) fn is_mounted(path: &Path) -> bool {
    let table = fs::read_to_string("/proc/self/mounts").expect("the table of mounts");
    table.lines().any(|line| line.split(' ').nth(1) == path.to_str())
}

/// What a program prints, which must succeed.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output().expect("the program starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
