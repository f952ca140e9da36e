//! The contract of [`Store`], as a test that every implementation goes through.

use std::sync::{Arc, Barrier};
use std::thread;

use crate::base::hash::blake3_256;
use crate::base::id::{PackId, SegmentId, SessionId};
use crate::error::{Error, ErrorKind, Result};
use crate::format::layout::{Area, ObjectName};
use crate::store::{Published, Store};

const RACERS: u8 = 8;
const ROUNDS: u8 = 16;

type Check = fn(&Arc<dyn Store>) -> Result<()>;

/// Holds an empty store to its contract, as far as that can be seen without a crash.
///
/// # Panics
///
/// If the store breaks it.
pub fn store_contract(store: Arc<dyn Store>) {
    let checks: [Check; 8] = [
        an_object_reads_back_whole_and_in_ranges,
        an_empty_object_is_an_object,
        a_read_beyond_the_end_is_corrupt,
        a_missing_object_is_not_found,
        a_name_is_created_once,
        what_is_published_is_listed_until_it_is_deleted,
        a_registration_lives_until_it_is_dropped,
        a_lock_has_one_holder,
    ];
    for check in checks {
        if let Err(error) = check(&store) {
            panic!("the store fails where it must not: {error:?}");
        }
    }
}

fn session(number: u8) -> SessionId {
    SessionId::from_bytes([number; 16])
}

fn kind_of<T>(result: Result<T>) -> Option<ErrorKind> {
    result.err().as_ref().map(Error::kind)
}

fn an_object_reads_back_whole_and_in_ranges(store: &Arc<dyn Store>) -> Result<()> {
    let name = ObjectName::pack(PackId::from_bytes([1; 32]));
    let bytes: Vec<u8> = (0..10_000_u32).map(|i| (i / 3) as u8).collect();
    let mut staged = store.stage()?;
    for part in bytes.chunks(999) {
        staged.append(part)?;
    }
    assert_eq!(kind_of(store.len_bytes(&name)), Some(ErrorKind::NotFound), "seen too early");
    assert_eq!(staged.publish(&name)?, Published::Created);
    assert_eq!(store.len_bytes(&name)?, 10_000);
    assert_eq!(store.read(&name, 10_000)?, bytes);
    assert_eq!(kind_of(store.read(&name, 9_999)), Some(ErrorKind::Corrupt), "above the limit");
    let mapped = store.map(&name)?;
    assert_eq!((mapped.len(), mapped.hash()?), (bytes.len(), blake3_256(&bytes)));
    let mut middle = [0; 100];
    mapped.read_exact_at(5_000, &mut middle)?;
    assert!(middle == bytes[5_000..5_100]);
    assert!(mapped.read_exact_at(9_901, &mut middle).is_err());
    let mut part = [0; 100];
    store.read_exact_at(&name, 9_900, &mut part)?;
    assert!(part == bytes[9_900..]);
    store.read_exact_at(&name, 10_000, &mut [])
}

fn an_empty_object_is_an_object(store: &Arc<dyn Store>) -> Result<()> {
    let name = ObjectName::segment(SegmentId::from_bytes([2; 32]));
    assert_eq!(store.create(&name, b"")?, Published::Created);
    assert_eq!(store.len_bytes(&name)?, 0);
    assert!(store.map(&name)?.is_empty());
    assert!(store.read(&name, 0)?.is_empty());
    Ok(())
}

fn a_read_beyond_the_end_is_corrupt(store: &Arc<dyn Store>) -> Result<()> {
    let name = ObjectName::config(0);
    assert_eq!(store.create(&name, b"0123")?, Published::Created);
    for offset in [1, 4, 5, u64::MAX - 4, u64::MAX] {
        let read = store.read_exact_at(&name, offset, &mut [0; 4]);
        assert_eq!(kind_of(read), Some(ErrorKind::Corrupt), "offset {offset}");
    }
    Ok(())
}

fn a_missing_object_is_not_found(store: &Arc<dyn Store>) -> Result<()> {
    for name in [ObjectName::pack(PackId::from_bytes([3; 32])), ObjectName::commit(session(3))] {
        assert_eq!(kind_of(store.len_bytes(&name)), Some(ErrorKind::NotFound));
        assert_eq!(kind_of(store.read(&name, 1)), Some(ErrorKind::NotFound));
        assert_eq!(kind_of(store.map(&name)), Some(ErrorKind::NotFound));
        let read = store.read_exact_at(&name, 0, &mut [0]);
        assert_eq!(kind_of(read), Some(ErrorKind::NotFound));
        assert!(!store.is_held(&name)?);
    }
    Ok(())
}

fn a_name_is_created_once(store: &Arc<dyn Store>) -> Result<()> {
    for round in 0..ROUNDS {
        let name = ObjectName::commit(session(0x40 + round));
        let start = Barrier::new(usize::from(RACERS));
        let race = |racer: u8| {
            start.wait();
            store.create(&name, &[racer; 1000])
        };
        let outcomes: Vec<Result<Published>> = thread::scope(|scope| {
            let racers: Vec<_> = (0..RACERS).map(|r| scope.spawn(move || race(r))).collect();
            racers.into_iter().filter_map(|racer| racer.join().ok()).collect()
        });
        assert_eq!(outcomes.len(), usize::from(RACERS), "a racer panicked");
        let mut winners = Vec::new();
        for (racer, outcome) in (0..RACERS).zip(outcomes) {
            if outcome? == Published::Created {
                winners.push(racer);
            }
        }
        let [winner] = winners[..] else { panic!("the name was created by {winners:?}") };
        assert_eq!(store.read(&name, 1000)?, [winner; 1000], "not the winner's bytes");
    }
    Ok(())
}

fn what_is_published_is_listed_until_it_is_deleted(store: &Arc<dyn Store>) -> Result<()> {
    let sessions: [fn(SessionId) -> ObjectName; 4] =
        [ObjectName::forgotten, ObjectName::condemned, ObjectName::damaged, ObjectName::commit];
    let mut names: Vec<_> = sessions.map(|name| name(session(5))).into();
    names.push(ObjectName::config(2));
    names.push(ObjectName::pack(PackId::from_bytes([5; 32])));
    names.push(ObjectName::segment(SegmentId::from_bytes([5; 32])));
    for name in names {
        assert_eq!(store.create(&name, b"here")?, Published::Created);
        let times = |listed: Vec<ObjectName>| listed.iter().filter(|other| **other == name).count();
        assert_eq!(times(store.list(name.area())?), 1, "{name}");
        for _ in 0..2 {
            store.delete(&name)?;
            store.barrier(name.area())?;
            assert_eq!(times(store.list(name.area())?), 0, "{name}");
        }
        assert_eq!(kind_of(store.read(&name, 4)), Some(ErrorKind::NotFound), "{name}");
        assert_eq!(store.create(&name, b"again")?, Published::Created, "{name}");
        assert_eq!(store.read(&name, 5)?, b"again", "{name}");
    }
    Area::ALL.iter().try_for_each(|area| store.barrier(*area))?;
    store.sweep()
}

fn a_registration_lives_until_it_is_dropped(store: &Arc<dyn Store>) -> Result<()> {
    let name = ObjectName::session(session(6));
    let held = store.register(&name, b"who")?;
    assert!(store.is_held(&name)? && store.is_held(&name)?);
    assert_eq!(kind_of(store.register(&name, b"other")), Some(ErrorKind::AlreadyExists));
    assert!(store.is_held(&name)?, "a second registration must not end the first");
    assert_eq!(store.read(&name, 3)?, b"who");
    drop(held);
    assert!(!store.is_held(&name)?);
    assert_eq!(store.read(&name, 3)?, b"who", "the object outlives its registration");
    let name = ObjectName::session(session(7));
    let _held = store.register(&name, b"who")?;
    store.delete(&name)?;
    assert!(!store.is_held(&name)?);
    Ok(())
}

fn a_lock_has_one_holder(store: &Arc<dyn Store>) -> Result<()> {
    let name = ObjectName::vm_lock("a vm");
    assert!(!store.is_held(&name)?);
    let Some(held) = store.lock(&name, b"a rather long text")? else { panic!("a lock was free") };
    assert!(store.is_held(&name)?);
    assert!(store.lock(&name, b"other")?.is_none());
    assert!(store.lock(&ObjectName::vm_lock("another vm"), b"")?.is_some());
    assert_eq!(store.read(&name, 100)?, b"a rather long text");
    drop(held);
    assert!(!store.is_held(&name)?);
    let Some(_held) = store.lock(&name, b"next")? else { panic!("a lock was free") };
    assert_eq!(store.read(&name, 100)?, b"next");
    assert!(store.list(Area::Locks)?.contains(&name));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::DirStore;
    use crate::store::testing::counting::CountingStore;
    use crate::store::testing::damaging::DamagingStore;
    use crate::store::testing::memory::MemoryStore;

    #[test]
    fn a_directory_keeps_the_contract() {
        let temp = tempfile::tempdir().unwrap();
        store_contract(Arc::new(DirStore::create(temp.path().join("a/repository")).unwrap()));
    }

    #[test]
    fn memory_keeps_the_contract() {
        store_contract(Arc::new(MemoryStore::new()));
    }

    #[test]
    fn wrappers_that_are_asked_for_nothing_keep_the_contract() {
        store_contract(Arc::new(CountingStore::new(MemoryStore::new())));
        store_contract(Arc::new(DamagingStore::new(Arc::new(MemoryStore::new()))));
    }
}
