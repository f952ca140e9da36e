//! Locks that end with the process that took them.
//!
//! All are `flock(2)` locks: the kernel drops one when the last descriptor of its open file goes,
//! however the process ends, and two open files of one process exclude each other. The text in a
//! locked file is for people; nothing is decided by it. Files of locks are never deleted by a
//! release: a lock on a file that lost its name would exclude nobody.
//!
//! Every release unlocks before it closes. A child that another thread is just starting has a copy
//! of the descriptor until it executes its program, and would keep the lock for that long.

use std::fs::File;
use std::fs::OpenOptions;
use std::fs::TryLockError;
use std::io;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::error::Error;
use crate::error::ErrorKind;
use crate::error::IoContext;
use crate::error::Result;
use crate::format::layout::ObjectName;
use crate::store::Held;
use crate::store::Published;
use crate::store::publish::Publisher;

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

/// Locks the file at `path`, which is made if it is missing, and replaces its text.
pub(super) fn lock(path: &Path, text: &[u8]) -> Result<Option<HeldFile>> {
    let mut options = open_options();
    options.read(true).write(true).create(true).truncate(false).mode(LOCK_FILE_MODE);
    let file = options.open(path).context("cannot open the lock", path)?;
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
