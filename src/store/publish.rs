//! Durable publishing of one file: the only way by which an object comes into being.
//!
//! The order of the steps is the whole point:
//!
//! 1. write to a file that has no name (or one in `tmp/`, where a file system has no such files),
//! 2. sync it, so that no name ever leads to missing bytes,
//! 3. link it to its name, which fails if the name is taken and never replaces anything,
//! 4. sync the directory, so that the name survives a crash. That is done for a taken name too:
//!    whoever took it may not have come this far, and the caller will rely on it.
//!
//! A stop before step 3 leaves nothing behind, or at worst a file in `tmp/` that
//! [`Publisher::sweep`] removes. Every publisher syncs before it links, so an object that has a
//! name is whole.

use std::fs::{File, Metadata, OpenOptions, TryLockError};
use std::io;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::base::chance::{Chance, SystemChance};
use crate::base::id::SessionId;
use crate::error::{Error, ErrorKind, IoContext, Result};
use crate::format::layout::{Area, ObjectName};
use crate::store::direct::write_direct;
use crate::store::poison::Syncer;
use crate::store::writeback::Writeback;
use crate::store::{Published, Staged, sys};

/// Where files without a final name lie, below the repository's root.
pub(super) const TEMP_DIRECTORY: &str = "tmp";
const OBJECT_MODE: u32 = 0o400;
/// Bytes that are written to a file at once.
const WRITE_BYTES: usize = 8 << 20;
/// Fewer bytes are not worth writing past the page cache: what they end with takes another write.
const DIRECT_BYTES_MIN: usize = 256 << 10;
const DIRECTORY_MODE: u32 = 0o700;
const NOT_MOVED: &str = "cannot move the object to the quarantine";
/// A sweep may take a new temporary file away before its maker locks it; the next try has a new
/// name.
const TEMP_TRIES: usize = 8;

/// Publishes files in the directories of one repository.
#[derive(Debug)]
pub(super) struct Publisher {
    root: PathBuf,
    syncer: Syncer,
    /// Cleared once the file system turns out to have no files without a name.
    has_unnamed_files: AtomicBool,
    /// Who gets what root makes in the repository of another user.
    owner: Option<(u32, u32)>,
}

impl Publisher {
    pub(super) fn new(root: PathBuf, syncer: Syncer) -> Self {
        let owner = match root.metadata() {
            Ok(about) if sys::effective_user() == 0 && about.uid() != 0 => {
                Some((about.uid(), about.gid()))
            }
            _ => None,
        };
        Self { root, syncer, has_unnamed_files: AtomicBool::new(true), owner }
    }

    /// Uses named temporary files, as on a file system that has no others.
    #[cfg(test)]
    pub(super) fn without_unnamed_files(self) -> Self {
        self.has_unnamed_files.store(false, Ordering::Relaxed);
        self
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn syncer(&self) -> &Syncer {
        &self.syncer
    }

    /// Where an object lies.
    pub(super) fn path_of(&self, name: &ObjectName) -> PathBuf {
        self.root.join(name.to_string())
    }

    /// Gives a new file or directory to the owner of the repository. Root could read what is its
    /// own, and lock the owner out of sessions, commits and index.
    pub(super) fn hand_over(&self, made: &File) {
        if let Some((user, group)) = self.owner {
            // Where nothing can be given away, the mount decides whose files are.
            let _ = fchown(made, Some(user), Some(group));
        }
    }

    /// Begins a new object.
    pub(super) fn stage(self: &Arc<Self>) -> Result<StagedFile> {
        self.syncer.check()?;
        let directory = self.root.join(TEMP_DIRECTORY);
        let (file, temp) = match self.unnamed_file(&directory)? {
            Some(file) => (file, None),
            None => {
                let (file, temp) = named_file(&directory)?;
                (file, Some(temp))
            }
        };
        self.hand_over(&file);
        let writeback = Writeback::default();
        let publisher = Arc::clone(self);
        Ok(StagedFile { publisher, file, temp, len_bytes: 0, writeback, is_torn: false })
    }

    fn unnamed_file(&self, directory: &Path) -> Result<Option<File>> {
        if !self.has_unnamed_files.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let mut options = OpenOptions::new();
        options.read(true).write(true).mode(OBJECT_MODE).custom_flags(libc::O_TMPFILE);
        match options.open(directory) {
            // Without /proc there is no way to name such a file.
            Ok(file) if Path::new("/proc/self/fd").exists() => Ok(Some(file)),
            Err(error) if !is_unsupported(&error) => {
                Err(error).context("cannot begin an object", directory)
            }
            _ => {
                self.has_unnamed_files.store(false, Ordering::Relaxed);
                Ok(None)
            }
        }
    }

    /// Opens the directory that `path` lies in, and makes it first where it is that of some packs
    /// or of the index: people may throw the index away, directory and all.
    fn open_directory_of(&self, path: &Path, area: Area) -> Result<File> {
        let directory = path.parent().unwrap_or(&self.root);
        let opened = File::open(directory);
        let is_missing = opened.as_ref().is_err_and(|e| e.kind() == io::ErrorKind::NotFound);
        if !is_missing || !is_made_on_demand(area) {
            return opened.context("cannot open the directory", directory);
        }
        self.make_directory(directory)?;
        File::open(directory).context("cannot open the directory", directory)
    }

    /// Makes a directory of the repository, unless somebody else does, and its name durable.
    pub(super) fn make_directory(&self, directory: &Path) -> Result<()> {
        match make_directory(directory) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        self.syncer.sync_directory(directory.parent().unwrap_or(&self.root))?;
        let opened = File::open(directory).context("cannot open the directory", directory)?;
        self.hand_over(&opened);
        Ok(())
    }

    /// Gives an object a name in the quarantine, and takes the old one away once that is durable.
    pub(super) fn set_aside(&self, name: &ObjectName) -> Result<()> {
        self.syncer.check()?;
        let source = self.path_of(name);
        self.move_aside(name)?;
        remove(&source).context(NOT_MOVED, &source)?;
        match source.parent() {
            Some(directory) if directory.exists() => self.syncer.sync_directory(directory),
            _ => Ok(()),
        }
    }

    /// Puts a file with these bytes in the place of an object, which has another name by then.
    pub(super) fn replace(&self, name: &ObjectName, bytes: &[u8]) -> Result<()> {
        self.syncer.check()?;
        let target = self.path_of(name);
        // Only a file with a name can take the place of another one.
        let (mut file, temp) = named_file(&self.root.join(TEMP_DIRECTORY))?;
        self.hand_over(&file);
        let replaced = file
            .write_all(bytes)
            .context("cannot write an object", &target)
            .and_then(|()| self.syncer.sync(&file, &target))
            .and_then(|()| self.move_aside(name))
            .and_then(|()| self.open_directory_of(&target, name.area()))
            .and_then(|directory| {
                std::fs::rename(&temp, &target).context("cannot name the object", &target)?;
                self.syncer.sync(&directory, &target)
            });
        // What cannot be removed now, a sweep removes.
        let _ = remove(&temp);
        replaced
    }

    /// Gives an object a second name in the quarantine, durably; something that is no file only
    /// that. There may be no such object.
    fn move_aside(&self, name: &ObjectName) -> Result<()> {
        let source = self.path_of(name);
        let about = match source.symlink_metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            about => about.context(NOT_MOVED, &source)?,
        };
        let first = self.path_of(&ObjectName::quarantined(name, 0));
        let quarantine = self.open_directory_of(&first, Area::Quarantine)?;
        let names = (0..).map(|number| self.path_of(&ObjectName::quarantined(name, number)));
        for target in names {
            if move_to_free_name(&source, &about, &target).context(NOT_MOVED, &source)? {
                break;
            }
        }
        self.syncer.sync(&quarantine, &first)
    }

    /// Removes the temporary files of publishers that were killed. A living one holds its own
    /// locked.
    pub(super) fn sweep(&self) -> Result<()> {
        let directory = self.root.join(TEMP_DIRECTORY);
        let what = "cannot remove what an interrupted run left";
        for entry in directory.read_dir().context(what, &directory)? {
            let path = entry.context(what, &directory)?.path();
            // Shared, because NFS locks exclusively only what is open for writing.
            match File::open(&path).map(|file| file.try_lock_shared().map(|()| file)) {
                Ok(Ok(_locked)) => remove(&path).context(what, &path)?,
                Ok(Err(_)) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error).context(what, &path),
            }
        }
        Ok(())
    }
}

/// Whether the directory of an area is made when it is needed: it may be thrown away while it is
/// empty, or a repository is older than the area.
pub(super) fn is_made_on_demand(area: Area) -> bool {
    let derived = matches!(area, Area::Parity | Area::Index | Area::Catalogues);
    derived || matches!(area, Area::Keys | Area::Packs | Area::Quarantine)
}

/// Makes a directory that only its owner may enter.
pub(super) fn make_directory(path: &Path) -> Result<()> {
    let made = std::fs::DirBuilder::new().mode(DIRECTORY_MODE).create(path);
    made.context("cannot make the directory", path)
}

/// Gives a file a second name, or a directory that stands where a file should another name. Whether
/// it has that name now: somebody else's may be there.
fn move_to_free_name(source: &Path, about: &Metadata, target: &Path) -> io::Result<bool> {
    match target.symlink_metadata() {
        // Whoever was here before was killed between two steps.
        Ok(there) => return Ok((there.dev(), there.ino()) == (about.dev(), about.ino())),
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Err(_) => {}
    }
    match about.is_dir() {
        true => std::fs::rename(source, target)?,
        false => std::fs::hard_link(source, target)?,
    }
    Ok(true)
}

/// Removes a file; that it does not exist is no error.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// A new file in `directory`, locked so that a sweep leaves it alone.
fn named_file(directory: &Path) -> Result<(File, PathBuf)> {
    let what = "cannot begin an object";
    for _ in 0..TEMP_TRIES {
        let path = directory.join(SessionId::random(&SystemChance as &dyn Chance).to_string());
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create_new(true).mode(OBJECT_MODE).open(&path);
        let file = file.context(what, &path)?;
        let is_ours = match file.try_lock() {
            Ok(()) => file.metadata().context(what, &path)?.nlink() > 0,
            Err(TryLockError::WouldBlock) => false,
            // Where nothing can be locked, a sweep finds nothing that it may remove.
            Err(TryLockError::Error(_)) => true,
        };
        if is_ours {
            return Ok((file, path));
        }
    }
    Err(Error::new(ErrorKind::Io, "temporary files vanish as soon as they are made").at(directory))
}

fn is_unsupported(error: &io::Error) -> bool {
    // Kernels and file systems that do not know the flag see a directory opened for writing.
    matches!(
        error.raw_os_error(),
        Some(libc::EOPNOTSUPP | libc::EISDIR | libc::EINVAL | libc::ENOSYS)
    )
}

/// A file that is being written and has no final name yet.
#[derive(Debug)]
pub(super) struct StagedFile {
    publisher: Arc<Publisher>,
    file: File,
    temp: Option<PathBuf>,
    len_bytes: u64,
    writeback: Writeback,
    /// Whether an append failed, so that the bytes have a hole or end early.
    is_torn: bool,
}

impl StagedFile {
    /// The file, to lock it before it has a name.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Appends bytes; see [`Staged::append`].
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let written = self.write_all(bytes);
        self.is_torn |= written.is_err();
        written.context("cannot write an object", self.publisher.root())
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut left = bytes;
        if bytes.len() >= DIRECT_BYTES_MIN {
            let written = write_direct(&self.file, bytes, self.len_bytes)?;
            self.len_bytes += written as u64;
            left = &bytes[written..];
        }
        for part in left.chunks(WRITE_BYTES) {
            self.file.write_all_at(part, self.len_bytes)?;
            self.len_bytes += part.len() as u64;
            self.writeback.wrote(&self.file, part.len());
        }
        Ok(())
    }

    /// Makes everything durable and gives it its name; see the module page.
    pub(super) fn finish(&mut self, name: &ObjectName) -> Result<Published> {
        let target = self.publisher.path_of(name);
        if self.is_torn {
            let what = "the object is not published because not all of it could be written";
            return Err(Error::new(ErrorKind::Io, what).at(target));
        }
        self.publisher.syncer.sync(&self.file, &target)?;
        let directory = self.publisher.open_directory_of(&target, name.area())?;
        let published = self.link(&target)?;
        self.publisher.syncer.sync(&directory, target.parent().unwrap_or(&target))?;
        if name.area() == Area::Packs {
            // A backup reads no pack that it wrote: better that other pages stay in memory.
            self.writeback.synced(&self.file);
        }
        Ok(published)
    }

    fn link(&self, target: &Path) -> Result<Published> {
        let linked = match &self.temp {
            Some(temp) => std::fs::hard_link(temp, target),
            None => sys::link_open_file(&self.file, target),
        };
        let Err(error) = linked else { return Ok(Published::Created) };
        if error.kind() == io::ErrorKind::AlreadyExists {
            return self.existed(target);
        }
        match known_link_error(&error) {
            Some((kind, what)) => Err(Error::new(kind, what).at(target).because(error)),
            None => Err(error).context("cannot name the object", target),
        }
    }

    /// A network file system may do what it was asked, lose the answer, ask again and then say that
    /// the name is taken: by this very file.
    fn existed(&self, target: &Path) -> Result<Published> {
        let what = "cannot tell who published the object";
        let ours = self.file.metadata().context(what, target)?;
        let theirs = target.symlink_metadata().context(what, target)?;
        let is_ours = (ours.dev(), ours.ino()) == (theirs.dev(), theirs.ino());
        Ok(if is_ours { Published::Created } else { Published::Existed })
    }
}

fn known_link_error(error: &io::Error) -> Option<(ErrorKind, &'static str)> {
    match error.raw_os_error()? {
        libc::EPERM | libc::EOPNOTSUPP | libc::ENOSYS => Some((
            ErrorKind::Unsupported,
            "the object gets no name; a repository needs a file system with hard links",
        )),
        libc::EXDEV => Some((
            ErrorKind::Unsupported,
            "the object gets no name; a repository must lie on one file system",
        )),
        // The directory is open, so this says nothing about an object that is not there.
        libc::ENOENT => Some((ErrorKind::Io, "the object gets no name")),
        _ => None,
    }
}

impl Staged for StagedFile {
    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.write(bytes)
    }

    fn publish(mut self: Box<Self>, name: &ObjectName) -> Result<Published> {
        self.finish(name)
    }
}

impl Drop for StagedFile {
    fn drop(&mut self) {
        if let Some(temp) = &self.temp {
            // What cannot be removed now, a sweep removes.
            let _ = remove(temp);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::aligned::{AlignedBuffer, DIRECT_BYTES};
    use crate::base::id::PackId;
    use crate::store::{DirStore, Store};
    use std::sync::Mutex;

    fn name() -> ObjectName {
        ObjectName::pack(PackId::from_bytes([0xab; 32]))
    }

    /// A publisher in a new repository that syncs with `sync`.
    fn publisher(
        temp: &tempfile::TempDir,
        sync: impl Fn(&File) -> io::Result<()> + Send + Sync + 'static,
    ) -> Arc<Publisher> {
        DirStore::create(temp.path()).unwrap();
        let syncer = Syncer::with(Box::new(sync));
        Arc::new(Publisher::new(temp.path().to_owned(), syncer))
    }

    fn publish(publisher: &Arc<Publisher>) -> Result<Published> {
        let mut staged = publisher.stage()?;
        staged.write(b"bytes")?;
        staged.finish(&name())
    }

    fn is_directory(file: &File) -> bool {
        file.metadata().unwrap().is_dir()
    }

    #[test]
    fn the_file_is_synced_before_it_has_a_name_and_its_directory_after() {
        let temp = tempfile::tempdir().unwrap();
        let target = temp.path().join(name().to_string());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&seen);
        let publisher = publisher(&temp, move |file| {
            log.lock().unwrap().push((is_directory(file), target.exists()));
            file.sync_all()
        });
        let take = || std::mem::take(&mut *seen.lock().unwrap());
        assert_eq!(publish(&publisher).unwrap(), Published::Created);
        assert_eq!(take(), [(false, false), (true, true)]);
        assert_eq!(publish(&publisher).unwrap(), Published::Existed);
        assert_eq!(take(), [(false, true), (true, true)], "a taken name is made durable as well");
        std::fs::remove_dir_all(temp.path().join("packs/ab")).unwrap();
        assert_eq!(publish(&publisher).unwrap(), Published::Created);
        assert_eq!(take(), [(false, false), (true, false), (true, true)], "its parent comes first");
    }

    #[test]
    fn after_a_sync_that_failed_nothing_is_written_any_more() {
        for (of_directory, errno, kind) in
            [(false, libc::EIO, ErrorKind::Io), (true, libc::ENOSPC, ErrorKind::Full)]
        {
            let temp = tempfile::tempdir().unwrap();
            let calls = Arc::new(Mutex::new(0));
            let counter = Arc::clone(&calls);
            let publisher = publisher(&temp, move |file| {
                *counter.lock().unwrap() += 1;
                if is_directory(file) == of_directory {
                    return Err(io::Error::from_raw_os_error(errno));
                }
                Ok(())
            });
            let mut staged_before = publisher.stage().unwrap();
            assert_eq!(publish(&publisher).unwrap_err().kind(), kind);
            assert_eq!(publisher.path_of(&name()).exists(), of_directory);
            let calls_before = *calls.lock().unwrap();
            let error = publish(&publisher).unwrap_err();
            assert_eq!(error.kind(), kind);
            assert!(error.chain().contains("because an earlier sync failed: the sync failed in "));
            let other = ObjectName::pack(PackId::from_bytes([0xcd; 32]));
            assert_eq!(staged_before.finish(&other).unwrap_err().kind(), kind);
            assert_eq!(*calls.lock().unwrap(), calls_before, "no sync is tried again");
            assert!(!publisher.path_of(&other).exists());
        }
    }

    #[test]
    fn an_object_that_could_not_be_written_whole_is_not_published() {
        let temp = tempfile::tempdir().unwrap();
        let publisher = publisher(&temp, File::sync_all);
        let mut staged = publisher.stage().unwrap();
        staged.write(b"bytes").unwrap();
        staged.file = File::open("/dev/null").unwrap();
        staged.write(b"more").unwrap_err();
        staged.finish(&name()).unwrap_err();
        assert!(!publisher.path_of(&name()).exists());
    }

    #[test]
    fn bytes_are_published_alike_whether_or_not_they_can_go_past_the_page_cache() {
        let temp = tempfile::tempdir().unwrap();
        let publisher = publisher(&temp, File::sync_all);
        let len = DIRECT_BYTES_MIN + 2 * DIRECT_BYTES;
        let mut aligned = AlignedBuffer::with_capacity(len + 100).unwrap();
        aligned.extend_from_slice(&(0..len + 100).map(|at| (at % 251) as u8).collect::<Vec<_>>());
        let mut staged = publisher.stage().unwrap();
        let mut expected = Vec::new();
        // Whole pages, some with an end of their own, and then what begins within a page.
        for part in [&aligned[..len], &aligned[..], &aligned[..], &aligned[1..], b"end"] {
            staged.write(part).unwrap();
            expected.extend_from_slice(part);
        }
        assert_eq!(staged.finish(&name()).unwrap(), Published::Created);
        assert!(std::fs::read(publisher.path_of(&name())).unwrap() == expected);
    }

    #[test]
    fn whoever_finds_its_own_file_under_the_name_has_made_it() {
        let temp = tempfile::tempdir().unwrap();
        let publisher = publisher(&temp, File::sync_all);
        let mut staged = publisher.stage().unwrap();
        sys::link_open_file(&staged.file, &publisher.path_of(&name())).unwrap();
        assert_eq!(staged.finish(&name()).unwrap(), Published::Created);
        let store = DirStore::open(temp.path()).map(|store| store.list(Area::Packs));
        assert!(store.is_err(), "still no configuration");
    }
}
