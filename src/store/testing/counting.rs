//! A store that counts what is asked of it, so that tests can assert what something cost.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use crate::base::sync::lock;
use crate::error::Result;
use crate::format::layout::{Area, ObjectName};
use crate::store::mapped::ObjectBytes;
use crate::store::{Held, Published, ReadOnce, Space, Staged, Store};

/// What was asked of one area. Calls that failed count too, their bytes do not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AreaCounts {
    /// Ranged reads; reading a whole object is one of them and one of `lens`.
    pub reads: u64,
    /// Bytes of ranged reads.
    pub read_bytes: u64,
    /// Objects mapped.
    pub maps: u64,
    /// Questions for a length.
    pub lens: u64,
    /// Objects that were published, registrations among them.
    pub publishes: u64,
    /// Bytes of those.
    pub published_bytes: u64,
    /// Attempts to publish under a name that was taken.
    pub existed: u64,
    /// Listings.
    pub lists: u64,
    /// Deletions.
    pub deletes: u64,
    /// Barriers.
    pub barriers: u64,
}

/// What was asked of each area.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StoreCounts(BTreeMap<Area, AreaCounts>);

impl StoreCounts {
    /// What was asked of one area.
    #[must_use]
    pub fn of(&self, area: Area) -> AreaCounts {
        self.0.get(&area).copied().unwrap_or_default()
    }
}

type Shared = Arc<Mutex<StoreCounts>>;

/// Counts the calls and bytes that go to the store inside. Clones share the counts.
#[derive(Debug, Clone)]
pub struct CountingStore<S> {
    inner: S,
    counts: Shared,
}

impl<S> CountingStore<S> {
    /// Counts from zero.
    pub fn new(inner: S) -> Self {
        Self { inner, counts: Shared::default() }
    }

    /// The store inside.
    pub fn inner(&self) -> &S {
        &self.inner
    }

    /// The counts so far.
    #[must_use]
    pub fn counts(&self) -> StoreCounts {
        lock(&self.counts).clone()
    }

    /// Counts from zero again; returns the counts so far.
    pub fn reset(&self) -> StoreCounts {
        std::mem::take(&mut *lock(&self.counts))
    }

    fn count(&self, area: Area, add: impl FnOnce(&mut AreaCounts)) {
        count(&self.counts, area, add);
    }
}

fn count(counts: &Shared, area: Area, add: impl FnOnce(&mut AreaCounts)) {
    add(lock(counts).0.entry(area).or_default());
}

impl<S: Store> Store for CountingStore<S> {
    fn stage(&self) -> Result<Box<dyn Staged>> {
        let inner = self.inner.stage()?;
        Ok(Box::new(CountingStaged { inner, counts: Arc::clone(&self.counts), len_bytes: 0 }))
    }

    fn len_bytes(&self, name: &ObjectName) -> Result<u64> {
        self.count(name.area(), |counts| counts.lens += 1);
        self.inner.len_bytes(name)
    }

    fn read_exact_at(&self, name: &ObjectName, offset_bytes: u64, out: &mut [u8]) -> Result<()> {
        self.count(name.area(), |counts| counts.reads += 1);
        self.inner.read_exact_at(name, offset_bytes, out)?;
        self.count(name.area(), |counts| counts.read_bytes += out.len() as u64);
        Ok(())
    }

    fn map(&self, name: &ObjectName) -> Result<ObjectBytes> {
        self.count(name.area(), |counts| counts.maps += 1);
        self.inner.map(name)
    }

    fn list(&self, area: Area) -> Result<Vec<ObjectName>> {
        self.count(area, |counts| counts.lists += 1);
        self.inner.list(area)
    }

    fn delete(&self, name: &ObjectName) -> Result<()> {
        self.count(name.area(), |counts| counts.deletes += 1);
        self.inner.delete(name)
    }

    fn set_aside(&self, name: &ObjectName) -> Result<()> {
        self.inner.set_aside(name)
    }

    fn replace(&self, name: &ObjectName, bytes: &[u8]) -> Result<()> {
        self.inner.replace(name, bytes)
    }

    fn missing_directories(&self) -> Result<Vec<String>> {
        self.inner.missing_directories()
    }

    fn make_directories(&self) -> Result<()> {
        self.inner.make_directories()
    }

    fn barrier(&self, area: Area) -> Result<()> {
        self.count(area, |counts| counts.barriers += 1);
        self.inner.barrier(area)
    }

    fn register(&self, name: &ObjectName, bytes: &[u8]) -> Result<Box<dyn Held>> {
        let held = self.inner.register(name, bytes)?;
        self.count(name.area(), |counts| {
            counts.publishes += 1;
            counts.published_bytes += bytes.len() as u64;
        });
        Ok(held)
    }

    fn is_held(&self, name: &ObjectName) -> Result<bool> {
        self.inner.is_held(name)
    }

    fn lock(&self, name: &ObjectName, text: &[u8]) -> Result<Option<Box<dyn Held>>> {
        self.inner.lock(name, text)
    }

    fn space(&self) -> Result<Option<Space>> {
        self.inner.space()
    }

    fn stow_ballast(&self, bytes: u64) -> Result<()> {
        self.inner.stow_ballast(bytes)
    }

    fn release_ballast(&self) -> Result<()> {
        self.inner.release_ballast()
    }

    fn read_once(&self) -> Option<Arc<ReadOnce>> {
        self.inner.read_once()
    }

    fn sweep(&self) -> Result<()> {
        self.inner.sweep()
    }
}

struct CountingStaged {
    inner: Box<dyn Staged>,
    counts: Shared,
    len_bytes: u64,
}

impl Staged for CountingStaged {
    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.len_bytes += bytes.len() as u64;
        self.inner.append(bytes)
    }

    fn publish(self: Box<Self>, name: &ObjectName) -> Result<Published> {
        let published = self.inner.publish(name)?;
        count(&self.counts, name.area(), |counts| match published {
            Published::Created => {
                counts.publishes += 1;
                counts.published_bytes += self.len_bytes;
            }
            Published::Existed => counts.existed += 1,
        });
        Ok(published)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::id::PackId;
    use crate::store::testing::memory::MemoryStore;

    #[test]
    fn calls_and_bytes_are_counted_by_area_until_the_reset() -> Result<()> {
        let store = CountingStore::new(MemoryStore::new());
        let name = ObjectName::pack(PackId::from_bytes([1; 32]));
        assert_eq!(store.create(&name, b"12345")?, Published::Created);
        assert_eq!(store.create(&name, b"12345")?, Published::Existed);
        store.read(&name, 5)?;
        store.read_exact_at(&name, 3, &mut [0; 3]).unwrap_err();
        let expected = AreaCounts {
            reads: 2,
            read_bytes: 5,
            lens: 1,
            publishes: 1,
            published_bytes: 5,
            existed: 1,
            ..AreaCounts::default()
        };
        assert_eq!(store.counts().of(Area::Packs), expected);
        assert_eq!(store.counts().of(Area::Index), AreaCounts::default());
        assert_eq!(store.reset().of(Area::Packs), expected);
        assert_eq!(store.counts(), StoreCounts::default());
        Ok(())
    }
}
