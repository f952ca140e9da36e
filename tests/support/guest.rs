//! Small disks with file systems in them, as guests have them, and mounts of such disks.

#![allow(dead_code, reason = "each test binary uses its own part of this module")]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::run::{attempt, run};

const MIB: u64 = 1 << 20;
/// Where the partition of a partitioned disk begins, in bytes.
pub(crate) const PARTITION_OFFSET: u64 = 4 * MIB;

/// A file system that guests use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileSystem {
    Ext4,
    Xfs,
    Btrfs,
}

impl FileSystem {
    pub(crate) const ALL: [Self; 3] = [Self::Ext4, Self::Xfs, Self::Btrfs];

    /// Length of an image, in bytes; the least that its tools accept, or a little more.
    fn image_bytes(self) -> u64 {
        match self {
            Self::Ext4 => 64 * MIB,
            Self::Xfs => 320 * MIB,
            Self::Btrfs => 128 * MIB,
        }
    }

    /// Options for a mount that writes nothing, not even to replay a journal.
    pub(crate) fn read_only_options(self) -> &'static str {
        match self {
            Self::Ext4 => "ro,noload",
            Self::Xfs => "ro,norecovery,nouuid",
            Self::Btrfs => "ro",
        }
    }
}

/// Files by their path in the file system.
pub(crate) type Tree = BTreeMap<String, Vec<u8>>;

/// A few directories with small, large, empty and oddly named files.
pub(crate) fn file_tree() -> Tree {
    let mut tree = Tree::new();
    for n in 0..40u64 {
        let len = [0, 1, 511, 4096, 70_001, 1_300_000][(n % 6) as usize];
        let path = format!("dir{}/sub{}/file {n} ü", n % 3, n % 5);
        tree.insert(path, crate::repo::noise(len, n + 1));
    }
    tree
}

/// Makes an image at `image` that holds `tree`. Needs root; xfs also a loop device.
pub(crate) fn build(kind: FileSystem, tree: &Tree, image: &Path) {
    File::create(image).unwrap().set_len(kind.image_bytes()).unwrap();
    let source = image.with_extension("tree");
    write_tree(tree, &source);
    let (image, source) = (image.as_os_str(), source.as_os_str());
    match kind {
        FileSystem::Ext4 => {
            run("mkfs.ext4", ["-q".as_ref(), "-F".as_ref(), "-d".as_ref(), source, image]);
        }
        FileSystem::Btrfs => {
            run("mkfs.btrfs", ["-q".as_ref(), "--rootdir".as_ref(), source, image]);
        }
        FileSystem::Xfs => {
            run("mkfs.xfs", ["-q".as_ref(), "-f".as_ref(), image]);
            let dir = Path::new(image).with_extension("mnt");
            let mounted = GuestMount::new(Path::new(image), &dir, "loop");
            write_tree(tree, mounted.dir());
        }
    }
}

/// Makes a disk whose only partition, at [`PARTITION_OFFSET`], is the image.
pub(crate) fn partition(image: &Path, disk: &Path) {
    let image_file = File::open(image).unwrap();
    let image_bytes = image_file.metadata().unwrap().len();
    let file = File::create(disk).unwrap();
    file.set_len(PARTITION_OFFSET + image_bytes + MIB).unwrap();
    let mut block = vec![0; MIB as usize];
    for at in (0..image_bytes).step_by(MIB as usize) {
        image_file.read_exact_at(&mut block, at).unwrap();
        if block.iter().any(|byte| *byte != 0) {
            file.write_all_at(&block, PARTITION_OFFSET + at).unwrap();
        }
    }
    drop(file);
    let (start, size) = (PARTITION_OFFSET / 512, image_bytes / 512);
    let table = disk.with_extension("sfdisk");
    fs::write(&table, format!("label: gpt\nstart={start}, size={size}, type=linux\n")).unwrap();
    let script = format!("sfdisk -q '{}' < '{}'", disk.display(), table.display());
    run("sh", ["-c", &script]);
}

fn write_tree(tree: &Tree, dir: &Path) {
    for (path, bytes) in tree {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

/// Fails unless the directory holds exactly the files of the tree.
pub(crate) fn assert_holds(dir: &Path, tree: &Tree) {
    let mut found = Tree::new();
    collect(dir, dir, &mut found);
    assert_eq!(found.keys().collect::<Vec<_>>(), tree.keys().collect::<Vec<_>>());
    for (path, bytes) in tree {
        assert!(found[path] == *bytes, "{path}");
    }
}

fn collect(root: &Path, dir: &Path, found: &mut Tree) {
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if entry.file_name() == "lost+found" {
            continue;
        }
        if entry.file_type().unwrap().is_dir() {
            collect(root, &path, found);
        } else {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            found.insert(name, fs::read(&path).unwrap());
        }
    }
}

/// A mounted disk. Unmounted, and its loop device given back, when the value is dropped.
pub(crate) struct GuestMount {
    dir: PathBuf,
}

impl GuestMount {
    /// Mounts `disk` on `dir`, which is made if it is missing. A machine has few loop devices:
    /// while they are all in use, waits for one.
    pub(crate) fn new(disk: &Path, dir: &Path, options: &str) -> Self {
        fs::create_dir_all(dir).unwrap();
        let args: [OsString; 4] = ["-o".into(), options.into(), disk.into(), dir.into()];
        let mut output = attempt("mount", &args);
        for _ in 0..100 {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            if output.status.success() || !said.contains("loop device") {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
            output = attempt("mount", &args);
        }
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "mount -o {options}: {said}");
        Self { dir: dir.to_owned() }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Drop for GuestMount {
    fn drop(&mut self) {
        let output = attempt("umount", [&self.dir]);
        if !output.status.success() {
            attempt("umount", ["-l".as_ref(), self.dir.as_os_str()]);
        }
    }
}
