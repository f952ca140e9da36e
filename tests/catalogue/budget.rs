//! What looks at many restore points cost, in reads of the store.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::num::NonZeroU32;
use std::sync::Arc;

use backstop::base::id::PointId;
use backstop::base::zone::Zone;
use backstop::format::commit::{Decision, PointRecord};
use backstop::format::layout::{Area, ObjectName};
use backstop::point::PointSelector;
use backstop::prune::forget::judge;
use backstop::prune::retention::Policy;
use backstop::repo::{Repository, gather_commits};
use backstop::store::testing::{CountingStore, MemoryStore, StoreCounts};
use backstop::store::{Published, Store};
use backstop::vfs::{Access, Ino, Tree, TreeOptions};

use crate::repo::{back_up_bytes, new_repo};

const POINTS: u64 = 10_000;

/// A repository whose one restore point was written down over and over under other names.
fn many() -> (Arc<CountingStore<MemoryStore>>, Repository) {
    let store = Arc::new(CountingStore::new(MemoryStore::new()));
    let repo = new_repo(Arc::clone(&store) as Arc<dyn Store>);
    let first = back_up_bytes(&repo, "vm0", b"the bytes of a disk").unwrap();
    for number in 1..POINTS {
        let point = PointRecord {
            id: PointId::from_bytes(u128::from(number).to_be_bytes()),
            vm: format!("vm{}", number % 100),
            sequence: 2 + number,
            ..first.clone()
        };
        let name = ObjectName::commit(point.id);
        let commit = Decision::Committed { point: Box::new(point) }.encode();
        assert_eq!(repo.store().create(&name, &commit).unwrap(), Published::Created);
    }
    gather_commits(&repo).unwrap();
    (store, repo)
}

/// Asserts that commits and catalogues were listed once and read so often, catalogues in a few
/// reads.
fn assert_cheap(counts: &StoreCounts, commits: u64) {
    let (of_commits, catalogues) = (counts.of(Area::Commits), counts.of(Area::Catalogues));
    assert_eq!((of_commits.lists, of_commits.reads), (1, commits));
    assert_eq!(catalogues.lists, 1);
    assert!((1..=4).contains(&catalogues.reads), "{} reads", catalogues.reads);
    assert_eq!(counts.of(Area::Forgotten).lists, 1);
    assert_eq!(counts.of(Area::Packs).reads + counts.of(Area::Index).reads, 0);
}

#[test]
fn ten_thousand_restore_points_are_listed_found_judged_and_mounted_in_a_few_reads() {
    let (store, repo) = many();
    store.reset();
    assert_eq!(repo.points().unwrap().len() as u64, POINTS);
    assert_cheap(&store.reset(), 0);
    let newest = repo.find_point(&PointSelector::Latest { vm: "vm7".to_owned() }).unwrap();
    assert_eq!(newest.sequence, POINTS - 91);
    assert_cheap(&store.reset(), 1);
    let policy = Policy {
        last: NonZeroU32::new(3),
        periods: BTreeMap::new(),
        within_seconds: None,
        zone: Zone::UTC,
    };
    judge(&repo, &[], &policy).unwrap();
    assert_cheap(&store.reset(), 0);
    let options = TreeOptions { read_ahead_threads: 0, ..TreeOptions::default() };
    let tree = Tree::new(repo.clone(), &options).unwrap();
    store.reset();
    let mut ino = Ino::ROOT;
    for name in ["vms", "vm7"] {
        ino = tree.lookup(ino, OsStr::new(name)).unwrap().ino;
    }
    assert_cheap(&store.reset(), 0);
    let latest = tree.lookup(ino, OsStr::new("latest")).unwrap();
    let target = tree.read_link(latest.ino).unwrap();
    let point = tree.lookup(ino, OsStr::new(&*target)).unwrap();
    let disk = tree.lookup(point.ino, OsStr::new("disk.raw")).unwrap();
    store.reset();
    for _ in 0..2 {
        tree.open(disk.ino, Access::Read).unwrap();
    }
    assert_eq!(store.reset().of(Area::Commits).reads, 1, "whoever opens a disk reads its commit");
}

#[test]
fn a_backup_reads_the_commits_of_its_own_vm_and_no_others() {
    let (store, repo) = many();
    store.reset();
    back_up_bytes(&repo, "vm7", b"other bytes").unwrap();
    let counts = store.reset();
    assert_eq!(counts.of(Area::Commits).reads, POINTS / 100);
    assert_eq!(counts.of(Area::Catalogues).publishes, 0);
    for number in 0..64 {
        back_up_bytes(&repo, "new", &[number]).unwrap();
    }
    let counts = store.reset();
    assert_eq!(counts.of(Area::Catalogues).publishes, 1);
    assert!(counts.of(Area::Catalogues).published_bytes < 200_000, "full ones are not merged");
}
