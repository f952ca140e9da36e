//! Merging, with copies, damage and crashes.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::base::id::SegmentId;
use crate::base::pack_set::PackSet;
use crate::error::ErrorKind;
use crate::format::layout::ObjectName;
use crate::index::builder::publish_segment;
use crate::index::lookup::Index;
use crate::index::merge::{merge, merge_due};
use crate::index::segment::Segment;
use crate::index::testing::{Draw, Entry, contents, listed, model, open, pack, plain};
use crate::monitor::VoidMonitor;
use crate::store::Store;
use crate::store::testing::{Damage, DamagingStore, MemoryStore};

fn publish(store: &dyn Store, entries: &[Entry]) -> SegmentId {
    publish_segment(store, &plain(), entries.to_vec()).unwrap().unwrap()
}

fn load(store: &dyn Store) -> Index {
    Index::load(store, &plain(), &VoidMonitor).unwrap()
}

fn merge_all(store: &dyn Store) -> SegmentId {
    merge(store, &plain(), load(store).segments(), &PackSet::default()).unwrap()
}

fn assert_same(index: &Index, entries: &[Entry]) {
    for (chunk, copies) in model(entries) {
        assert_eq!(index.locations(chunk).unwrap(), copies);
    }
}

#[test]
fn a_merged_segment_has_every_copy_once_and_stands_alone() {
    let (store, draw) = (MemoryStore::new(), Draw::new(1));
    let entries = draw.entries(5000);
    let copies: Vec<Entry> =
        entries.iter().step_by(3).map(|(chunk, _)| (*chunk, draw.location())).collect();
    let parts = [&entries[..2000], &entries[1500..], &copies[..], &entries[4999..]];
    let inputs: BTreeSet<SegmentId> = parts.iter().map(|part| publish(&store, part)).collect();
    let merged = merge_all(&store);
    assert_eq!(listed(&store), [merged].into());
    let segment = open(&store, merged);
    assert_eq!(contents(&segment), model(&[&entries[..], &copies[..]].concat()));
    assert_eq!(segment.superseded().unwrap(), inputs.into_iter().collect::<Vec<_>>());
    segment.check().unwrap();
}

#[test]
fn two_merges_of_the_same_segments_leave_one_and_overlapping_ones_lose_nothing() {
    let (store, draw) = (MemoryStore::new(), Draw::new(9));
    let entries = draw.entries(600);
    entries.chunks(200).for_each(|part| {
        publish(&store, part);
    });
    let before = load(&store);
    let merged = merge_all(&store);
    assert_eq!(merge(&store, &plain(), before.segments(), &PackSet::default()).unwrap(), merged);
    assert_eq!(listed(&store), [merged].into());
    let overlapping =
        merge(&store, &plain(), &before.segments()[1..], &PackSet::default()).unwrap();
    assert_eq!(listed(&store), [merged, overlapping].into());
    assert_same(&load(&store), &entries);
    assert_eq!(contents(&open(&store, merge_all(&store))), model(&entries));
}

#[test]
fn a_merge_leaves_out_the_packs_that_are_about_to_go() {
    let (store, entries) = (MemoryStore::new(), Draw::new(2).entries(3000));
    entries.chunks(1000).for_each(|part| {
        publish(&store, part);
    });
    let without: PackSet = (0..150).map(pack).collect();
    let merged = merge(&store, &plain(), load(&store).segments(), &without).unwrap();
    let kept: Vec<Entry> =
        entries.into_iter().filter(|(_, location)| !without.contains(&location.pack)).collect();
    let segment = open(&store, merged);
    assert_eq!(contents(&segment), model(&kept));
    assert!(segment.packs().all(|pack| !without.contains(&pack.unwrap())));
}

#[test]
fn a_merge_that_leaves_nothing_still_says_what_it_replaces() {
    let store = MemoryStore::new();
    let input = publish(&store, &Draw::new(3).entries(100));
    let without: PackSet = (0..300).map(pack).collect();
    let merged = merge(&store, &plain(), load(&store).segments(), &without).unwrap();
    let segment = open(&store, merged);
    assert_eq!((segment.entry_count(), segment.superseded().unwrap()), (0, vec![input]));
    assert_eq!(listed(&store), [merged].into());
}

#[test]
fn a_damaged_input_stops_the_merge_before_anything_is_published_or_deleted() {
    let store = DamagingStore::new(MemoryStore::new());
    let draw = Draw::new(4);
    let ids: BTreeSet<SegmentId> = (0..3).map(|_| publish(&store, &draw.entries(1000))).collect();
    let bytes = store.len_bytes(&ObjectName::segment(*ids.first().unwrap())).unwrap();
    let inputs = |index: &Index| index.segments().to_vec();
    for offset_bytes in (0..bytes / 2).step_by(4096) {
        let name = ObjectName::segment(*ids.first().unwrap());
        store.damage(&name, Damage::FlippedBit { offset_bytes, bit: 3 });
        let outcome = merge(&store, &plain(), &inputs(&load(&store)), &PackSet::default());
        assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Corrupt);
        assert_eq!(listed(&store), ids);
        store.heal();
    }
}

#[test]
fn segments_of_condemned_packs_are_not_merged() {
    let (store, mut draw) = (MemoryStore::new(), Draw::new(5));
    let mut mergeable = BTreeSet::new();
    for number in 0..10 {
        draw.packs = if number < 2 { 300 } else { 3 };
        let id = publish(&store, &draw.entries(50));
        if number >= 2 {
            mergeable.insert(id);
        }
    }
    let index = load(&store);
    let ids = |inputs: Vec<Arc<Segment>>| inputs.iter().map(|s| s.id()).collect::<BTreeSet<_>>();
    assert_eq!(merge_due(&index, &PackSet::default()).map(ids).unwrap().len(), 10);
    let condemned: PackSet = (3..300).map(pack).collect();
    assert_eq!(merge_due(&index, &condemned).map(ids), Some(mergeable));
    let condemned: PackSet = (0..300).map(pack).collect();
    assert!(merge_due(&index, &condemned).is_none());
}

#[test]
fn publishing_and_merging_by_plan_keeps_everything_in_few_segments() {
    let (store, draw) = (MemoryStore::new(), Draw::new(6));
    let entries = draw.entries(700);
    for entry in &entries {
        publish(&store, std::slice::from_ref(entry));
        while let Some(inputs) = merge_due(&load(&store), &PackSet::default()) {
            merge(&store, &plain(), &inputs, &PackSet::default()).unwrap();
        }
    }
    let index = load(&store);
    assert!(index.segment_count() <= 4 * 7, "{} segments", index.segment_count());
    assert_same(&index, &entries);
}

#[test]
fn a_crash_anywhere_in_a_merge_loses_no_entry() {
    let draw = Draw::new(7);
    let entries = draw.entries(600);
    let copies: usize = model(&entries).values().map(Vec::len).sum();
    for step in 1..200 {
        let store = MemoryStore::new();
        entries.chunks(100).for_each(|part| {
            publish(&store, part);
        });
        let index = load(&store);
        store.crash_after(step);
        let is_through = merge(&store, &plain(), index.segments(), &PackSet::default()).is_ok();
        for seed in 0..5 {
            let found = load(&store.reboot(seed));
            assert!(found.damaged_segments().is_empty());
            assert_same(&found, &entries);
            assert_eq!(found.entry_count(), copies as u64);
        }
        if is_through {
            return;
        }
    }
    panic!("the merge never ended");
}

#[test]
fn what_a_merge_that_was_cut_off_left_never_comes_back() {
    let draw = Draw::new(8);
    let mut entries = (0..200).map(|_| (draw.chunk(), draw.location()));
    let first: Vec<Entry> = entries.by_ref().take(100).collect();
    let second: Vec<Entry> = entries.collect();
    for step in 1..60 {
        let store = MemoryStore::new();
        publish(&store, &first);
        let index = load(&store);
        store.crash_after(step);
        // Takes out everything, as a prune does that deletes all these packs.
        let without: PackSet = (0..300).map(pack).collect();
        let is_through = merge(&store, &plain(), index.segments(), &without).is_ok();
        for seed in 0..8 {
            let store = store.reboot(seed);
            let was_replaced = load(&store).entry_count() == 0;
            publish(&store, &second);
            merge_all(&store);
            for seed in 0..8 {
                let index = load(&store.reboot(seed));
                let is_back = index.contains(first[0].0).unwrap();
                assert_eq!(is_back, !was_replaced, "step {step}");
                assert_same(&index, &second);
            }
        }
        if is_through {
            return;
        }
    }
    panic!("the merge never ended");
}
