//! What is attached: a directory for each attachment, which its process has locked.
//!
//! `<root>/<id>/` holds `lock`, `state.json` once the disk is there, `log`, and `mnt`. Whether an
//! attachment lives is whether somebody has its lock; the kernel drops that with the process. The
//! lock of the root is held for as long as a directory is made or judged, so that nobody takes one
//! for dead whose process is just about to lock it.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::base::chance::Chance;
use crate::base::clock::UtcTime;
use crate::base::id::PointId;
use crate::error::{Error, ErrorKind, IoContext, Result};

const LOCK: &str = "lock";
const STATE: &str = "state.json";
const LOG: &str = "log";
const MOUNT: &str = "mnt";
/// More is no state of ours.
const STATE_BYTES_MAX: u64 = 1 << 20;

/// The directory that holds what is attached.
#[derive(Debug, Clone)]
pub struct Registry {
    root: PathBuf,
}

/// What an attachment writes down about itself. Kept as JSON; `docs/semantics.md` has the keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// The process that serves it.
    pub process: u32,
    /// Where the disk is to be had: a device, or the address of a server.
    pub place: Place,
    /// The repository.
    pub repository: PathBuf,
    /// The restore point.
    pub point: PointId,
    /// Its VM.
    pub vm: String,
    /// Its time.
    pub time: UtcTime,
    /// Name of the disk.
    pub disk: String,
    /// Its length, in bytes.
    pub size_bytes: u64,
    /// Whether it can be written.
    pub is_writable: bool,
}

/// Where a disk is to be had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// A loop device.
    Device {
        /// Its node.
        path: PathBuf,
        /// What the kernel shows of the file below it.
        shown: String,
    },
    /// A server of the NBD protocol.
    Nbd {
        /// The URI that clients take.
        uri: String,
        /// Where it listens.
        address: String,
    },
}

impl Place {
    /// The device or address, as it is typed.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Device { path, .. } => path.display().to_string(),
            Self::Nbd { uri, .. } => uri.clone(),
        }
    }
}

/// An attachment that somebody made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// The name of its directory.
    pub id: String,
    /// What it wrote down; none if it did not come so far.
    pub facts: Option<Facts>,
    /// Whether its process lives.
    pub is_alive: bool,
}

impl Registry {
    /// The registry in that directory, which need not exist.
    #[must_use]
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// All attachments, the living and the dead, ordered by what they are.
    pub fn list(&self) -> Result<Vec<Attachment>> {
        if !self.root.try_exists().context("cannot look for what is attached", &self.root)? {
            return Ok(Vec::new());
        }
        let _judging = self.lock()?;
        let cannot = "cannot look for what is attached";
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.root).context(cannot, &self.root)? {
            let entry = entry.context(cannot, &self.root)?;
            let is_dir = entry.file_type().context(cannot, &entry.path())?.is_dir();
            if let (true, Ok(id)) = (is_dir, entry.file_name().into_string()) {
                let is_alive = is_held(&entry.path().join(LOCK))?;
                found.push(Attachment { facts: self.facts(&id)?, id, is_alive });
            }
        }
        found.sort_by_key(|one| {
            (one.facts.as_ref().map(|facts| facts.place.name()), one.id.clone())
        });
        Ok(found)
    }

    /// Makes the directory of a new attachment and locks it.
    pub fn create(&self, chance: &dyn Chance) -> Result<Entry> {
        self.make_root()?;
        let _making = self.lock()?;
        let id: String = chance.bytes::<8>().iter().map(|byte| format!("{byte:02x}")).collect();
        let dir = self.dir(&id);
        let cannot = "cannot write down what is attached";
        private_dirs().create(&dir).context(cannot, &dir)?;
        let lock = new_file(&dir.join(LOCK)).context(cannot, &dir)?;
        lock.try_lock().map_err(io::Error::from).context(cannot, &dir)?;
        let entry = Entry { registry: self.clone(), id, _lock: lock };
        private_dirs().create(entry.mount_dir()).context(cannot, &dir)?;
        Ok(entry)
    }

    /// Removes the directory of an attachment whose process is gone; false if it lives.
    pub fn remove_dead(&self, id: &str) -> Result<bool> {
        let _judging = self.lock()?;
        let dir = self.dir(id);
        match is_held(&dir.join(LOCK))? {
            true => Ok(false),
            false => remove(&dir).map(|()| true),
        }
    }

    /// Whether the process of an attachment lives.
    pub fn is_alive(&self, id: &str) -> Result<bool> {
        is_held(&self.dir(id).join(LOCK))
    }

    /// Where the mount of an attachment is while it is made.
    #[must_use]
    pub fn mount_dir(&self, id: &str) -> PathBuf {
        self.dir(id).join(MOUNT)
    }

    fn dir(&self, id: &str) -> PathBuf {
        self.root.join(id)
    }

    fn make_root(&self) -> Result<()> {
        let cannot = "cannot write down what is attached";
        private_dirs().recursive(true).create(&self.root).context(cannot, &self.root)?;
        let about = fs::symlink_metadata(&self.root).context(cannot, &self.root)?;
        let is_private = about.is_dir() && about.mode() & 0o022 == 0;
        match is_private && about.uid() == own_user()? {
            true => Ok(()),
            false => {
                let what = "the directory for what is attached is another user's, or others may \
                            write to it";
                Err(Error::new(ErrorKind::Denied, what).at(&self.root))
            }
        }
    }

    fn lock(&self) -> Result<File> {
        let path = self.root.join(LOCK);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.custom_flags(libc::O_NOFOLLOW).open(&path);
        let file = file.context("cannot look for what is attached", &path)?;
        file.lock().context("cannot look for what is attached", &path)?;
        Ok(file)
    }

    /// None if there are none yet; an error if they are not what this release writes.
    fn facts(&self, id: &str) -> Result<Option<Facts>> {
        let path = self.dir(id).join(STATE);
        let text = match fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Ok(about) if about.len() > STATE_BYTES_MAX => return Err(unreadable(&path)),
            _ => fs::read(&path).context("cannot read what is attached", &path)?,
        };
        serde_json::from_slice(&text).map(Some).map_err(|error| unreadable(&path).because(error))
    }
}

/// The directory of an attachment, for its own process. It is removed when this is dropped.
#[derive(Debug)]
pub struct Entry {
    registry: Registry,
    id: String,
    _lock: File,
}

impl Entry {
    /// Writes down what is attached.
    pub fn write(&self, facts: &Facts) -> Result<()> {
        let (path, new) = (self.path(STATE), self.path("state.new"));
        let cannot = "cannot write down what is attached";
        let text = serde_json::to_vec_pretty(facts);
        let text = text.map_err(|error| Error::new(ErrorKind::Invalid, cannot).because(error))?;
        fs::write(&new, text).and_then(|()| fs::rename(&new, &path)).context(cannot, &path)
    }

    /// By what its device is known again.
    #[must_use]
    pub fn tag(&self) -> String {
        tag(&self.id)
    }

    /// An empty directory to mount on.
    #[must_use]
    pub fn mount_dir(&self) -> PathBuf {
        self.path(MOUNT)
    }

    /// A file for what the process has to say.
    pub fn new_log(&self) -> Result<File> {
        let path = self.path(LOG);
        new_file(&path).context("cannot write the log", &path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.registry.dir(&self.id).join(name)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        // What cannot be removed is found, as dead, by whoever looks next.
        let _left = remove(&self.registry.dir(&self.id));
    }
}

/// By what the device of an attachment is known again.
pub(super) fn tag(id: &str) -> String {
    format!("backstop:{id}")
}

/// File by file, so that nothing is ever removed through a mount. The lock is the last: a
/// directory without it is dead.
fn remove(dir: &Path) -> Result<()> {
    let cannot = "cannot remove what is left of an attachment";
    let gone = |removed: io::Result<()>| match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).context(cannot, dir),
        _ => Ok(()),
    };
    gone(fs::remove_dir(dir.join(MOUNT)))?;
    for name in [LOG, STATE, "state.new", LOCK] {
        gone(fs::remove_file(dir.join(name)))?;
    }
    gone(fs::remove_dir(dir))
}

/// Whether somebody has the lock. A missing file is not locked.
fn is_held(path: &Path) -> Result<bool> {
    let cannot = "cannot tell whether an attachment lives";
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        opened => opened.context(cannot, path)?,
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(error).context(cannot, path),
    }
}

fn own_user() -> Result<u32> {
    let path = Path::new("/proc/self");
    Ok(fs::metadata(path).context("cannot tell who this is", path)?.uid())
}

fn private_dirs() -> DirBuilder {
    let mut builder = DirBuilder::new();
    builder.mode(0o700);
    builder
}

fn new_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
}

fn unreadable(path: &Path) -> Error {
    Error::new(ErrorKind::Unsupported, "another release wrote down what is attached").at(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::chance::SystemChance;

    fn facts() -> Facts {
        Facts {
            process: 7,
            place: Place::Device { path: "/dev/loop3".into(), shown: "/vms/web".into() },
            repository: "/backup".into(),
            point: PointId::from_bytes([1; 16]),
            vm: "web".into(),
            time: UtcTime::EPOCH,
            disk: "sda".into(),
            size_bytes: 5,
            is_writable: false,
        }
    }

    #[test]
    fn an_attachment_is_listed_until_its_entry_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let registry = Registry::new(dir.path().join("run/backstop"));
        assert_eq!(registry.list().unwrap(), []);
        let entry = registry.create(&SystemChance).unwrap();
        let starting = registry.list().unwrap().remove(0);
        assert_eq!((starting.facts, starting.is_alive), (None, true));
        entry.write(&facts()).unwrap();
        let id = starting.id;
        let alive = Attachment { id: id.clone(), facts: Some(facts()), is_alive: true };
        assert_eq!(registry.list().unwrap(), [alive]);
        assert!(!registry.remove_dead(&id).unwrap(), "a living one stays");
        drop(entry);
        assert_eq!(registry.list().unwrap(), []);
    }

    #[test]
    fn what_a_killed_process_leaves_is_dead_and_can_be_removed() {
        let dir = tempfile::tempdir().unwrap();
        let registry = Registry::new(dir.path().to_owned());
        for files in [&["lock", "log", "state.json"][..], &[]] {
            let left = dir.path().join("left");
            fs::create_dir_all(left.join("mnt")).unwrap();
            let text = serde_json::to_string(&facts()).unwrap();
            files.iter().for_each(|file| fs::write(left.join(file), &text).unwrap());
            let found = registry.list().unwrap().remove(0);
            assert!(!found.is_alive);
            assert_eq!(found.facts.is_some(), !files.is_empty());
            assert!(registry.remove_dead("left").unwrap());
            assert!(!left.exists());
        }
    }

    #[test]
    fn a_directory_that_others_may_write_to_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let registry = Registry::new(dir.path().to_owned());
        assert_eq!(registry.create(&SystemChance).err().unwrap().kind(), ErrorKind::Denied);
    }
}
