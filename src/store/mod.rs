//! Where the objects of a repository live.
//!
//! An implementation of [`Store`] guarantees, and everything above relies on nothing else:
//!
//! 1. An object that [`Staged::publish`] made is whole, and durable when the call returns. After a
//!    crash it is there with all its bytes; before the call returned, it is whole or absent.
//! 2. Of several publishers of one name exactly one creates it; the others learn that it exists,
//!    once that is durable.
//! 3. An object never changes until it is deleted.
//! 4. [`Store::list`] shows every object that was published before the call began and not deleted.
//! 5. After [`Store::barrier`] what was visible in that area when it was called survives a crash,
//!    whoever made it so: objects that other publishers are not through with, and deletions.
//! 6. What [`Store::register`] and [`Store::lock`] hold is given up when the process ends, however
//!    it ends, and not before the value is dropped.

mod ballast;
mod create;
mod dir;
pub(crate) mod direct;
mod handles;
mod lock;
pub mod mapped;
mod poison;
mod publish;
mod read_once;
mod sealing;
mod sys;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub(crate) mod writeback;

use std::fmt;
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::format::layout::{Area, ObjectName};
use crate::store::mapped::ObjectBytes;

pub use dir::DirStore;
pub use read_once::ReadOnce;
pub use sealing::SealingStore;

/// What a publisher of a name learns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Published {
    /// The object is new, and this call made it.
    Created,
    /// The name was taken; nothing changed. What has it is durable, too.
    Existed,
}

/// An object that is being written and has no name yet. Dropping it leaves no trace.
pub trait Staged: Send {
    /// Appends bytes. Many of them go past the page cache where they begin at a whole page, in
    /// memory and in the object.
    fn append(&mut self, bytes: &[u8]) -> Result<()>;
    /// Makes everything durable, then gives it its name unless that is taken.
    ///
    /// Fails if an append did, even where the caller took no notice. After a failure the name may
    /// or may not be there; if it is, so are all the bytes.
    fn publish(self: Box<Self>, name: &ObjectName) -> Result<Published>;
}

/// A lock or registration, given up on drop.
pub trait Held: Send + Sync + fmt::Debug {}

/// Where the objects of a repository live. See the module page for what it guarantees.
pub trait Store: Send + Sync + fmt::Debug {
    /// Begins a new object.
    fn stage(&self) -> Result<Box<dyn Staged>>;

    /// Length of an object in bytes; [`ErrorKind::NotFound`] if there is none.
    fn len_bytes(&self, name: &ObjectName) -> Result<u64>;

    /// Reads exactly `out.len()` bytes at `offset_bytes`. An object that ends before that is
    /// [`ErrorKind::Corrupt`].
    fn read_exact_at(&self, name: &ObjectName, offset_bytes: u64, out: &mut [u8]) -> Result<()>;

    /// The whole object, mapped where that can be done.
    fn map(&self, name: &ObjectName) -> Result<ObjectBytes>;

    /// All objects of an area, in no particular order. Files that are no objects are left out.
    fn list(&self, area: Area) -> Result<Vec<ObjectName>>;

    /// Calls `each` with what [`Store::list`] gives, and ends at its first error. For areas of so
    /// many objects that one would not like to hold all names at once.
    fn each_name(&self, area: Area, each: &mut dyn FnMut(ObjectName) -> Result<()>) -> Result<()> {
        self.list(area)?.into_iter().try_for_each(each)
    }

    /// Deletes an object. That it does not exist is no error: deletions may be repeated.
    fn delete(&self, name: &ObjectName) -> Result<()>;

    /// Moves an object to the quarantine, under a name that is free there; that it does not exist
    /// is no error. Durable when it returns. After a crash in between the object has its old name,
    /// the new one, or both.
    fn set_aside(&self, name: &ObjectName) -> Result<()>;

    /// Puts `bytes` in the place of an object that is damaged, which goes to the quarantine, or of
    /// one that is missing. Durable when it returns. After a crash in between the name leads to the
    /// old object or to the new one.
    ///
    /// Not for objects that may be whole: whoever reads one must not see it change.
    fn replace(&self, name: &ObjectName, bytes: &[u8]) -> Result<()>;

    /// Directories of the repository that are missing, as paths below its root, where the medium
    /// has such things.
    fn missing_directories(&self) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    /// Makes the directories that are missing, durably.
    fn make_directories(&self) -> Result<()> {
        Ok(())
    }

    /// Waits until every object and every deletion that is visible in `area` now survives a crash.
    ///
    /// What this store published is durable anyway. Whoever found the object of another session by
    /// listing and destroys something because of it (a tombstone, say) calls this in between.
    fn barrier(&self, area: Area) -> Result<()>;

    /// Publishes an object that counts as alive until the value is dropped or the process ends.
    /// [`ErrorKind::AlreadyExists`] if the name is taken. The object itself stays.
    fn register(&self, name: &ObjectName, bytes: &[u8]) -> Result<Box<dyn Held>>;

    /// Whether somebody, here or in another process, holds the registration or lock of that name.
    fn is_held(&self, name: &ObjectName) -> Result<bool>;

    /// Takes the lock of that name, or nothing if somebody has it. `text` says who, for people.
    fn lock(&self, name: &ObjectName, text: &[u8]) -> Result<Option<Box<dyn Held>>>;

    /// Free and total space of the medium in bytes, where it has such a thing.
    fn space(&self) -> Result<Option<Space>>;

    /// Occupies at least `bytes` of the medium with a file of no use, the ballast, where a medium
    /// can do that. Need not survive a crash.
    fn stow_ballast(&self, _bytes: u64) -> Result<()> {
        Ok(())
    }

    /// Gives the ballast up.
    fn release_ballast(&self) -> Result<()> {
        Ok(())
    }

    /// Removes what publishers that were killed left of objects without a name, where a medium
    /// keeps such. Never touches what a living publisher stages.
    fn sweep(&self) -> Result<()> {
        Ok(())
    }

    /// While the value is there, bytes of packs that are read do not stay in the page cache of this
    /// machine, unless they were there before. For whoever reads many, and each once.
    fn read_once(&self) -> Option<Arc<ReadOnce>> {
        None
    }

    /// Publishes `bytes` as a new object.
    fn create(&self, name: &ObjectName, bytes: &[u8]) -> Result<Published> {
        let mut staged = self.stage()?;
        staged.append(bytes)?;
        staged.publish(name)
    }

    /// The whole of an object of at most `max_bytes` bytes; a larger one is
    /// [`ErrorKind::Corrupt`].
    fn read(&self, name: &ObjectName, max_bytes: usize) -> Result<Vec<u8>> {
        let len = self.len_bytes(name)?;
        if len > max_bytes as u64 {
            let what = format!("the object is larger than its limit of {max_bytes} bytes");
            return Err(Error::new(ErrorKind::Corrupt, what).at(name.to_string()));
        }
        let mut bytes = vec![0; len as usize];
        self.read_exact_at(name, 0, &mut bytes)?;
        Ok(bytes)
    }
}

/// Space of a medium, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// What this process may still write.
    pub free_bytes: u64,
    /// All of it.
    pub total_bytes: u64,
}

/// Shared stores are stores, so that a wrapper can share the one inside.
impl<S: Store + ?Sized> Store for Arc<S> {
    fn stage(&self) -> Result<Box<dyn Staged>> {
        (**self).stage()
    }

    fn len_bytes(&self, name: &ObjectName) -> Result<u64> {
        (**self).len_bytes(name)
    }

    fn read_exact_at(&self, name: &ObjectName, offset_bytes: u64, out: &mut [u8]) -> Result<()> {
        (**self).read_exact_at(name, offset_bytes, out)
    }

    fn map(&self, name: &ObjectName) -> Result<ObjectBytes> {
        (**self).map(name)
    }

    fn list(&self, area: Area) -> Result<Vec<ObjectName>> {
        (**self).list(area)
    }

    fn each_name(&self, area: Area, each: &mut dyn FnMut(ObjectName) -> Result<()>) -> Result<()> {
        (**self).each_name(area, each)
    }

    fn delete(&self, name: &ObjectName) -> Result<()> {
        (**self).delete(name)
    }

    fn set_aside(&self, name: &ObjectName) -> Result<()> {
        (**self).set_aside(name)
    }

    fn replace(&self, name: &ObjectName, bytes: &[u8]) -> Result<()> {
        (**self).replace(name, bytes)
    }

    fn missing_directories(&self) -> Result<Vec<String>> {
        (**self).missing_directories()
    }

    fn make_directories(&self) -> Result<()> {
        (**self).make_directories()
    }

    fn barrier(&self, area: Area) -> Result<()> {
        (**self).barrier(area)
    }

    fn register(&self, name: &ObjectName, bytes: &[u8]) -> Result<Box<dyn Held>> {
        (**self).register(name, bytes)
    }

    fn is_held(&self, name: &ObjectName) -> Result<bool> {
        (**self).is_held(name)
    }

    fn lock(&self, name: &ObjectName, text: &[u8]) -> Result<Option<Box<dyn Held>>> {
        (**self).lock(name, text)
    }

    fn space(&self) -> Result<Option<Space>> {
        (**self).space()
    }

    fn stow_ballast(&self, bytes: u64) -> Result<()> {
        (**self).stow_ballast(bytes)
    }

    fn release_ballast(&self) -> Result<()> {
        (**self).release_ballast()
    }

    fn sweep(&self) -> Result<()> {
        (**self).sweep()
    }

    fn read_once(&self) -> Option<Arc<ReadOnce>> {
        (**self).read_once()
    }

    fn create(&self, name: &ObjectName, bytes: &[u8]) -> Result<Published> {
        (**self).create(name, bytes)
    }

    fn read(&self, name: &ObjectName, max_bytes: usize) -> Result<Vec<u8>> {
        (**self).read(name, max_bytes)
    }
}
