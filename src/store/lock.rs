//! Locks that end with the process that took them.
//!
//! All are `flock(2)` locks: the kernel drops one when the last descriptor of its open file goes,
//! however the process ends, and two open files of one process exclude each other. The text in a
//! locked file is for people; nothing is decided by it. Files of locks are never deleted by a
//! release: a lock on a file that lost its name would exclude nobody.
//!
//! Every release unlocks before it closes. A child that another thread is just starting has a copy
//! of the descriptor until it executes its program, and would keep the lock for that long.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::error::{Error, ErrorKind, IoContext, Result};
use crate::format::layout::ObjectName;
use crate::store::publish::Publisher;
use crate::store::{Held, Published};

const LOCK_FILE_MODE: u32 = 0o600;
/// Whoever only asks whether a lock is held has it for a moment: a busy lock is tried again.
const LOCK_TRIES: usize = 5;
const LOCK_PAUSE: Duration = Duration::from_millis(2);

/// A locked file.
#[derive(Debug)]
pub(super) struct HeldFile {
    file: File,
    path: PathBuf,
}

impl Held for HeldFile {}

impl Drop for HeldFile {
    fn drop(&mut self) {
        let _ = self.file.unlock();
    }
}

/// Publishes `bytes` in a file that is locked before it has a name: nobody can see the object
/// without its lock.
pub(super) fn register(
    publisher: &Arc<Publisher>,
    name: &ObjectName,
    bytes: &[u8],
) -> Result<HeldFile> {
    let path = publisher.path_of(name);
    let mut staged = publisher.stage()?;
    staged.write(bytes)?;
    let file = staged.file().try_clone().context("cannot register", &path)?;
    // A named temporary file is locked already; to lock it again changes nothing.
    file.try_lock().map_err(io::Error::from).context("cannot register", &path)?;
    let held = HeldFile { file, path };
    match staged.finish(name)? {
        Published::Created => Ok(held),
        Published::Existed => {
            Err(Error::new(ErrorKind::AlreadyExists, "the name is taken").at(&held.path))
        }
    }
}

/// Whether the file at `path` is locked. A missing file is not.
pub(super) fn is_held(path: &Path) -> Result<bool> {
    let file = match open_options().read(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        opened => opened.context("cannot tell whether somebody is at work", path)?,
    };
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => {
            Err(error).context("cannot tell whether somebody is at work", path)
        }
        Ok(()) => {
            file.unlock().context("cannot unlock", path)?;
            Ok(false)
        }
    }
}

/// Locks the file of that name, which is made if it is missing, and replaces its text.
pub(super) fn lock(
    publisher: &Publisher,
    name: &ObjectName,
    text: &[u8],
) -> Result<Option<HeldFile>> {
    let path = &publisher.path_of(name);
    let mut options = open_options();
    options.read(true).write(true).create(true).truncate(false).mode(LOCK_FILE_MODE);
    let file = options.open(path).context("cannot open the lock", path)?;
    publisher.hand_over(&file);
    for attempt in 1..=LOCK_TRIES {
        match file.try_lock() {
            Ok(()) => {
                let held = HeldFile { file, path: path.to_owned() };
                replace_text(&held, text)?;
                return Ok(Some(held));
            }
            Err(TryLockError::Error(error)) => return Err(error).context("cannot lock", path),
            Err(TryLockError::WouldBlock) if attempt < LOCK_TRIES => thread::sleep(LOCK_PAUSE),
            Err(TryLockError::WouldBlock) => {}
        }
    }
    Ok(None)
}

fn replace_text(held: &HeldFile, text: &[u8]) -> Result<()> {
    let written = held.file.set_len(0).and_then(|()| held.file.write_all_at(text, 0));
    written.context("cannot write down who has the lock", &held.path)
}

fn open_options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.custom_flags(libc::O_NOFOLLOW);
    options
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::id::SessionId;
    use crate::store::{DirStore, Store};
    use std::process::{Child, Command};

    const CHILD_REPOSITORY: &str = "BACKSTOP_TEST_LOCK_REPOSITORY";

    fn session() -> ObjectName {
        ObjectName::session(SessionId::from_bytes([1; 16]))
    }

    fn vm() -> ObjectName {
        ObjectName::vm_lock("vm")
    }

    /// Not a test of its own: the process that the next one kills.
    #[test]
    fn in_a_child_both_locks_are_held_until_it_is_killed() {
        let Some(path) = std::env::var_os(CHILD_REPOSITORY) else { return };
        let store = DirStore::open(path).unwrap();
        let _registration = store.register(&session(), b"child").unwrap();
        let _lock = store.lock(&vm(), b"child").unwrap().unwrap();
        thread::sleep(Duration::from_secs(60));
    }

    fn child(path: &Path) -> Child {
        let test = "store::lock::tests::in_a_child_both_locks_are_held_until_it_is_killed";
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", test]).env(CHILD_REPOSITORY, path);
        command.stdout(std::process::Stdio::null()).spawn().unwrap()
    }

    #[test]
    fn a_process_that_is_killed_holds_nothing() {
        let temp = tempfile::tempdir().unwrap();
        let store = DirStore::create(temp.path()).unwrap();
        let _ = store.create(&ObjectName::config(0), b"{}").unwrap();
        let mut child = child(temp.path());
        while !store.is_held(&vm()).unwrap() {
            assert!(child.try_wait().unwrap().is_none(), "the child ended early");
            thread::sleep(Duration::from_millis(5));
        }
        assert!(store.is_held(&session()).unwrap());
        assert!(store.lock(&vm(), b"parent").unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!store.is_held(&session()).unwrap());
        assert!(store.lock(&vm(), b"parent").unwrap().is_some());
        assert_eq!(store.read(&session(), 5).unwrap(), b"child");
    }

    #[test]
    fn asking_whether_a_lock_is_held_does_not_get_in_the_way_of_taking_it() {
        let temp = tempfile::tempdir().unwrap();
        let store = DirStore::create(temp.path()).unwrap();
        drop(store.lock(&vm(), b"").unwrap());
        let stop = std::sync::atomic::AtomicBool::new(false);
        let is_stopped = || stop.load(std::sync::atomic::Ordering::Relaxed);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !is_stopped() {
                    store.is_held(&vm()).unwrap();
                    thread::sleep(Duration::from_micros(100));
                }
            });
            let taken = (0..200).filter(|_| store.lock(&vm(), b"").unwrap().is_some()).count();
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
            assert_eq!(taken, 200);
        });
    }
}
