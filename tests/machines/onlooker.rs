//! A mount that stays while others write, and reads what they made.

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;

use backstop::store::testing::SeededChance;

use crate::acts::files_below;
use crate::program::{Lab, signal, wait};
use crate::run::attempt;
use crate::skip::{is_root, skip};
use crate::told::{Broken, Told};

/// The mount keeps so many packs open at most, and has a few files more.
const DESCRIPTORS_MAX: usize = 64 + 32;
/// How long it may take to end.
const PATIENCE: Duration = Duration::from_secs(20);

/// A mounted repository; the mount goes with the value.
pub(crate) struct Onlooker {
    child: Option<Child>,
    dir: PathBuf,
}

impl Onlooker {
    /// None, with a note, where this machine cannot mount.
    pub(crate) fn new(lab: &Lab) -> Option<Self> {
        if !is_root() || !Path::new("/dev/fuse").exists() {
            skip("soak: mount", "mounting needs root and /dev/fuse");
            return None;
        }
        let dir = lab.path("mount");
        fs::create_dir(&dir).unwrap();
        let mut child = lab.command(["mount".as_ref(), dir.as_os_str()]).spawn().unwrap();
        let mut answer = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut answer).unwrap();
        assert!(answer.starts_with("mounted"), "{answer}");
        Some(Self { child: Some(child), dir })
    }

    /// Reads a disk, which must be one that somebody stored.
    pub(crate) fn look(&self, told: &Told, dice: &SeededChance) -> Result<(), Broken> {
        let mut disks = files_below(&self.dir.join("vms"));
        disks.retain(|path| path.extension().is_some_and(|extension| extension == "raw"));
        // Of those that were listed some may have been dropped meanwhile.
        let (disk, bytes) = loop {
            if disks.is_empty() {
                return Err("the mount shows no disk that can be opened".to_owned());
            }
            let disk = disks.swap_remove(dice.below(disks.len()));
            match fs::read(&disk) {
                Ok(bytes) => break (disk, bytes),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(format!("{}: {error}", disk.display())),
            }
        };
        if !told.knows(&bytes) {
            return Err(format!("{} has bytes that nobody stored", disk.display()));
        }
        let pid = self.child.as_ref().map_or(0, Child::id);
        let open = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
        match open <= DESCRIPTORS_MAX {
            true => Ok(()),
            false => Err(format!("the mount has {open} files open")),
        }
    }

    /// The mount ends when it is told to.
    pub(crate) fn end(mut self) {
        if let Some(child) = self.child.take() {
            signal(&child, "TERM");
            wait(child, PATIENCE).expect(0);
        }
    }
}

impl Drop for Onlooker {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
            attempt("umount", ["-l".as_ref(), self.dir.as_os_str()]);
        }
    }
}
