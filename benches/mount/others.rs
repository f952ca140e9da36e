//! What else can show the image: the file itself, squashfs, QEMU, and the mounts of other tools.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::mounts::{Served, run};
use crate::reads::{Plan, Timed, Work, read_file};
use crate::{Contender, SLOW_SHARE};

/// Those of the wanted names that this machine has the programs for.
pub(crate) fn all(
    scratch: &Path,
    image: &Path,
    is_wanted: impl Fn(&str) -> bool,
) -> Vec<Box<dyn Contender>> {
    let makers: [(&str, &str, Maker); 6] = [
        (RAW, "dd", Raw::make),
        (SQUASH, "mksquashfs", Squash::make),
        (QEMU, "qemu-storage-daemon", Qemu::make),
        (RESTIC, "restic", Restic::make),
        (RUSTIC, "rustic", Rustic::make),
        (BORG, "borg", Borg::make),
    ];
    let mut all: Vec<Box<dyn Contender>> = Vec::new();
    for (_, program, make) in makers.into_iter().filter(|(name, ..)| is_wanted(name)) {
        let found = Command::new(program).arg("--version").output();
        match found {
            Ok(_) => all.push(make(scratch, image)),
            Err(_) => println!("{program} is not installed: left out"),
        }
    }
    all
}

type Maker = fn(&Path, &Path) -> Box<dyn Contender>;

const RAW: &str = "raw file";
const SQUASH: &str = "squashfs, zstd, 1 MiB";
const QEMU: &str = "QEMU's export of a zstd qcow2";
const RESTIC: &str = "restic";
const RUSTIC: &str = "rustic";
const BORG: &str = "borg";

/// The file on the file system that it lies on. Its pages are dropped first.
struct Raw(PathBuf);

impl Raw {
    fn make(_: &Path, image: &Path) -> Box<dyn Contender> {
        Box::new(Self(image.to_owned()))
    }
}

impl Contender for Raw {
    fn name(&self) -> &str {
        RAW
    }

    fn run(&self, work: Work, plan: &Plan) -> Timed {
        let mut input = std::ffi::OsString::from("if=");
        input.push(&self.0);
        run(Command::new("dd").arg(input).args(["iflag=nocache", "count=0"]));
        read_file(&self.0, work, plan, &[])
    }
}

/// The kernel's squashfs, zstd in blocks of 1 MiB.
struct Squash {
    file: PathBuf,
    dir: PathBuf,
}

impl Squash {
    fn make(scratch: &Path, image: &Path) -> Box<dyn Contender> {
        let (file, dir) = (scratch.join("image.squashfs"), scratch.join("squashfs"));
        fs::create_dir(&dir).expect("a directory");
        // The level changes the length, hardly the speed of reading; the default takes minutes.
        let level = ["-comp", "zstd", "-Xcompression-level", "3"];
        let options = ["-b", "1M", "-quiet", "-no-progress"];
        run(Command::new("mksquashfs").arg(image).arg(&file).args(level).args(options));
        Box::new(Self { file, dir })
    }
}

impl Contender for Squash {
    fn name(&self) -> &str {
        SQUASH
    }

    /// The kernel's squashfs knows no direct reads.
    fn can(&self, work: Work) -> bool {
        work != Work::PastCache
    }

    fn run(&self, work: Work, plan: &Plan) -> Timed {
        run(Command::new("mount").args(["-o", "loop,ro"]).arg(&self.file).arg(&self.dir));
        let disk = self.dir.join(plan.image.file_name().expect("a name"));
        let timed = read_file(&disk, work, plan, &[]);
        run(Command::new("umount").arg(&self.dir));
        timed
    }
}

/// A qcow2 image in zstd, shown as a file by QEMU.
struct Qemu {
    image: PathBuf,
    file: PathBuf,
}

impl Qemu {
    fn make(scratch: &Path, image: &Path) -> Box<dyn Contender> {
        let (packed, file) = (scratch.join("image.qcow2"), scratch.join("qemu.raw"));
        let options = ["convert", "-c", "-f", "raw", "-O", "qcow2"];
        let zstd = ["-o", "compression_type=zstd"];
        run(Command::new("qemu-img").args(options).args(zstd).arg(image).arg(&packed));
        fs::File::create(&file).expect("a file to mount on");
        Box::new(Self { image: packed, file })
    }
}

impl Contender for Qemu {
    fn name(&self) -> &str {
        QEMU
    }

    fn run(&self, work: Work, plan: &Plan) -> Timed {
        let mut command = Command::new("qemu-storage-daemon");
        let blockdev = format!(
            "driver=qcow2,node-name=disk,file.driver=file,read-only=on,file.filename={}",
            self.image.display()
        );
        let export =
            format!("type=fuse,id=export,node-name=disk,mountpoint={}", self.file.display());
        command.arg("--blockdev").arg(blockdev).arg("--export").arg(export);
        let served = Served::start(command, &self.file, &self.file);
        read_file(&served.disk, work, plan, &[served.id()])
    }
}

struct Restic {
    repository: PathBuf,
    dir: PathBuf,
    image: PathBuf,
}

impl Restic {
    fn make(scratch: &Path, image: &Path) -> Box<dyn Contender> {
        let (repository, dir) = (scratch.join("restic.repo"), scratch.join("restic"));
        fs::create_dir(&dir).expect("a directory");
        let this = Self { repository, dir, image: image.to_owned() };
        run(this.command().arg("init"));
        run(this.command().arg("backup").arg(image));
        Box::new(this)
    }

    fn command(&self) -> Command {
        let mut command = Command::new("restic");
        command
            .env("RESTIC_PASSWORD", "x")
            .env("RESTIC_CACHE_DIR", self.dir.join("../restic.cache"));
        command.arg("--quiet").arg("--repo").arg(&self.repository);
        command
    }
}

impl Contender for Restic {
    fn name(&self) -> &str {
        RESTIC
    }

    fn run(&self, work: Work, plan: &Plan) -> Timed {
        let mut command = self.command();
        command.arg("mount").arg(&self.dir);
        let disk = below(&self.dir.join("snapshots/latest"), &self.image);
        let served = Served::start(command, &self.dir, &disk);
        read_file(&served.disk, work, &plan.share(SLOW_SHARE), &[served.id()])
    }
}

/// In chunks of 1 MiB, like Backstop's.
struct Rustic {
    repository: PathBuf,
    dir: PathBuf,
    image: PathBuf,
}

impl Rustic {
    fn make(scratch: &Path, image: &Path) -> Box<dyn Contender> {
        let (repository, dir) = (scratch.join("rustic.repo"), scratch.join("rustic"));
        fs::create_dir(&dir).expect("a directory");
        let this = Self { repository, dir, image: image.to_owned() };
        let cuts = ["--set-chunker", "fixed_size", "--set-chunk-size", "1MiB"];
        run(this.command().arg("init").args(cuts).args(["--set-compression", "1"]));
        run(this.command().arg("backup").arg(image));
        Box::new(this)
    }

    fn command(&self) -> Command {
        let mut command = Command::new("rustic");
        command.env("RUSTIC_PASSWORD", "x").env("RUSTIC_NO_PROGRESS", "true");
        command.env("RUSTIC_CACHE_DIR", self.dir.join("../rustic.cache"));
        command.arg("--repository").arg(&self.repository);
        command
    }
}

impl Contender for Rustic {
    fn name(&self) -> &str {
        RUSTIC
    }

    fn run(&self, work: Work, plan: &Plan) -> Timed {
        let mut command = self.command();
        command.args(["mount", "--exclusive"]).arg(&self.dir).arg("latest");
        let disk = below(&self.dir, &self.image);
        let served = Served::start(command, &self.dir, &disk);
        read_file(&served.disk, work, &plan.share(SLOW_SHARE), &[served.id()])
    }
}

/// In chunks of 1 MiB and encrypted, as restic and rustic always are.
struct Borg {
    repository: PathBuf,
    dir: PathBuf,
    image: PathBuf,
}

impl Borg {
    fn make(scratch: &Path, image: &Path) -> Box<dyn Contender> {
        let (repository, dir) = (scratch.join("borg.repo"), scratch.join("borg"));
        fs::create_dir(&dir).expect("a directory");
        let this = Self { repository, dir, image: image.to_owned() };
        run(this.command().args(["init", "--encryption=repokey-blake2"]).arg(&this.repository));
        let mut archive = this.repository.clone().into_os_string();
        archive.push("::one");
        let options = ["--compression=zstd,1", "--chunker-params=fixed,1048576"];
        run(this.command().arg("create").args(options).arg(archive).arg(image));
        Box::new(this)
    }

    fn command(&self) -> Command {
        let mut command = Command::new("borg");
        command.env("BORG_BASE_DIR", self.dir.join("../borg.home"));
        command.env("BORG_PASSPHRASE", "x");
        command
    }
}

impl Contender for Borg {
    fn name(&self) -> &str {
        BORG
    }

    fn run(&self, work: Work, plan: &Plan) -> Timed {
        let mut command = self.command();
        command.args(["mount", "--foreground"]).arg(&self.repository).arg(&self.dir);
        let disk = below(&self.dir.join("one"), &self.image);
        let served = Served::start(command, &self.dir, &disk);
        read_file(&served.disk, work, &plan.share(SLOW_SHARE), &[served.id()])
    }
}

/// An absolute path below a directory.
fn below(dir: &Path, path: &Path) -> PathBuf {
    dir.join(path.strip_prefix("/").unwrap_or(path))
}
