//! What a backup does with copies that it must not refer to.

#[path = "support/repo.rs"]
mod support;

use std::sync::Arc;

use backstop::base::id::SessionId;
use backstop::base::units::ChunkIndex;
use backstop::error::ErrorKind;
use backstop::format::layout::{Area, ObjectName};
use backstop::format::lists::{Condemned, Damaged, DamagedCopy};
use backstop::repo::Repository;
use backstop::store::Store;
use backstop::store::testing::{Damage, DamagingStore, MemoryStore};

use support::{MIB, back_up_bytes, new_repo, noise, read_back};

fn repo_with_point() -> (Repository, Vec<u8>) {
    let repo = new_repo(Arc::new(MemoryStore::new()));
    let disk = noise(2 * MIB, 5);
    back_up_bytes(&repo, "vm", &disk).unwrap();
    (repo, disk)
}

fn packs(store: &dyn Store) -> Vec<ObjectName> {
    store.list(Area::Packs).unwrap()
}

#[test]
fn a_backup_stores_again_what_lies_in_a_condemned_pack() {
    let (repo, disk) = repo_with_point();
    let store = repo.store();
    let old = packs(&**store);
    let packs = old.iter().filter_map(ObjectName::pack_id).collect();
    let condemned = Condemned { packs, ..Condemned::default() };
    let name = ObjectName::condemned(SessionId::from_bytes([9; 16]));
    let _created = store.create(&name, &condemned.encode()).unwrap();
    let point = back_up_bytes(&repo, "vm", &disk).unwrap();
    assert_eq!(point.stats.new_plain_bytes, 2 * MIB as u64);
    // The prune goes on to delete them: the new restore point does not need them.
    old.iter().for_each(|pack| store.delete(pack).unwrap());
    assert!(read_back(&repo, &point.disks[0], false).unwrap() == disk);
}

#[test]
fn a_backup_stores_again_only_the_copies_that_a_scrub_found_damaged() {
    let (repo, disk) = repo_with_point();
    let reader = repo.reader().unwrap();
    let point = repo.points().unwrap().remove(0);
    let map = repo.disk_map(&reader, &point.disks[0]);
    let (_, chunk) = map.next_data(ChunkIndex(1)).unwrap().unwrap();
    let location = reader.index().locations(chunk).unwrap().remove(0);
    let copy = DamagedCopy { pack: location.pack, chunk };
    let damaged = Damaged { copies: vec![copy], missing_packs: Vec::new() };
    let name = ObjectName::damaged(SessionId::from_bytes([8; 16]));
    let _created = repo.store().create(&name, &damaged.encode()).unwrap();
    let healed = back_up_bytes(&repo, "vm", &disk).unwrap();
    assert_eq!(healed.stats.new_plain_bytes, MIB as u64);
    assert_eq!(repo.reader().unwrap().index().locations(chunk).unwrap().len(), 2);
}

#[test]
fn a_list_of_condemned_packs_that_cannot_be_read_stops_a_backup() {
    let (repo, disk) = repo_with_point();
    let name = ObjectName::condemned(SessionId::from_bytes([7; 16]));
    let _created = repo.store().create(&name, b"rubbish").unwrap();
    assert!(back_up_bytes(&repo, "vm", &disk).is_err());
}

/// A mount reads through one reader for days.
#[test]
fn a_reader_finds_the_copy_that_was_stored_after_it_met_the_damaged_one() {
    let store = Arc::new(DamagingStore::new(MemoryStore::new()));
    let repo = new_repo(Arc::<DamagingStore<_>>::clone(&store));
    let disk = noise(MIB, 5);
    let point = back_up_bytes(&repo, "vm", &disk).unwrap();
    let reader = repo.reader().unwrap();
    let map = repo.disk_map(&reader, &point.disks[0]);
    let (_, chunk) = map.next_data(ChunkIndex(0)).unwrap().unwrap();
    let location = reader.index().locations(chunk).unwrap().remove(0);
    let pack = ObjectName::pack(location.pack);
    store.damage(
        &pack,
        Damage::FlippedBit { offset_bytes: u64::from(location.offset) + 1000, bit: 0 },
    );
    assert_eq!(reader.chunk(chunk, Vec::new()).unwrap_err().kind(), ErrorKind::Corrupt);
    let damaged = Damaged {
        copies: vec![DamagedCopy { pack: location.pack, chunk }],
        missing_packs: Vec::new(),
    };
    let name = ObjectName::damaged(SessionId::from_bytes([8; 16]));
    let _created = repo.store().create(&name, &damaged.encode()).unwrap();
    back_up_bytes(&repo, "vm", &disk).unwrap();
    assert!(reader.chunk(chunk, Vec::new()).unwrap().bytes() == disk);
}
