//! A store that seals the small objects of an encrypted repository, and the text of its locks.
//!
//! Packs and index segments are sealed where they are made, piece by piece, and pass through.

use std::sync::Arc;

use crate::crypto::Sealing;
use crate::error::{Error, ErrorKind, Result};
use crate::format::layout::{Area, ObjectName};
use crate::format::sealed::SEALED_EXTRA_LEN;
use crate::store::mapped::ObjectBytes;
use crate::store::{Held, Published, ReadOnce, Space, Staged, Store};

/// Seals what goes to the store inside, and opens what comes from it.
#[derive(Debug)]
pub struct SealingStore {
    inner: Arc<dyn Store>,
    sealing: Sealing,
}

impl SealingStore {
    /// Wraps a store.
    #[must_use]
    pub fn new(inner: Arc<dyn Store>, sealing: Sealing) -> Self {
        Self { inner, sealing }
    }

    fn sealed(&self, name: &ObjectName, bytes: &[u8]) -> Vec<u8> {
        match is_sealed(name) {
            true => self.sealing.seal_object(name, bytes),
            false => bytes.to_vec(),
        }
    }
}

/// Whether an object is sealed as a whole. The configuration and the key slots are what a reader
/// needs before it has keys; parity is made of sealed packs.
fn is_sealed(name: &ObjectName) -> bool {
    match name.area() {
        Area::Sessions
        | Area::Commits
        | Area::Catalogues
        | Area::Forgotten
        | Area::Holds
        | Area::Condemned
        | Area::Damaged
        | Area::Engine
        | Area::Locks => true,
        Area::Config | Area::Keys | Area::Packs | Area::Parity | Area::Index | Area::Quarantine => {
            false
        }
    }
}

/// Fails for an object that is sealed as a whole: pieces of it must not go around the seal.
fn check_passes(name: &ObjectName) -> Result<()> {
    match is_sealed(name) {
        false => Ok(()),
        true => {
            let what = "the object is sealed as a whole and cannot be used in pieces";
            Err(Error::new(ErrorKind::Unsupported, what).at(name.to_string()))
        }
    }
}

/// An object that is written in pieces.
struct Pieces(Box<dyn Staged>);

impl Staged for Pieces {
    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.0.append(bytes)
    }

    fn publish(self: Box<Self>, name: &ObjectName) -> Result<Published> {
        check_passes(name)?;
        self.0.publish(name)
    }
}

impl Store for SealingStore {
    fn stage(&self) -> Result<Box<dyn Staged>> {
        Ok(Box::new(Pieces(self.inner.stage()?)))
    }

    fn len_bytes(&self, name: &ObjectName) -> Result<u64> {
        self.inner.len_bytes(name)
    }

    fn read_exact_at(&self, name: &ObjectName, offset_bytes: u64, out: &mut [u8]) -> Result<()> {
        check_passes(name)?;
        self.inner.read_exact_at(name, offset_bytes, out)
    }

    fn map(&self, name: &ObjectName) -> Result<ObjectBytes> {
        check_passes(name)?;
        self.inner.map(name)
    }

    fn list(&self, area: Area) -> Result<Vec<ObjectName>> {
        self.inner.list(area)
    }

    fn each_name(&self, area: Area, each: &mut dyn FnMut(ObjectName) -> Result<()>) -> Result<()> {
        self.inner.each_name(area, each)
    }

    fn delete(&self, name: &ObjectName) -> Result<()> {
        self.inner.delete(name)
    }

    fn set_aside(&self, name: &ObjectName) -> Result<()> {
        self.inner.set_aside(name)
    }

    fn replace(&self, name: &ObjectName, bytes: &[u8]) -> Result<()> {
        self.inner.replace(name, &self.sealed(name, bytes))
    }

    fn missing_directories(&self) -> Result<Vec<String>> {
        self.inner.missing_directories()
    }

    fn make_directories(&self) -> Result<()> {
        self.inner.make_directories()
    }

    fn barrier(&self, area: Area) -> Result<()> {
        self.inner.barrier(area)
    }

    fn register(&self, name: &ObjectName, bytes: &[u8]) -> Result<Box<dyn Held>> {
        self.inner.register(name, &self.sealed(name, bytes))
    }

    fn is_held(&self, name: &ObjectName) -> Result<bool> {
        self.inner.is_held(name)
    }

    fn lock(&self, name: &ObjectName, text: &[u8]) -> Result<Option<Box<dyn Held>>> {
        self.inner.lock(name, &self.sealed(name, text))
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

    fn create(&self, name: &ObjectName, bytes: &[u8]) -> Result<Published> {
        match is_sealed(name) {
            true => self.inner.create(name, &self.sealing.seal_object(name, bytes)),
            false => self.inner.create(name, bytes),
        }
    }

    fn read(&self, name: &ObjectName, max_bytes: usize) -> Result<Vec<u8>> {
        if !is_sealed(name) {
            return self.inner.read(name, max_bytes);
        }
        let stored = self.inner.read(name, max_bytes + SEALED_EXTRA_LEN)?;
        self.sealing.open_object(name, stored).map_err(|error| error.in_object(name))
    }
}
