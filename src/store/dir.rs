//! A repository in a directory of a file system.
//!
//! Objects are files of mode 0400 in directories of mode 0700, where [`ObjectName`] says. Reading
//! never writes: a repository on a read-only medium can be mounted and listed. What a network file
//! system changes is written down in `docs/decisions/0003-local-locks.md`.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};

use crate::base::sync::lock as locked;
use crate::error::{Error, IoContext, Result};
use crate::format::layout::{Area, ObjectName};
use crate::store::handles::Handles;
use crate::store::mapped::{self, ObjectBytes};
use crate::store::poison::Syncer;
use crate::store::publish::Publisher;
use crate::store::{Held, ReadOnce, Space, Staged, Store, ballast, create, lock, publish, sys};

/// A repository in a directory.
///
/// After a sync that failed, nothing more is written through this value: whatever publishes,
/// deletes or registers fails with the kind of the first failure.
#[derive(Debug)]
pub struct DirStore {
    publisher: Arc<Publisher>,
    handles: Handles,
    /// What takes packs out of the page cache again, while somebody wants that.
    read_once: Mutex<Weak<ReadOnce>>,
    is_foreign: bool,
}

impl DirStore {
    /// Makes an empty repository at `path`, which is made if it is missing.
    ///
    /// There is a repository only once its configuration is published: until then
    /// [`DirStore::open`] does not find it.
    ///
    /// # Errors
    ///
    /// [`AlreadyExists`](crate::error::ErrorKind::AlreadyExists) if the directory is not empty,
    /// [`Denied`](crate::error::ErrorKind::Denied) if others may write to it.
    pub fn create(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        create::create(&path)?;
        Self::at(path, Syncer::new())
    }

    /// Opens the repository at `path`, without writing.
    ///
    /// # Errors
    ///
    /// [`NotFound`](crate::error::ErrorKind::NotFound) if there is none,
    /// [`Denied`](crate::error::ErrorKind::Denied) if every user may write to it, or if it belongs
    /// neither to this user nor to root. Root may open everybody's.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        create::check(&path)?;
        Self::at(path, Syncer::new())
    }

    /// Where the repository lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.publisher.root()
    }

    /// Whether the repository lies on a file system that other machines or programs can change:
    /// NFS, SMB, FUSE and their like. Locks may then exclude only sessions of this machine.
    #[must_use]
    pub fn is_foreign(&self) -> bool {
        self.is_foreign
    }

    fn at(path: PathBuf, syncer: Syncer) -> Result<Self> {
        let is_foreign = sys::is_foreign(&path).context("cannot open the repository", &path)?;
        let publisher = Arc::new(Publisher::new(path, syncer));
        Ok(Self { publisher, handles: Handles::default(), read_once: Mutex::default(), is_foreign })
    }

    /// Treats the file system as one that other machines can change.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn as_if_foreign(self) -> Self {
        Self { is_foreign: true, ..self }
    }

    fn path_of(&self, name: &ObjectName) -> PathBuf {
        self.publisher.path_of(name)
    }

    fn open_object(&self, name: &ObjectName) -> Result<File> {
        let path = self.path_of(name);
        let mut options = OpenOptions::new();
        let opened = options.read(true).custom_flags(libc::O_NOFOLLOW).open(&path);
        opened.context("cannot open the object", &path)
    }

    /// The file of an object; that of a pack is kept open for the next reader.
    fn reader(&self, name: &ObjectName) -> Result<Arc<File>> {
        match name.area() {
            Area::Packs => self.handles.get(name, || self.open_object(name)),
            _ => self.open_object(name).map(Arc::new),
        }
    }

    /// Has what is about to be read leave the page cache again, where that is wanted.
    fn note_read(&self, name: &ObjectName, file: &Arc<File>, offset_bytes: u64, len_bytes: usize) {
        if name.area() != Area::Packs {
            return;
        }
        let read_once = locked(&self.read_once).upgrade();
        if let Some(read_once) = read_once {
            read_once.before_reading(file, offset_bytes, len_bytes);
        }
    }

    /// Fails unless a repository is usable without `directory`. What is derived may be thrown away,
    /// and of one of the 256 of packs it shows what was in it when that is needed. All of the packs
    /// at once are rather on a medium that is not mounted.
    fn check_may_be_missing(&self, area: Area, directory: &Path) -> Result<()> {
        let needed = match area {
            Area::Index | Area::Parity | Area::Catalogues | Area::Quarantine => self.path(),
            Area::Packs => directory.parent().unwrap_or(self.path()),
            _ => directory,
        };
        if needed.exists() {
            return Ok(());
        }
        let what = "a directory of the repository is missing (mount what belongs there; where a \
                    copy left out empty directories, make it again)";
        Err(Error::corrupt(what).at(needed))
    }

    fn directories(&self, area: Area) -> Vec<PathBuf> {
        match area {
            Area::Packs => create::pack_directories(self.path()).collect(),
            _ => vec![self.path().join(area.directory())],
        }
    }
}

impl Store for DirStore {
    fn stage(&self) -> Result<Box<dyn Staged>> {
        Ok(Box::new(self.publisher.stage()?))
    }

    fn len_bytes(&self, name: &ObjectName) -> Result<u64> {
        let path = self.path_of(name);
        let about = path.symlink_metadata().context("cannot find the object", &path)?;
        if !about.is_file() {
            return Err(Error::corrupt("the object is not a file").at(path));
        }
        Ok(about.len())
    }

    fn read_exact_at(&self, name: &ObjectName, offset_bytes: u64, out: &mut [u8]) -> Result<()> {
        let file = self.reader(name)?;
        self.note_read(name, &file, offset_bytes, out.len());
        mapped::read_exact_at(&file, || self.path_of(name), offset_bytes, out)
    }

    fn map(&self, name: &ObjectName) -> Result<ObjectBytes> {
        let (len, file) = (self.len_bytes(name)?, self.reader(name)?);
        if self.is_foreign || len == 0 {
            return Ok(ObjectBytes::on_demand(file, self.path_of(name), len as usize));
        }
        ObjectBytes::mapped(&file, &self.path_of(name))
    }

    fn list(&self, area: Area) -> Result<Vec<ObjectName>> {
        let mut names = Vec::new();
        self.each_name(area, &mut |name| {
            names.push(name);
            Ok(())
        })?;
        Ok(names)
    }

    fn each_name(&self, area: Area, each: &mut dyn FnMut(ObjectName) -> Result<()>) -> Result<()> {
        for directory in self.directories(area) {
            let entries = match directory.read_dir() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    self.check_may_be_missing(area, &directory)?;
                    continue;
                }
                entries => entries.context("cannot list the directory", &directory)?,
            };
            for entry in entries {
                let entry = entry.context("cannot list the directory", &directory)?;
                let leaf = entry.file_name();
                let name = leaf.to_str().and_then(|leaf| ObjectName::listed(area, leaf));
                name.filter(|name| self.path_of(name) == entry.path())
                    .map_or(Ok(()), &mut *each)?;
            }
        }
        Ok(())
    }

    fn delete(&self, name: &ObjectName) -> Result<()> {
        self.publisher.syncer().check()?;
        let path = self.path_of(name);
        publish::remove(&path).context("cannot delete the object", &path)?;
        self.handles.forget(name);
        Ok(())
    }

    fn set_aside(&self, name: &ObjectName) -> Result<()> {
        self.publisher.set_aside(name)?;
        self.handles.forget(name);
        Ok(())
    }

    fn replace(&self, name: &ObjectName, bytes: &[u8]) -> Result<()> {
        self.publisher.replace(name, bytes)?;
        self.handles.forget(name);
        Ok(())
    }

    fn missing_directories(&self) -> Result<Vec<String>> {
        let missing = create::directories(self.path()).filter(|path| !path.exists());
        let below = |path: PathBuf| {
            let below = path.strip_prefix(self.path()).unwrap_or(&path);
            below.to_string_lossy().into_owned()
        };
        Ok(missing.map(below).collect())
    }

    fn make_directories(&self) -> Result<()> {
        self.publisher.syncer().check()?;
        create::directories(self.path()).try_for_each(|directory| {
            if directory.exists() { Ok(()) } else { self.publisher.make_directory(&directory) }
        })
    }

    fn barrier(&self, area: Area) -> Result<()> {
        let mut directories = self.directories(area);
        if publish::is_made_on_demand(area) {
            directories.retain(|directory| directory.exists());
        }
        let syncer = self.publisher.syncer();
        directories.iter().try_for_each(|directory| syncer.sync_directory(directory))
    }

    fn register(&self, name: &ObjectName, bytes: &[u8]) -> Result<Box<dyn Held>> {
        Ok(Box::new(lock::register(&self.publisher, name, bytes)?))
    }

    fn is_held(&self, name: &ObjectName) -> Result<bool> {
        lock::is_held(&self.path_of(name))
    }

    fn lock(&self, name: &ObjectName, text: &[u8]) -> Result<Option<Box<dyn Held>>> {
        let held = lock::lock(&self.publisher, name, text)?;
        Ok(held.map(|held| Box::new(held) as Box<dyn Held>))
    }

    fn space(&self) -> Result<Option<Space>> {
        let space = sys::space(self.path()).context("cannot tell the free space", self.path())?;
        Ok(Some(space))
    }

    fn stow_ballast(&self, bytes: u64) -> Result<()> {
        self.publisher.syncer().check()?;
        ballast::stow(&self.publisher, bytes)
    }

    fn release_ballast(&self) -> Result<()> {
        self.publisher.syncer().check()?;
        ballast::release(&self.publisher)
    }

    fn sweep(&self) -> Result<()> {
        self.publisher.sweep()
    }

    fn read_once(&self) -> Option<Arc<ReadOnce>> {
        let mut read_once = locked(&self.read_once);
        Some(read_once.upgrade().unwrap_or_else(|| {
            let new = Arc::default();
            *read_once = Arc::downgrade(&new);
            new
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::id::{PackId, SegmentId, SessionId};
    use crate::error::ErrorKind;
    use crate::store::Published;
    use std::collections::BTreeMap;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::time::SystemTime;
    use tempfile::TempDir;

    fn pack(number: u8) -> ObjectName {
        ObjectName::pack(PackId::from_bytes([number; 32]))
    }

    fn created() -> (TempDir, DirStore) {
        let temp = tempfile::tempdir().unwrap();
        let store = DirStore::create(temp.path()).unwrap();
        (temp, store)
    }

    fn kind_of<T>(result: Result<T>) -> Option<ErrorKind> {
        result.err().as_ref().map(Error::kind)
    }

    #[test]
    fn objects_are_for_their_owner_to_read_and_for_nobody_to_write() {
        let (temp, store) = created();
        assert_eq!(store.create(&pack(1), b"bytes").unwrap(), Published::Created);
        let mode = |path: PathBuf| fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!(mode(store.path_of(&pack(1))), 0o400);
        for directory in ["packs", "packs/00", "packs/ff", "commit", "locks", "tmp"] {
            assert_eq!(mode(temp.path().join(directory)), 0o700, "{directory}");
        }
    }

    #[test]
    fn what_root_makes_in_the_repository_of_a_user_is_for_that_user() {
        let (temp, store) = created();
        drop(store);
        if sys::effective_user() != 0 {
            return;
        }
        std::os::unix::fs::chown(temp.path(), Some(65534), Some(65534)).unwrap();
        fs::remove_dir(temp.path().join("packs/01")).unwrap();
        let store = DirStore::at(temp.path().to_owned(), Syncer::new()).unwrap();
        assert_eq!(store.create(&pack(1), b"bytes").unwrap(), Published::Created);
        let session = ObjectName::session(SessionId::from_bytes([1; 16]));
        drop(store.register(&session, b"me").unwrap());
        drop(store.lock(&ObjectName::vm_lock("vm"), b"me").unwrap());
        for name in [pack(1), session, ObjectName::vm_lock("vm")] {
            let path = store.path_of(&name);
            assert_eq!(fs::metadata(&path).unwrap().uid(), 65534, "{}", path.display());
        }
        assert_eq!(fs::metadata(temp.path().join("packs/01")).unwrap().uid(), 65534);
    }

    #[test]
    fn a_directory_with_something_in_it_does_not_become_a_repository() {
        let temp = tempfile::tempdir().unwrap();
        fs::create_dir(temp.path().join("lost+found")).unwrap();
        DirStore::create(temp.path()).unwrap();
        fs::remove_dir(temp.path().join("packs/7f")).unwrap();
        DirStore::create(temp.path()).unwrap();
        assert!(temp.path().join("packs/7f").exists(), "what was begun is completed");
        let file = temp.path().join("config.0");
        fs::write(&file, "").unwrap();
        assert_eq!(kind_of(DirStore::create(temp.path())), Some(ErrorKind::AlreadyExists));
        assert_eq!(kind_of(DirStore::create(&file)), Some(ErrorKind::Invalid));
    }

    #[test]
    fn a_directory_is_a_repository_once_a_copy_of_its_configuration_is_there() {
        let (temp, store) = created();
        assert_eq!(kind_of(DirStore::open(temp.path())), Some(ErrorKind::NotFound));
        assert_eq!(kind_of(DirStore::open(temp.path().join("x"))), Some(ErrorKind::NotFound));
        assert_eq!(store.create(&ObjectName::config(2), b"{}").unwrap(), Published::Created);
        DirStore::open(temp.path()).unwrap();
    }

    #[test]
    fn a_repository_that_everybody_may_write_to_is_refused() {
        let (temp, store) = created();
        assert_eq!(store.create(&ObjectName::config(0), b"{}").unwrap(), Published::Created);
        fs::set_permissions(temp.path(), fs::Permissions::from_mode(0o777)).unwrap();
        assert_eq!(kind_of(DirStore::open(temp.path())), Some(ErrorKind::Denied));
        fs::set_permissions(temp.path(), fs::Permissions::from_mode(0o755)).unwrap();
        DirStore::open(temp.path()).unwrap();
    }

    fn times(root: &Path) -> BTreeMap<PathBuf, SystemTime> {
        let mut times = BTreeMap::new();
        let mut todo = vec![root.to_owned()];
        while let Some(path) = todo.pop() {
            if path.is_dir() {
                todo.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            }
            let changed = fs::metadata(&path).unwrap().modified().unwrap();
            times.insert(path, changed);
        }
        times
    }

    #[test]
    fn reading_changes_nothing() {
        let (temp, store) = created();
        assert_eq!(store.create(&ObjectName::config(0), b"{}").unwrap(), Published::Created);
        let before = times(temp.path());
        let store = DirStore::open(temp.path()).unwrap();
        store.read(&ObjectName::config(0), 2).unwrap();
        store.map(&ObjectName::config(0)).unwrap();
        assert!(Area::ALL.iter().all(|area| store.list(*area).is_ok()));
        assert!(!store.is_held(&ObjectName::vm_lock("vm")).unwrap());
        assert!(store.space().unwrap().unwrap().free_bytes > 0);
        assert_eq!(times(temp.path()), before);
    }

    #[test]
    fn foreign_files_are_not_listed_and_lost_pack_directories_come_back() {
        let (temp, store) = created();
        for foreign in ["packs/00/notes.txt", "packs/README", "packs/00/.nfs001", "gc/x.condemned"]
        {
            fs::write(temp.path().join(foreign), "").unwrap();
        }
        let misplaced = pack(1);
        fs::write(temp.path().join("packs/02").join(misplaced.leaf()), "").unwrap();
        fs::remove_dir(temp.path().join("packs/03")).unwrap();
        assert_eq!(store.list(Area::Packs).unwrap(), []);
        assert_eq!(store.list(Area::Condemned).unwrap(), []);
        store.barrier(Area::Packs).unwrap();
        assert_eq!(store.create(&pack(3), b"bytes").unwrap(), Published::Created);
        assert_eq!(store.list(Area::Packs).unwrap(), [pack(3)]);
        fs::remove_dir(temp.path().join("commit")).unwrap();
        // A mount that told the kernel of a missing directory would show an empty one.
        let lost = kind_of(store.list(Area::Commits));
        assert_eq!(lost, Some(ErrorKind::Corrupt), "lost commits must not look like none");
    }

    #[test]
    fn the_directory_of_the_index_may_be_thrown_away_and_that_of_all_packs_may_not() {
        let (temp, store) = created();
        fs::remove_dir(temp.path().join("index")).unwrap();
        assert_eq!(store.list(Area::Index).unwrap(), []);
        store.barrier(Area::Index).unwrap();
        let name = ObjectName::segment(SegmentId::from_bytes([7; 32]));
        assert_eq!(store.create(&name, b"bytes").unwrap(), Published::Created);
        assert_eq!(store.list(Area::Index).unwrap(), [name]);
        fs::remove_dir_all(temp.path().join("packs")).unwrap();
        let error = store.list(Area::Packs).unwrap_err();
        assert_eq!(error.path(), Some(temp.path().join("packs").as_path()));
        assert!(error.to_string().contains("mount what belongs there"), "{error}");
    }

    #[test]
    fn errors_name_the_file_and_the_place_in_it() {
        let (temp, store) = created();
        let path = temp.path().join(pack(1).to_string());
        assert_eq!(store.len_bytes(&pack(1)).unwrap_err().path(), Some(path.as_path()));
        assert_eq!(store.create(&pack(1), b"bytes").unwrap(), Published::Created);
        let error = store.read_exact_at(&pack(1), 3, &mut [0; 3]).unwrap_err();
        let place = format!("the object ends within a read of 3 bytes in {}", path.display());
        assert_eq!(error.to_string(), format!("{place} at byte 3"));
    }

    #[test]
    fn a_deleted_object_stays_mapped_but_is_not_read_again() {
        let (_temp, store) = created();
        assert_eq!(store.create(&pack(1), b"bytes").unwrap(), Published::Created);
        let map = store.map(&pack(1)).unwrap();
        store.delete(&pack(1)).unwrap();
        assert_eq!(kind_of(store.read_exact_at(&pack(1), 0, &mut [0])), Some(ErrorKind::NotFound));
        assert_eq!(map.in_memory(), Some(&b"bytes"[..]));
    }

    #[test]
    fn a_link_in_place_of_an_object_is_not_followed() {
        let (temp, store) = created();
        fs::write(temp.path().join("elsewhere"), "bytes").unwrap();
        std::os::unix::fs::symlink("../elsewhere", temp.path().join("index/x")).unwrap();
        let name = ObjectName::segment(SegmentId::from_bytes([7; 32]));
        fs::rename(temp.path().join("index/x"), store.path_of(&name)).unwrap();
        assert_eq!(kind_of(store.read(&name, 5)), Some(ErrorKind::Corrupt));
        assert_eq!(kind_of(store.read_exact_at(&name, 0, &mut [0])), Some(ErrorKind::Io));
    }

    /// A store on a file system that is as bad as one can be and still be used.
    fn on_a_poor_file_system(temp: &TempDir) -> DirStore {
        let path = DirStore::create(temp.path()).unwrap().path().to_owned();
        let publisher = Publisher::new(path, Syncer::new()).without_unnamed_files();
        let publisher = Arc::new(publisher);
        let (handles, read_once) = (Handles::default(), Mutex::default());
        DirStore { publisher, handles, read_once, is_foreign: true }
    }

    #[test]
    fn a_directory_keeps_the_contract_on_a_poor_file_system() {
        let temp = tempfile::tempdir().unwrap();
        crate::store::testing::store_contract(Arc::new(on_a_poor_file_system(&temp)));
        assert_eq!(fs::read_dir(temp.path().join("tmp")).unwrap().count(), 0);
    }

    #[test]
    fn an_object_that_is_dropped_leaves_no_trace_and_a_killed_one_is_swept() {
        let temp = tempfile::tempdir().unwrap();
        let poor = on_a_poor_file_system(&temp);
        let good = DirStore::at(temp.path().to_owned(), Syncer::new()).unwrap();
        let files = || fs::read_dir(temp.path().join("tmp")).unwrap().count();
        for (store, while_staged) in [(&good, 0), (&poor, 1)] {
            let mut staged = store.stage().unwrap();
            staged.append(b"bytes").unwrap();
            store.sweep().unwrap();
            assert_eq!(files(), while_staged);
            drop(staged);
            assert_eq!(files(), 0);
        }
        fs::write(temp.path().join("tmp/0123"), "left by a killed publisher").unwrap();
        good.sweep().unwrap();
        assert_eq!(files(), 0);
        let held = good.register(&ObjectName::session(SessionId::from_bytes([1; 16])), b"me");
        assert!(held.is_ok() && files() == 0);
    }

    #[test]
    fn a_lost_temporary_directory_is_named() {
        let (temp, store) = created();
        fs::remove_dir(temp.path().join("tmp")).unwrap();
        let error = store.create(&pack(1), b"").unwrap_err();
        let directory = temp.path().join("tmp");
        assert_eq!(error.to_string(), format!("cannot begin an object in {}", directory.display()));
    }
}
