//! QEMU's tools, and images made with them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A directory of images.
pub(crate) struct Images {
    dir: tempfile::TempDir,
}

impl Images {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a temporary directory") }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Runs `qemu-img` with the directory as its own; `args` are words.
    pub(crate) fn img(&self, args: &str) {
        self.run("qemu-img", args.split_whitespace().collect());
    }

    /// Makes an empty qcow2 image; `args` are further words.
    pub(crate) fn create(&self, name: &str, size: u64, args: &str) -> PathBuf {
        self.img(&format!("create -q -f qcow2 {args} {name} {size}"));
        self.path(name)
    }

    /// Runs commands of `qemu-io` on a qcow2 image.
    pub(crate) fn io(&self, name: &str, commands: &[&str]) {
        let mut args = vec!["-d", "unmap", "-f", "qcow2"];
        for command in commands {
            args.extend(["-c", command]);
        }
        args.push(name);
        let output = self.run("qemu-io", args);
        // It reports what failed and still ends well.
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(!said.contains("rror") && !said.contains("failed"), "qemu-io {commands:?}: {said}");
    }

    /// The disk as QEMU reads it.
    pub(crate) fn disk(&self, name: &str, format: &str) -> Vec<u8> {
        let out = format!("{name}.expected");
        self.img(&format!("convert -f {format} -O raw {name} {out}"));
        let bytes = fs::read(self.path(&out)).expect("what qemu-img wrote");
        fs::remove_file(self.path(&out)).expect("remove what qemu-img wrote");
        bytes
    }

    /// A file of bytes that do not compress.
    pub(crate) fn noise(&self, name: &str, len: usize) {
        fs::write(self.path(name), noise(len)).expect("write the noise");
    }

    pub(crate) fn run(&self, program: &str, args: Vec<&str>) -> Output {
        let mut command = Command::new(program);
        let output = command.args(&args).current_dir(self.dir.path()).output();
        let output = output.unwrap_or_else(|error| {
            panic!("these tests need {program} (Debian: qemu-utils; Fedora: qemu-img): {error}")
        });
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} {args:?}: {said}");
        output
    }
}

/// Bytes that do not compress, the same in every run.
pub(crate) fn noise(len: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..len).map(|_| next()).collect()
}

/// Changes bytes of a file in place.
pub(crate) fn patch(path: &Path, at: u64, bytes: &[u8]) {
    use std::os::unix::fs::FileExt;
    let file = fs::OpenOptions::new().write(true).open(path).expect("open the image to change it");
    file.write_all_at(bytes, at).expect("change the image");
}

/// A big-endian number of an image.
pub(crate) fn field(path: &Path, at: u64) -> u64 {
    use std::os::unix::fs::FileExt;
    let mut bytes = [0; 8];
    let file = fs::File::open(path).expect("open the image");
    file.read_exact_at(&mut bytes, at).expect("read the image");
    u64::from_be_bytes(bytes)
}
