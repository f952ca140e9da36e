//! The store of one actor: each call that others can notice waits for its turn.

use std::sync::Arc;

use backstop::error::Result;
use backstop::format::layout::{Area, ObjectName};
use backstop::store::mapped::ObjectBytes;
use backstop::store::testing::MemoryStore;
use backstop::store::{Held, Published, Space, Staged, Store};

use super::lies::Lies;
use super::turns::{Actor, Call, Turns};

/// A store that is shared by all actors, as one of them sees it.
#[derive(Debug)]
pub(crate) struct TurnStore {
    pub(crate) actor: Actor,
    pub(crate) turns: Arc<Turns>,
    pub(crate) inner: MemoryStore,
    /// Where it does not keep its contract.
    pub(crate) lies: Arc<Lies>,
}

impl TurnStore {
    fn wait(&self, call: Call) -> Result<()> {
        self.turns.wait(self.actor, call)
    }
}

impl Store for TurnStore {
    fn stage(&self) -> Result<Box<dyn Staged>> {
        Ok(Box::new(TurnStaged {
            actor: self.actor,
            turns: Arc::clone(&self.turns),
            inner: self.inner.clone(),
            lies: Arc::clone(&self.lies),
            bytes: Vec::new(),
        }))
    }

    fn len_bytes(&self, name: &ObjectName) -> Result<u64> {
        self.wait(Call::Read(name.clone()))?;
        self.lies.len_bytes(&self.inner, self.actor, name)
    }

    fn read_exact_at(&self, name: &ObjectName, offset_bytes: u64, out: &mut [u8]) -> Result<()> {
        self.wait(Call::Read(name.clone()))?;
        self.inner.read_exact_at(name, offset_bytes, out)
    }

    fn map(&self, name: &ObjectName) -> Result<ObjectBytes> {
        self.wait(Call::Read(name.clone()))?;
        self.lies.map(&self.inner, self.actor, name)
    }

    fn list(&self, area: Area) -> Result<Vec<ObjectName>> {
        self.wait(Call::List(area))?;
        self.lies.list(&self.inner, self.actor, area)
    }

    fn delete(&self, name: &ObjectName) -> Result<()> {
        self.wait(Call::Change("delete", name.clone()))?;
        self.lies.delete(&self.inner, name)
    }

    fn set_aside(&self, name: &ObjectName) -> Result<()> {
        self.wait(Call::Change("set aside", name.clone()))?;
        self.inner.set_aside(name)
    }

    fn replace(&self, name: &ObjectName, bytes: &[u8]) -> Result<()> {
        self.wait(Call::Change("replace", name.clone()))?;
        self.inner.replace(name, bytes)
    }

    /// Nobody loses power here, so nobody can tell whether this was done.
    fn barrier(&self, area: Area) -> Result<()> {
        self.inner.barrier(area)
    }

    fn register(&self, name: &ObjectName, bytes: &[u8]) -> Result<Box<dyn Held>> {
        self.wait(Call::Change("register", name.clone()))?;
        let held = self.inner.register(name, bytes)?;
        self.lies.registered(&self.inner, self.actor, name)?;
        Ok(self.turns.keep(self.actor, name, held))
    }

    fn is_held(&self, name: &ObjectName) -> Result<bool> {
        self.wait(Call::Read(name.clone()))?;
        Ok(self.inner.is_held(name)? && !self.lies.frees(name))
    }

    fn lock(&self, name: &ObjectName, text: &[u8]) -> Result<Option<Box<dyn Held>>> {
        self.wait(Call::Change("lock", name.clone()))?;
        if self.lies.frees(name) {
            return Ok(Some(Box::new(Nothing)));
        }
        let held = self.inner.lock(name, text)?;
        Ok(held.map(|held| self.turns.keep(self.actor, name, held)))
    }

    fn space(&self) -> Result<Option<Space>> {
        self.inner.space()
    }
}

/// A lock that excludes nobody.
#[derive(Debug)]
struct Nothing;

impl Held for Nothing {}

struct TurnStaged {
    actor: Actor,
    turns: Arc<Turns>,
    inner: MemoryStore,
    lies: Arc<Lies>,
    bytes: Vec<u8>,
}

impl Staged for TurnStaged {
    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn publish(self: Box<Self>, name: &ObjectName) -> Result<Published> {
        self.turns.wait(self.actor, Call::Change("create", name.clone()))?;
        self.lies.create(&self.inner, name, &self.bytes)
    }
}
