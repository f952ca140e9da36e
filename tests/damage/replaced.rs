//! Objects that are cut, zeroed, replaced by others or by older ones: always found, and no read
//! gives wrong bytes.

use std::sync::Arc;

use backstop::base::id::{PackId, PointId};
use backstop::format::commit::{Decision, PointRecord};
use backstop::format::layout::{Area, ObjectName};
use backstop::format::lists::{Condemned, Damaged, Forgotten};
use backstop::repo::{BackupSession, Repository};
use backstop::scrub::ScrubLevel;
use backstop::store::Store;
use backstop::store::testing::{Damage, SeededChance};

use crate::repo::noise;
use crate::scrub::{check, published};
use crate::{Damaging, Stored, is_named, read_all, small_repo};

/// Objects up to this length are cut at every length.
const SMALL_BYTES: u64 = 700;
/// Random cuts and zeroed ranges of an object.
const TRIES: usize = 16;

/// Kinds of objects that do not hold their own name: that one has become another whole one of its
/// kind, nobody can tell.
const NAMELESS: [Area; 3] = [Area::Sessions, Area::Condemned, Area::Damaged];

/// Whether a scrub names the object itself.
fn is_small(name: &ObjectName) -> bool {
    !matches!(name.area(), Area::Packs | Area::Index)
}

/// Two of every kind of object, with different contents.
fn publish_all_kinds(store: &dyn Store, point: &PointRecord) {
    for number in 1..=2 {
        let id: PointId = format!("{number:032x}").parse().unwrap();
        let forgotten = Forgotten { point: id, time: point.time };
        let pack = PackId::from_bytes([number; 32]);
        let (mut condemned, mut damaged) = (Condemned::default(), Damaged::default());
        condemned.packs.push(pack);
        damaged.missing_packs.push(pack);
        published(store, &ObjectName::forgotten(id), &forgotten.encode());
        published(store, &ObjectName::condemned(id), &condemned.encode());
        published(store, &ObjectName::damaged(id), &damaged.encode());
    }
}

fn objects(store: &Damaging) -> Vec<(ObjectName, Arc<[u8]>)> {
    let areas = Area::ALL.into_iter().filter(|area| *area != Area::Locks);
    let names = areas.flat_map(|area| store.list(area).unwrap());
    let read = |name: ObjectName| {
        let bytes = store.read(&name, 64 << 20).unwrap();
        (name, Arc::from(bytes))
    };
    names.map(read).collect()
}

/// Every kind of damage to one object, the others at hand.
fn damages(
    name: &ObjectName,
    bytes: &[u8],
    all: &[(ObjectName, Arc<[u8]>)],
    dice: &SeededChance,
) -> Vec<Damage> {
    let len = bytes.len() as u64;
    let mut damages: Vec<Damage> = match len <= SMALL_BYTES {
        true => (0..len).map(Damage::Truncated).collect(),
        false => (0..TRIES).map(|_| Damage::Truncated(dice.below(bytes.len()) as u64)).collect(),
    };
    damages.extend([Damage::Truncated(0), Damage::Truncated(len - 1), Damage::Zeroed(0..len)]);
    for _ in 0..TRIES {
        let start = dice.below(bytes.len());
        let end = start + 1 + dice.below(bytes.len() - start);
        if bytes[start..end].iter().any(|byte| *byte != 0) {
            damages.push(Damage::Zeroed(start as u64..end as u64));
        }
    }
    let others = all.iter().filter(|(other, theirs)| {
        let is_alike = other.area() == name.area() && NAMELESS.contains(&name.area());
        other != name && **theirs != *bytes && !is_alike
    });
    damages.extend(others.map(|(_, theirs)| Damage::Replaced(Arc::clone(theirs))));
    damages.push(Damage::Replaced(Arc::from(noise(bytes.len(), dice.next()))));
    damages.push(Damage::Replaced(Arc::from([bytes, bytes].concat())));
    damages.push(Damage::Replaced(Arc::from([bytes, &[0]].concat())));
    damages
}

/// Damages one object in every way; how many ways there were.
fn damage_in_every_way(
    (store, repo, points): (&Damaging, &Repository, &[Stored]),
    (name, bytes): &(ObjectName, Arc<[u8]>),
    all: &[(ObjectName, Arc<[u8]>)],
    dice: &SeededChance,
) -> usize {
    let damages = damages(name, bytes, all, dice);
    let count = damages.len();
    for (number, damage) in damages.into_iter().enumerate() {
        let what = format!("{name}, damage {number}: {:.60}", format!("{damage:?}"));
        store.damage(name, damage);
        let report = check(repo, ScrubLevel::Points);
        assert!(!report.is_clean(), "{what} is not found");
        assert!(!is_small(name) || is_named(&report, name), "{what} is not named: {report:?}");
        let failed = read_all(repo, points);
        assert!(failed == 0 || !report.affected.is_empty(), "{what}: {failed} reads fail");
        store.heal();
        forget_records_but(store, all);
    }
    count
}

/// Removes what scrubs wrote down, and leaves what was there before.
fn forget_records_but(store: &Damaging, all: &[(ObjectName, Arc<[u8]>)]) {
    for name in store.list(Area::Damaged).unwrap() {
        if all.iter().all(|(kept, _)| *kept != name) {
            store.inner().delete(&name).unwrap();
        }
    }
}

#[test]
fn an_object_that_is_cut_zeroed_or_replaced_by_another_is_found() {
    let (store, repo, points) = small_repo();
    publish_all_kinds(&**repo.store(), &points[0].0);
    let session = BackupSession::begin(&repo, "other").unwrap();
    let all = objects(&store);
    let dice = SeededChance::new(1);
    let lab = (&store, &repo, &points[..]);
    let ways: usize = all.iter().map(|object| damage_in_every_way(lab, object, &all, &dice)).sum();
    assert!(ways > 3000, "{ways} ways of damage are few");
    session.abort().unwrap();
}

#[test]
fn a_restore_point_that_became_a_session_that_gave_up_is_missed_by_the_one_that_follows_it() {
    let (store, repo, points) = small_repo();
    let name = ObjectName::commit(points[0].0.id);
    for decision in [Decision::Fenced, Decision::Aborted] {
        store.damage(&name, Damage::Replaced(Arc::from(decision.encode())));
        let report = check(&repo, ScrubLevel::List);
        // And the catalogue of commits has another one, where what is there opens at all.
        let found = if crate::repo::is_encrypted() { 1 } else { 2 };
        assert!(report.findings.len() == found && is_named(&report, &name), "{report:?}");
        store.heal();
    }
}
