//! Catalogues of commits: they make listings cheap, and change no answer.

#[path = "catalogue/budget.rs"]
mod budget;
#[path = "catalogue/lies.rs"]
mod lies;
#[path = "support/repo.rs"]
mod repo;
#[path = "support/scrub.rs"]
mod scrub;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use backstop::base::cancel::Cancel;
use backstop::base::id::{CatalogueId, PointId, RepoId};
use backstop::format::catalogue::Catalogue;
use backstop::format::commit::{Decision, PointRecord};
use backstop::format::layout::{Area, ObjectName};
use backstop::monitor::{Monitor, RecordingMonitor};
use backstop::point::{Commits, Points};
use backstop::prune::forget::{dropped, forget, undo};
use backstop::prune::{PruneOptions, prune};
use backstop::repair::{Action, RepairOptions, repair};
use backstop::repo::{BackupSession, Environment, Repository, gather_commits, rebuild_index};
use backstop::scrub::{Finding, ScrubLevel};
use backstop::store::testing::{Damage, DamagingStore, MemoryStore};
use backstop::store::{Published, Store};

use crate::repo::{back_up_bytes, create_repo, environment, noise, open_repo};
use crate::scrub::check;

/// Commits that are read one by one in these tests.
const FEW: usize = 3;

fn watched_world(seed: u64, monitor: &Arc<RecordingMonitor>) -> Environment {
    let monitor = Arc::clone(monitor) as Arc<dyn Monitor>;
    Environment { few_commits: FEW, monitor, ..environment(seed) }
}

/// A repository with restore points of three VMs by turns, and who watches it.
fn repository(points: usize) -> (DamagingStore<MemoryStore>, Repository, Arc<RecordingMonitor>) {
    let store = DamagingStore::new(MemoryStore::new());
    let monitor = Arc::new(RecordingMonitor::default());
    let repo = create_repo(Arc::new(store.clone()), watched_world(1, &monitor)).unwrap();
    (0..points).for_each(|n| drop(back_up(&repo, n)));
    (store, repo, monitor)
}

fn back_up(repo: &Repository, number: usize) -> PointRecord {
    back_up_bytes(repo, &format!("vm{}", number % 3), &noise(100, number as u64)).unwrap()
}

fn catalogues(repo: &Repository) -> Vec<ObjectName> {
    repo.store().list(Area::Catalogues).unwrap()
}

/// What the commits say, whatever catalogues do.
fn by_commits(repo: &Repository) -> Points {
    Commits::one_by_one(&**repo.store()).points().unwrap()
}

fn records(points: Points) -> Vec<PointRecord> {
    points.entries.into_iter().map(|entry| entry.record).collect()
}

/// How many commits a listing reads one by one, after it was compared with the commits.
fn read_singly(repo: &Repository) -> usize {
    let listed = repo.commits().points().unwrap();
    assert!(listed.problems.is_empty());
    let singly = listed.uncatalogued;
    let truth = by_commits(repo);
    let hashes = |points: &Points| -> Vec<_> {
        points.entries.iter().map(|entry| (entry.record.id, entry.commit_blake3)).collect()
    };
    assert_eq!(hashes(&listed), hashes(&truth));
    assert_eq!(records(listed), records(truth));
    singly
}

fn prune_all(repo: &Repository) {
    let options = PruneOptions {
        dry_run: false,
        wait: Duration::ZERO,
        live_percent: 50,
        cancel: Cancel::default(),
    };
    prune(repo, &options).unwrap();
}

#[test]
fn backups_gather_commits_so_that_few_are_read_one_by_one_and_few_catalogues_stay() {
    let (_, repo, monitor) = repository(0);
    let mut most = 0;
    for number in 0..80 {
        back_up(&repo, number);
        let few = read_singly(&repo);
        assert!(few <= FEW, "{few} commits are read one by one");
        most = most.max(catalogues(&repo).len());
    }
    assert!((1..=5).contains(&most), "{most} catalogues");
    assert_eq!(repo.points().unwrap().len(), 80);
    assert!(check(&repo, ScrubLevel::List).is_clean());
    assert_eq!(monitor.recorded().problems, [""; 0]);
}

#[test]
fn a_repository_of_few_restore_points_has_no_catalogue() {
    let (_, repo, _) = repository(FEW);
    assert_eq!(catalogues(&repo), []);
    back_up(&repo, FEW);
    assert_eq!(catalogues(&repo).len(), 1);
}

#[test]
fn decisions_that_are_no_restore_points_are_gathered_too() {
    let (_, repo, _) = repository(0);
    for _ in 0..10 {
        BackupSession::begin(&repo, "vm").unwrap().abort().unwrap();
    }
    back_up(&repo, 0);
    assert_eq!((read_singly(&repo), repo.points().unwrap().len()), (0, 1));
}

#[test]
fn a_dropped_restore_point_is_in_no_listing_and_comes_back_by_undo_until_a_prune_takes_it() {
    let (_, repo, _) = repository(12);
    let points = repo.points().unwrap();
    forget(&repo, points[5].id).unwrap();
    read_singly(&repo);
    assert_eq!(dropped(&repo).unwrap(), [points[5].clone()]);
    undo(&repo, points[5].id).unwrap();
    assert_eq!(repo.points().unwrap(), points);
    points[2..].iter().for_each(|point| forget(&repo, point.id).unwrap());
    prune_all(&repo);
    read_singly(&repo);
    assert_eq!(repo.points().unwrap(), points[..2]);
    assert_eq!(dropped(&repo).unwrap(), []);
    let left: usize = catalogues(&repo).iter().map(|name| held(&repo, name).len()).sum();
    assert!(left <= 2, "{left} commits are held, of which 2 are there");
}

fn held(repo: &Repository, name: &ObjectName) -> Vec<PointId> {
    let bytes = repo.store().read(name, 4 << 20).unwrap();
    let commits = Catalogue::decode(&bytes).unwrap().commits;
    commits.into_iter().map(|(session, _)| session).collect()
}

/// The names of findings.
fn found(repo: &Repository) -> HashSet<String> {
    let findings = check(repo, ScrubLevel::List).findings;
    let name = |finding| match finding {
        Finding::Object { name, .. } => name,
        other => panic!("{other:?}"),
    };
    findings.into_iter().map(name).collect()
}

#[test]
fn a_damaged_catalogue_costs_reads_and_is_told_found_and_made_anew() {
    for by_repair in [true, false] {
        let (store, repo, monitor) = repository(12);
        let names = catalogues(&repo);
        for name in &names {
            store.damage(name, Damage::FlippedBit { offset_bytes: 70, bit: 2 });
        }
        assert_eq!(repo.points().unwrap(), records(by_commits(&repo)));
        let told = monitor.recorded().problems;
        assert!(!told.is_empty() && told[0].contains(&names[0].to_string()), "{told:?}");
        let named: HashSet<_> = names.iter().map(ObjectName::to_string).collect();
        assert_eq!(found(&repo), named);
        match by_repair {
            true => {
                let cancel = Cancel::default();
                let report =
                    repair(&repo, &RepairOptions { apply: true, threads: 1, cancel }).unwrap();
                let [Action::RebuildCatalogues { .. }] = &report.actions.list[..] else {
                    panic!("{report:?}")
                };
                assert!(report.is_whole());
            }
            false => {
                let report = rebuild_index(&repo, &Cancel::default()).unwrap();
                assert_eq!(report.catalogued_commits, 12);
            }
        }
        assert!(catalogues(&repo).iter().all(|name| !names.contains(name)));
        assert_eq!(read_singly(&repo), 0);
        assert_eq!(found(&repo), HashSet::new());
    }
}

#[test]
fn one_that_is_foreign_misnamed_or_newer_is_passed_over_and_told_and_only_a_newer_one_is_whole() {
    let (store, repo, monitor) = repository(FEW + 1);
    let name = catalogues(&repo).pop().unwrap();
    let good = repo.store().read(&name, 4 << 20).unwrap();
    let catalogue = Catalogue::decode(&good).unwrap();
    let foreign = Catalogue { repo: RepoId::from_bytes([9; 16]), ..catalogue.clone() }.encode();
    let misnamed = Catalogue { id: CatalogueId::from_bytes([9; 16]), ..catalogue }.encode();
    for (bytes, what, is_damage) in [
        (foreign, "another repository", true),
        (misnamed, "than its name says", true),
        (newer(&good), "newer", false),
    ] {
        store.inner().delete(&name).unwrap();
        assert_eq!(repo.store().create(&name, &bytes).unwrap(), Published::Created);
        assert_eq!(read_all(&repo), records(by_commits(&repo)));
        let told = monitor.recorded().problems.pop().unwrap();
        assert!(told.contains(what), "{told}");
        assert_eq!(!found(&repo).is_empty(), is_damage, "{what}");
    }
    // Nobody deletes what a newer release may use, and gathering goes on beside it.
    gather_commits(&repo).unwrap();
    assert_eq!(catalogues(&repo).len(), 2);
    assert!(catalogues(&repo).contains(&name));
}

fn read_all(repo: &Repository) -> Vec<PointRecord> {
    repo.points().unwrap()
}

/// The same catalogue in a version of tomorrow.
fn newer(good: &[u8]) -> Vec<u8> {
    let mut bytes = good.to_vec();
    bytes[8] = 2;
    let hash = backstop::base::hash::blake3_256(&[&bytes[..48], &bytes[80..]].concat());
    bytes[48..80].copy_from_slice(&hash);
    bytes
}

#[test]
fn one_that_cannot_be_read_or_has_vanished_costs_reads_alone() {
    let (store, repo, _) = repository(12);
    for name in catalogues(&repo) {
        store.damage(&name, Damage::Unreadable(0..u64::MAX));
    }
    assert_eq!(repo.points().unwrap().len(), 12);
    store.heal();
    for name in catalogues(&repo) {
        repo.store().delete(&name).unwrap();
    }
    assert_eq!(repo.points().unwrap().len(), 12);
    gather_commits(&repo).unwrap();
    assert_eq!(read_singly(&repo), 0);
}

#[test]
fn commits_that_cannot_be_read_or_are_foreign_are_in_no_catalogue() {
    let (store, repo, _) = repository(0);
    let first = back_up(&repo, 0);
    let foreign = PointRecord {
        id: PointId::from_bytes([8; 16]),
        repo: RepoId::from_bytes([9; 16]),
        ..first.clone()
    };
    let decision = Decision::Committed { point: Box::new(foreign.clone()) };
    let name = ObjectName::commit(foreign.id);
    assert_eq!(repo.store().create(&name, &decision.encode()).unwrap(), Published::Created);
    store.damage(&ObjectName::commit(first.id), Damage::Truncated(20));
    (1..8).for_each(|n| drop(back_up(&repo, n)));
    for name in catalogues(&repo) {
        let held = held(&repo, &name);
        assert!(!held.contains(&first.id) && !held.contains(&foreign.id));
    }
    store.heal();
    assert!(records(repo.commits().points().unwrap()).contains(&first));
}

#[test]
fn two_that_gather_at_once_leave_what_the_next_one_makes_one() {
    let (store, repo, monitor) = repository(FEW);
    let other = open_repo(Arc::new(store.clone()), watched_world(2, &monitor)).unwrap();
    let commits: Vec<PointRecord> = (3..9).map(|n| back_up(&repo, n)).collect();
    let all = catalogues(&repo);
    // As if another one had gathered from the same listing.
    let copies = repo.store().read(&all[0], 4 << 20).unwrap();
    let id = CatalogueId::from_bytes([7; 16]);
    let twin = Catalogue { id, ..Catalogue::decode(&copies).unwrap() }.encode();
    assert_eq!(repo.store().create(&ObjectName::catalogue(id), &twin).unwrap(), Published::Created);
    assert_eq!(other.points().unwrap().len(), commits.len() + FEW);
    gather_commits(&other).unwrap();
    assert_eq!(read_singly(&other), 0);
    let held: Vec<_> = catalogues(&other).iter().flat_map(|name| held(&other, name)).collect();
    assert_eq!(held.len(), held.iter().collect::<HashSet<_>>().len(), "nothing is held twice");
    assert_eq!(monitor.recorded().problems, [""; 0]);
}
