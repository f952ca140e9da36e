//! A catalogue that does not tell the truth, under right checksums and, in an encrypted repository,
//! sealed by a holder of the keys: whoever acts on a restore point goes by its commit.

use std::ffi::OsStr;
use std::sync::Arc;

use backstop::base::id::CatalogueId;
use backstop::error::ErrorKind;
use backstop::format::catalogue::Catalogue;
use backstop::format::commit::{Decision, PointRecord};
use backstop::format::layout::{Area, ObjectName};
use backstop::monitor::RecordingMonitor;
use backstop::point::PointSelector;
use backstop::repo::Repository;
use backstop::scrub::ScrubLevel;
use backstop::store::Published;
use backstop::vfs::{Access, Ino, Tree, TreeOptions};

use crate::repo::read_back;
use crate::scrub::check;
use crate::{back_up, catalogues, found, repository};

/// A repository whose only catalogue says of `vm0`'s newest restore point that it is `lie`.
fn lying(lie: impl FnOnce(&[PointRecord], &mut PointRecord)) -> Lab {
    let (_, repo, monitor) = repository(9);
    let points = repo.points().unwrap();
    let truth = points[2].clone();
    assert_eq!((&*truth.vm, truth.sequence), ("vm0", 3));
    let mut lies = truth.clone();
    lie(&points, &mut lies);
    for name in catalogues(&repo) {
        repo.store().delete(&name).unwrap();
    }
    let told = Decision::Committed { point: Box::new(lies) }.encode();
    let copies: Vec<_> = points
        .iter()
        .map(|point| (point.id, Decision::Committed { point: Box::new(point.clone()) }.encode()))
        .collect();
    let mut commits: Vec<(_, &[u8])> = Vec::new();
    for (id, copy) in &copies {
        commits.push((*id, if *id == truth.id { &told } else { copy }));
    }
    commits.sort_unstable();
    let id = CatalogueId::from_bytes([5; 16]);
    let bytes = Catalogue { id, repo: repo.id(), commits }.encode();
    let name = ObjectName::catalogue(id);
    assert_eq!(repo.store().create(&name, &bytes).unwrap(), Published::Created);
    Lab { repo, monitor, truth, name }
}

struct Lab {
    repo: Repository,
    monitor: Arc<RecordingMonitor>,
    truth: PointRecord,
    name: ObjectName,
}

/// Gives the restore point the disks of another one.
fn other_disks(points: &[PointRecord], lie: &mut PointRecord) {
    assert_ne!(points[0].disks, lie.disks);
    lie.disks.clone_from(&points[0].disks);
}

#[test]
fn a_restore_point_is_found_as_its_commit_says() {
    let Lab { repo, truth, name, .. } = lying(other_disks);
    for selector in ["vm0@latest".to_owned(), truth.id.to_string()] {
        let found = repo.find_point(&selector.parse::<PointSelector>().unwrap()).unwrap();
        assert_eq!(found, truth);
        assert_eq!(read_back(&repo, &found.disks[0], false).unwrap(), crate::noise(100, 6));
    }
    assert!(check(&repo, ScrubLevel::List).affected.is_empty());
    assert_eq!(found(&repo), [name.to_string()].into(), "a scrub finds it");
}

#[test]
fn one_that_is_said_to_be_of_another_vm_is_found_by_its_own() {
    let Lab { repo, truth, .. } = lying(|_, lie| "vm1".clone_into(&mut lie.vm));
    let newest = repo.find_point(&PointSelector::Latest { vm: "vm1".to_owned() }).unwrap();
    assert_eq!((&*newest.vm, newest.sequence), ("vm1", 3));
    let error = repo.confirm(&PointRecord { vm: "vm1".to_owned(), ..truth.clone() }).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    repo.confirm(&truth).unwrap();
}

#[test]
fn a_mount_opens_nothing_of_a_restore_point_whose_commit_says_something_else() {
    let Lab { repo, truth, monitor, .. } = lying(other_disks);
    let options = TreeOptions { read_ahead_threads: 0, ..TreeOptions::default() };
    let tree = Tree::new(repo, &options).unwrap();
    let mut ino = Ino::ROOT;
    for name in ["vms", "vm0", &truth.time.to_string()] {
        ino = tree.lookup(ino, OsStr::new(name)).unwrap().ino;
    }
    for file in ["disk.raw", "point.json"] {
        let file = tree.lookup(ino, OsStr::new(file)).unwrap().ino;
        let error = tree.open(file, Access::Read).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.chain().contains(&truth.id.to_string()), "{}", error.chain());
    }
    assert_eq!(monitor.recorded().problems.len(), 2);
}

#[test]
fn a_backup_follows_the_commit_and_not_its_copy() {
    let Lab { repo, truth, .. } = lying(|_, lie| lie.sequence = 77);
    let next = back_up(&repo, 9);
    assert_eq!(next.sequence, truth.sequence + 1);
    let named: Vec<_> = found(&repo).into_iter().collect();
    assert!(named.iter().all(|name| name.starts_with(Area::Catalogues.directory())), "{named:?}");
}
