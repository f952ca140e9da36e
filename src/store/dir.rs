//! A repository in a directory of a file system.
//!
//! Objects are files of mode 0400 in directories of mode 0700, where [`ObjectName`] says. Reading
//! never writes: a repository on a read-only medium can be mounted and listed. What a network file
//! system changes is written down in `docs/decisions/0003-local-locks.md`.

use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::ErrorKind::InvalidInput;
use std::io::ErrorKind::UnexpectedEof;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use crate::error::Error;
use crate::error::IoContext;
use crate::error::Result;
use crate::format::layout::Area;
use crate::format::layout::ObjectName;
use crate::store::Held;
use crate::store::Space;
use crate::store::Staged;
use crate::store::Store;
use crate::store::create;
use crate::store::handles::Handles;
use crate::store::lock;
use crate::store::mapped::ObjectBytes;
use crate::store::poison::Syncer;
use crate::store::publish;
use crate::store::publish::Publisher;
use crate::store::sys;

/// A repository in a directory.
///
/// After a sync that failed, nothing more is written through this value: whatever publishes,
/// deletes or registers fails with the kind of the first failure.
#[derive(Debug)]
pub struct DirStore {
    publisher: Arc<Publisher>,
    handles: Handles,
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
        Ok(Self { publisher, handles: Handles::default(), is_foreign })
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
        match file.read_exact_at(out, offset_bytes) {
            // The system calls an offset that no file can have invalid.
            Err(error) if matches!(error.kind(), UnexpectedEof | InvalidInput) => {
                let what = format!("the object ends within a read of {} bytes", out.len());
                Err(Error::corrupt(what).at(self.path_of(name)).at_byte(offset_bytes))
            }
            read => read
                .context("cannot read the object", &self.path_of(name))
                .map_err(|error| error.at_byte(offset_bytes)),
        }
    }

    fn map(&self, name: &ObjectName) -> Result<ObjectBytes> {
        let len = self.len_bytes(name)?;
        if self.is_foreign || len == 0 {
            let mut bytes = vec![0; len as usize];
            self.read_exact_at(name, 0, &mut bytes)?;
            return Ok(ObjectBytes::read(bytes));
        }
        ObjectBytes::mapped(&*self.reader(name)?, &self.path_of(name))
    }

    fn list(&self, area: Area) -> Result<Vec<ObjectName>> {
        let mut names = Vec::new();
        for directory in self.directories(area) {
            let entries = match directory.read_dir() {
                // One of 256: what was in it shows when it is needed, the rest stays usable.
                Err(error) if error.kind() == io::ErrorKind::NotFound && area == Area::Packs => {
                    continue;
                }
                entries => entries.context("cannot list the directory", &directory)?,
            };
            for entry in entries {
                let entry = entry.context("cannot list the directory", &directory)?;
                let leaf = entry.file_name();
                let name = leaf.to_str().and_then(|leaf| ObjectName::listed(area, leaf));
                names.extend(name.filter(|name| self.path_of(name) == entry.path()));
            }
        }
        Ok(names)
    }

    fn delete(&self, name: &ObjectName) -> Result<()> {
        self.publisher.syncer().check()?;
        let path = self.path_of(name);
        publish::remove(&path).context("cannot delete the object", &path)?;
        self.handles.forget(name);
        Ok(())
    }

    fn barrier(&self, area: Area) -> Result<()> {
        let mut directories = self.directories(area);
        if area == Area::Packs {
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
        let held = lock::lock(&self.path_of(name), text)?;
        Ok(held.map(|held| Box::new(held) as Box<dyn Held>))
    }

    fn space(&self) -> Result<Option<Space>> {
        let space = sys::space(self.path()).context("cannot tell the free space", self.path())?;
        Ok(Some(space))
    }

    fn sweep(&self) -> Result<()> {
        self.publisher.sweep()
    }
}
