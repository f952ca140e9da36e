//! Packs come back from their parity.

use std::collections::BTreeSet;
use std::sync::Arc;

use backstop::format::entry::EntryKind;
use backstop::format::layout::{Area, ObjectName};
use backstop::format::parity::shard_len;
use backstop::repair::Action;
use backstop::repo::Repository;
use backstop::scrub::{Finding, ScrubLevel};
use backstop::store::Store;
use backstop::store::testing::{MemoryStore, SeededChance};

use crate::repo::{MIB, back_up_bytes, environment, noise};
use crate::scrub::check;
use crate::{
    Stored, apply, assert_healed, bytes_of, flip, ids, overwrite, packs_of_kind, restorable, run,
};

/// The small repository with parity; one of its packs has many shards.
fn protected_repo() -> (MemoryStore, Repository, Stored) {
    let store = MemoryStore::new();
    let created = crate::repo::create_repo_with_parity(Arc::new(store.clone()), environment(1));
    let repo = created.unwrap();
    let disk = [noise(MIB, 5), noise(70_000, 6)].concat();
    let point = back_up_bytes(&repo, "vm", &disk).unwrap();
    (store, repo, (point, vec![disk]))
}

#[test]
fn every_pack_has_parity_before_the_index_names_it() {
    let (store, repo, stored) = protected_repo();
    let packs = store.list(Area::Packs).unwrap();
    let parity: BTreeSet<_> = store.list(Area::Parity).unwrap().into_iter().collect();
    let wanted: BTreeSet<_> =
        packs.iter().filter_map(ObjectName::pack_id).map(ObjectName::parity).collect();
    assert_eq!(parity, wanted);
    assert!(crate::repo::open_repo(Arc::new(store.clone()), environment(2)).is_ok());
    let total: u64 = packs.iter().map(|pack| store.len_bytes(pack).unwrap()).sum();
    let more: u64 = parity.iter().map(|name| store.len_bytes(name).unwrap()).sum();
    assert_eq!(stored.0.stats.stored_bytes, total + more);
    assert!(more < total / 32 + 3000 * packs.len() as u64, "{more} for {total}");
    assert_healed(&repo, &[stored]);
}

#[test]
fn damage_within_the_reach_of_parity_is_healed_byte_for_byte() {
    for seed in 0..120 {
        let (store, repo, stored) = protected_repo();
        let dice = SeededChance::new(seed);
        let mut before = Vec::new();
        for pack in store.list(Area::Packs).unwrap() {
            let bytes = bytes_of(&store, &pack);
            before.push((pack.clone(), bytes.clone()));
            let shard = shard_len(bytes.len());
            let shards = bytes.len().div_ceil(shard);
            let mut bad = bytes.clone();
            match dice.below(4) {
                0 => bad.truncate(bytes.len() - dice.below((3 * shard).min(bytes.len()))),
                1 => bad.extend_from_slice(&noise(1 + dice.below(5000), seed)),
                _ => {
                    let hurt: BTreeSet<_> = (0..4).map(|_| dice.below(shards)).collect();
                    for shard_number in hurt {
                        let end = ((shard_number + 1) * shard).min(bytes.len());
                        let at = (shard_number * shard + dice.below(shard)).min(end - 1);
                        bad[at..end].fill(0x5a);
                    }
                }
            }
            overwrite(&store, &pack, &bad);
        }
        let scrubbed = check(&repo, ScrubLevel::Chunks);
        let is_whole = before.iter().all(|(pack, bytes)| bytes_of(&store, pack) == *bytes);
        assert_eq!(is_whole, scrubbed.findings.is_empty(), "seed {seed}");
        let plan = run(&repo, false).unwrap();
        let done = apply(&repo);
        assert_eq!(
            (&plan.actions, plan.is_whole()),
            (&done.actions, true),
            "seed {seed}: {plan:?}"
        );
        for (pack, bytes) in &before {
            assert!(bytes_of(&store, pack) == *bytes, "seed {seed}: {pack}");
        }
        assert_healed(&repo, &[stored]);
    }
}

#[test]
fn damage_out_of_the_reach_of_parity_is_salvaged_and_named_and_nothing_is_deleted() {
    let (store, repo, _stored) = protected_repo();
    let wanted = ids(&repo);
    let pack = packs_of_kind(&repo, EntryKind::Data)[0];
    let name = ObjectName::pack(pack);
    let mut bytes = bytes_of(&store, &name);
    let shard = shard_len(bytes.len());
    // Five shards of the first entry.
    (1..6).for_each(|number| bytes[number * shard] ^= 1);
    overwrite(&store, &name, &bytes);
    let before = restorable(&repo, &wanted);
    let report = apply(&repo);
    assert_eq!(report.lost.list.len(), 1, "{report:?}");
    assert!(before.is_subset(&restorable(&repo, &wanted)));
    let quarantine = store.list(Area::Quarantine).unwrap();
    assert!(quarantine.contains(&ObjectName::quarantined(&name, 0)));
    assert!(quarantine.contains(&ObjectName::quarantined(&ObjectName::parity(pack), 0)));
    assert!(check(&repo, ScrubLevel::Chunks).findings.is_empty());
    assert!(apply(&repo).actions.list.is_empty());
}

#[test]
fn parity_that_is_damaged_or_lost_is_found_and_written_anew() {
    for is_lost in [false, true] {
        let (store, repo, stored) = protected_repo();
        let names = store.list(Area::Parity).unwrap();
        let before: Vec<_> = names.iter().map(|name| bytes_of(&store, name)).collect();
        match is_lost {
            true => store.delete(&names[0]).unwrap(),
            false => flip(&store, &names[0], before[0].len() - 10),
        }
        let scrubbed = check(&repo, ScrubLevel::Hash);
        let [Finding::Object { name, .. }] = &scrubbed.findings[..] else { panic!("{scrubbed:?}") };
        assert_eq!(*name, names[0].to_string());
        let report = apply(&repo);
        assert!(matches!(report.actions.list[..], [Action::WriteParity { .. }]), "{report:?}");
        let after: Vec<_> = names.iter().map(|name| bytes_of(&store, name)).collect();
        assert!(after == before);
        assert_healed(&repo, &[stored]);
    }
}

#[test]
fn a_repair_from_parity_that_is_killed_loses_nothing() {
    for cut in 1..60 {
        let (store, repo, stored) = protected_repo();
        let wanted = ids(&repo);
        for pack in store.list(Area::Packs).unwrap() {
            flip(&store, &pack, 300);
        }
        let before = restorable(&repo, &wanted);
        store.crash_after(cut);
        let _ = run(&repo, true);
        let store = store.reboot(cut);
        let repo = crate::repo::open_repo(Arc::new(store.clone()), environment(77)).unwrap();
        assert!(before.is_subset(&restorable(&repo, &wanted)), "cut {cut}");
        assert!(apply(&repo).is_whole(), "cut {cut}");
        assert_healed(&repo, &[stored]);
    }
}
