//! A store whose objects can be damaged and whose medium can be made to fail, at a chosen place.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::base::sync::lock;
use crate::error::{Error, ErrorKind, IoContext, Result};
use crate::format::layout::{Area, ObjectName};
use crate::store::mapped::ObjectBytes;
use crate::store::{Held, Published, ReadOnce, Space, Staged, Store};

/// What is wrong with an object. The object inside stays as it is.
#[derive(Debug, Clone)]
pub enum Damage {
    /// One bit, 0 to 7, of the byte at an offset reads inverted.
    FlippedBit {
        /// Which byte.
        offset_bytes: u64,
        /// Which of its bits.
        bit: u8,
    },
    /// The object ends after that many bytes.
    Truncated(u64),
    /// There is no such object any more.
    Missing,
    /// These bytes read as zero.
    Zeroed(Range<u64>),
    /// The object holds other bytes.
    Replaced(Arc<[u8]>),
    /// Reads that touch these bytes fail with an error of the medium.
    Unreadable(Range<u64>),
    /// Reads take that long.
    Slow(Duration),
    /// Reads wait until the gate is opened.
    Gated(Gate),
}

/// How the medium fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is full; nothing happens.
    Full,
    /// It errs; nothing happens.
    Io,
    /// It errs, but what was asked for has happened.
    IoAfterwards,
}

/// How long a test waits for others to come to a gate: if it waits in vain, it is to fail.
const PATIENCE: Duration = Duration::from_secs(60);

/// Holds readers and publishers back until it is opened. Clones are the same gate.
#[derive(Debug, Clone, Default)]
pub struct Gate(Arc<(Mutex<GateState>, Condvar)>);

#[derive(Debug, Default)]
struct GateState {
    is_open: bool,
    arrived: usize,
}

impl Gate {
    /// Lets everybody through, from now on.
    pub fn open(&self) {
        self.state().is_open = true;
        self.0.1.notify_all();
    }

    /// How many have come to the gate so far.
    #[must_use]
    pub fn arrivals(&self) -> usize {
        self.state().arrived
    }

    /// Waits until so many have come to the gate, whether it is open or not. Panics if they do not
    /// come within a minute, and opens the gate first: nobody else would.
    pub fn wait_for(&self, arrivals: usize) {
        let waiting = |state: &mut GateState| state.arrived < arrivals;
        let waited = self.0.1.wait_timeout_while(self.state(), PATIENCE, waiting);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let arrived = state.arrived;
        drop(state);
        if arrived < arrivals {
            self.open();
            panic!("{arrived} of {arrivals} have come to the gate");
        }
    }

    fn pass(&self) {
        let mut state = self.state();
        state.arrived += 1;
        self.0.1.notify_all();
        while !state.is_open {
            state = self.0.1.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn state(&self) -> MutexGuard<'_, GateState> {
        lock(&self.0.0)
    }
}

/// Passes everything on to the store inside, except for the damage. Clones share the damage.
#[derive(Debug, Clone)]
pub struct DamagingStore<S> {
    inner: S,
    plan: Arc<Mutex<Plan>>,
}

#[derive(Debug, Default)]
struct Plan {
    damage: BTreeMap<ObjectName, Vec<Damage>>,
    publish: Countdown,
    append: Countdown,
    space: Option<Space>,
    held: Vec<(Area, u64, Gate)>,
}

impl Plan {
    /// The gate at which a publish into `area` waits, if it is its turn.
    fn gate(&mut self, area: Area) -> Option<Gate> {
        let of_area = self.held.iter_mut().filter(|(of, ..)| *of == area);
        of_area.for_each(|(_, left, _)| *left = left.saturating_sub(1));
        let due = self.held.iter().position(|(of, left, _)| *of == area && *left == 0)?;
        Some(self.held.remove(due).2)
    }
}

/// Faults by how many calls are left before they happen.
#[derive(Debug, Default)]
struct Countdown(Vec<(u64, Fault)>);

impl Countdown {
    fn next(&mut self) -> Option<Fault> {
        self.0.iter_mut().for_each(|(left, _)| *left = left.saturating_sub(1));
        let due = self.0.iter().position(|(left, _)| *left == 0)?;
        Some(self.0.remove(due).1)
    }
}

impl<S> DamagingStore<S> {
    /// A store without damage so far.
    pub fn new(inner: S) -> Self {
        Self { inner, plan: Arc::default() }
    }

    /// The store inside.
    pub fn inner(&self) -> &S {
        &self.inner
    }

    /// Damages an object, in addition to what is wrong with it already.
    pub fn damage(&self, name: &ObjectName, damage: Damage) {
        plan(&self.plan).damage.entry(name.clone()).or_default().push(damage);
    }

    /// Undoes all damage and calls off all faults.
    pub fn heal(&self) {
        *plan(&self.plan) = Plan::default();
    }

    /// Lets the `nth` publish or registration from now (counted from 1) fail.
    pub fn fail_publish(&self, nth: u64, fault: Fault) {
        plan(&self.plan).publish.0.push((nth, fault));
    }

    /// Lets the `nth` append from now (counted from 1) fail. Those of registrations do not count.
    pub fn fail_append(&self, nth: u64, fault: Fault) {
        plan(&self.plan).append.0.push((nth, fault));
    }

    /// Lets the `nth` publish into `area` from now (counted from 1) wait at the gate, as on a
    /// medium that takes long to sync.
    pub fn hold_publish(&self, area: Area, nth: u64, gate: &Gate) {
        plan(&self.plan).held.push((area, nth, gate.clone()));
    }

    /// Lets the medium seem to have that much space, until it is healed.
    pub fn set_space(&self, space: Space) {
        plan(&self.plan).space = Some(space);
    }

    fn damage_of(&self, name: &ObjectName) -> Vec<Damage> {
        plan(&self.plan).damage.get(name).cloned().unwrap_or_default()
    }

    fn is_missing(&self, name: &ObjectName) -> bool {
        self.damage_of(name).iter().any(|damage| matches!(damage, Damage::Missing))
    }

    fn check_present(&self, name: &ObjectName) -> Result<()> {
        if self.is_missing(name) {
            let what = "there is no such object";
            return Err(Error::new(ErrorKind::NotFound, what).at(name.to_string()));
        }
        Ok(())
    }

    /// Length of an object of `len` bytes as the damage lets it appear.
    fn apparent_len(&self, name: &ObjectName, len: u64) -> u64 {
        let limit = |len: u64, damage: &Damage| match damage {
            Damage::Truncated(kept) => len.min(*kept),
            Damage::Replaced(bytes) => bytes.len() as u64,
            _ => len,
        };
        self.damage_of(name).iter().fold(len, limit)
    }

    /// Waits and fails as the damage says for a read of `range`.
    fn suffer(&self, name: &ObjectName, range: &Range<u64>) -> Result<()> {
        for damage in self.damage_of(name) {
            match damage {
                Damage::Slow(delay) => thread::sleep(delay),
                Damage::Gated(gate) => gate.pass(),
                Damage::Unreadable(bad) if bad.start < range.end && range.start < bad.end => {
                    return medium_error(Path::new(&name.to_string()), libc::EIO);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// What an object was replaced with.
    fn replacement(&self, name: &ObjectName) -> Option<Arc<[u8]>> {
        let replaced = |damage| match damage {
            Damage::Replaced(bytes) => Some(bytes),
            _ => None,
        };
        self.damage_of(name).into_iter().filter_map(replaced).next_back()
    }

    /// Flips and zeroes of `bytes`, which begin at `offset` of the object, what is to be.
    fn spoil(&self, name: &ObjectName, offset: u64, bytes: &mut [u8]) {
        for damage in self.damage_of(name) {
            let hit = match &damage {
                Damage::FlippedBit { offset_bytes, .. } => *offset_bytes..*offset_bytes + 1,
                Damage::Zeroed(range) => range.clone(),
                _ => continue,
            };
            let len = bytes.len();
            let within = |at: u64| (at.saturating_sub(offset) as usize).min(len);
            for byte in &mut bytes[within(hit.start)..within(hit.end)] {
                *byte = match damage {
                    Damage::FlippedBit { bit, .. } => *byte ^ 1 << (bit & 7),
                    _ => 0,
                };
            }
        }
    }
}

fn plan(plan: &Mutex<Plan>) -> MutexGuard<'_, Plan> {
    lock(plan)
}

fn medium_error<T>(path: &Path, errno: i32) -> Result<T> {
    Err(io::Error::from_raw_os_error(errno)).context("the medium fails", path)
}

/// Does `act` unless the fault forbids it.
fn with_fault<T>(fault: Option<Fault>, place: &str, act: impl FnOnce() -> Result<T>) -> Result<T> {
    match fault {
        None => act(),
        Some(Fault::Full) => medium_error(Path::new(place), libc::ENOSPC),
        Some(Fault::Io) => medium_error(Path::new(place), libc::EIO),
        Some(Fault::IoAfterwards) => {
            act()?;
            medium_error(Path::new(place), libc::EIO)
        }
    }
}

impl<S: Store> Store for DamagingStore<S> {
    fn stage(&self) -> Result<Box<dyn Staged>> {
        let inner = self.inner.stage()?;
        Ok(Box::new(DamagingStaged { inner, plan: Arc::clone(&self.plan), is_torn: false }))
    }

    fn len_bytes(&self, name: &ObjectName) -> Result<u64> {
        self.check_present(name)?;
        Ok(self.apparent_len(name, self.inner.len_bytes(name)?))
    }

    fn read_exact_at(&self, name: &ObjectName, offset_bytes: u64, out: &mut [u8]) -> Result<()> {
        let range = offset_bytes..offset_bytes.saturating_add(out.len() as u64);
        self.suffer(name, &range)?;
        self.check_present(name)?;
        if range.end > self.apparent_len(name, u64::MAX) {
            let what = format!("the object ends within a read of {} bytes", out.len());
            return Err(Error::corrupt(what).at(name.to_string()).at_byte(offset_bytes));
        }
        match self.replacement(name) {
            Some(bytes) => out.copy_from_slice(&bytes[range.start as usize..range.end as usize]),
            None => self.inner.read_exact_at(name, offset_bytes, out)?,
        }
        self.spoil(name, offset_bytes, out);
        Ok(())
    }

    fn map(&self, name: &ObjectName) -> Result<ObjectBytes> {
        if self.damage_of(name).is_empty() {
            return self.inner.map(name);
        }
        let mut bytes = vec![0; self.len_bytes(name)? as usize];
        self.read_exact_at(name, 0, &mut bytes)?;
        Ok(ObjectBytes::read(bytes))
    }

    fn list(&self, area: Area) -> Result<Vec<ObjectName>> {
        let mut names = self.inner.list(area)?;
        names.retain(|name| !self.is_missing(name));
        Ok(names)
    }

    fn delete(&self, name: &ObjectName) -> Result<()> {
        self.inner.delete(name)
    }

    fn set_aside(&self, name: &ObjectName) -> Result<()> {
        // The damage moves with the bytes.
        let mut plan = plan(&self.plan);
        if let Some(damage) = plan.damage.remove(name) {
            plan.damage.insert(ObjectName::quarantined(name, 0), damage);
        }
        drop(plan);
        self.inner.set_aside(name)
    }

    fn replace(&self, name: &ObjectName, bytes: &[u8]) -> Result<()> {
        plan(&self.plan).damage.remove(name);
        self.inner.replace(name, bytes)
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
        let fault = plan(&self.plan).publish.next();
        with_fault(fault, &name.to_string(), || self.inner.register(name, bytes))
    }

    fn is_held(&self, name: &ObjectName) -> Result<bool> {
        self.inner.is_held(name)
    }

    fn lock(&self, name: &ObjectName, text: &[u8]) -> Result<Option<Box<dyn Held>>> {
        self.inner.lock(name, text)
    }

    fn space(&self) -> Result<Option<Space>> {
        match plan(&self.plan).space {
            Some(space) => Ok(Some(space)),
            None => self.inner.space(),
        }
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

struct DamagingStaged {
    inner: Box<dyn Staged>,
    plan: Arc<Mutex<Plan>>,
    is_torn: bool,
}

impl Staged for DamagingStaged {
    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        let fault = plan(&self.plan).append.next();
        self.is_torn |= fault.is_some();
        with_fault(fault, "an object that is being written", || self.inner.append(bytes))
    }

    fn publish(self: Box<Self>, name: &ObjectName) -> Result<Published> {
        let fault = plan(&self.plan).publish.next();
        let fault = if self.is_torn { Some(Fault::Io) } else { fault };
        let gate = plan(&self.plan).gate(name.area());
        if let Some(gate) = gate {
            gate.pass();
        }
        with_fault(fault, &name.to_string(), || self.inner.publish(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::id::PackId;
    use crate::store::testing::memory::MemoryStore;

    fn pack(number: u8) -> ObjectName {
        ObjectName::pack(PackId::from_bytes([number; 32]))
    }

    fn store() -> DamagingStore<MemoryStore> {
        let store = DamagingStore::new(MemoryStore::new());
        assert_eq!(store.create(&pack(1), b"\0\0\0\0").unwrap(), Published::Created);
        store
    }

    fn kind_of<T>(result: Result<T>) -> Option<ErrorKind> {
        result.err().as_ref().map(Error::kind)
    }

    #[test]
    fn damage_shows_in_reads_and_maps_and_goes_when_healed() {
        let store = store();
        store.damage(&pack(1), Damage::FlippedBit { offset_bytes: 2, bit: 7 });
        assert_eq!(store.read(&pack(1), 4).unwrap(), [0, 0, 0x80, 0]);
        assert_eq!(store.map(&pack(1)).unwrap().in_memory(), Some(&[0, 0, 0x80, 0][..]));
        store.damage(&pack(1), Damage::Truncated(3));
        assert_eq!(store.map(&pack(1)).unwrap().in_memory(), Some(&[0, 0, 0x80][..]));
        let read = store.read_exact_at(&pack(1), 1, &mut [0; 3]);
        assert_eq!(kind_of(read), Some(ErrorKind::Corrupt));
        store.damage(&pack(1), Damage::Unreadable(1..2));
        assert_eq!(kind_of(store.read_exact_at(&pack(1), 0, &mut [0; 2])), Some(ErrorKind::Io));
        assert_eq!(kind_of(store.read_exact_at(&pack(1), 2, &mut [0; 1])), None);
        store.damage(&pack(1), Damage::Missing);
        assert_eq!(kind_of(store.map(&pack(1))), Some(ErrorKind::NotFound));
        assert_eq!(store.list(Area::Packs).unwrap(), []);
        store.heal();
        assert_eq!(store.read(&pack(1), 4).unwrap(), [0; 4]);
    }

    #[test]
    fn an_object_can_hold_other_bytes_and_be_zero_in_part() {
        let store = store();
        store.damage(&pack(1), Damage::Replaced(Arc::from(*b"12345")));
        assert_eq!(store.read(&pack(1), 5).unwrap(), *b"12345");
        store.damage(&pack(1), Damage::Zeroed(1..3));
        assert_eq!(store.read(&pack(1), 5).unwrap(), *b"1\0\x0045");
        let mut part = [9; 2];
        store.read_exact_at(&pack(1), 2, &mut part).unwrap();
        assert_eq!(part, *b"\x004");
        assert_eq!(kind_of(store.read_exact_at(&pack(1), 4, &mut part)), Some(ErrorKind::Corrupt));
        store.heal();
        assert_eq!(store.read(&pack(1), 5).unwrap(), [0; 4]);
    }

    #[test]
    fn the_chosen_publish_or_append_fails_and_no_other() {
        let store = store();
        store.fail_publish(2, Fault::Full);
        store.fail_publish(3, Fault::IoAfterwards);
        let kinds = [2, 3, 4, 5].map(|number| kind_of(store.create(&pack(number), b"x")));
        assert_eq!(kinds, [None, Some(ErrorKind::Full), Some(ErrorKind::Io), None]);
        assert_eq!(store.list(Area::Packs).unwrap(), [pack(1), pack(2), pack(4), pack(5)]);
        store.fail_append(1, Fault::Full);
        let mut staged = store.stage().unwrap();
        assert_eq!(kind_of(staged.append(b"x")), Some(ErrorKind::Full));
        assert_eq!(kind_of(staged.publish(&pack(6))), Some(ErrorKind::Io));
    }

    #[test]
    fn a_gate_holds_readers_back_until_it_opens() {
        let store = store();
        let gate = Gate::default();
        store.damage(&pack(1), Damage::Gated(gate.clone()));
        thread::scope(|scope| {
            let reader = scope.spawn(|| store.read(&pack(1), 4));
            gate.wait_for(1);
            assert!(!reader.is_finished());
            gate.open();
            assert_eq!(reader.join().unwrap().unwrap(), [0; 4]);
        });
    }
}
