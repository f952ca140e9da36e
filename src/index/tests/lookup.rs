//! All segments of a store together.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::base::id::{ChunkId, SegmentId};
use crate::error::{ErrorKind, Result};
use crate::format::layout::{Area, ObjectName};
use crate::format::segment::{PAGE_LEN, SegmentFooter};
use crate::index::builder::publish_segment;
use crate::index::lookup::Index;
use crate::index::page_writer::PageWriter;
use crate::index::testing::{Draw, Entry, REPO, keyed, model, plain};
use crate::index::writer::SegmentWriter;
use crate::monitor::{RecordingMonitor, VoidMonitor};
use crate::store::mapped::ObjectBytes;
use crate::store::testing::{Damage, DamagingStore, MemoryStore};
use crate::store::{Held, Space, Staged, Store};

fn publish(store: &dyn Store, entries: &[Entry]) -> SegmentId {
    publish_segment(store, &plain(), entries.to_vec()).unwrap().unwrap()
}

fn assert_finds_all(index: &Index, entries: &[Entry]) {
    for (chunk, copies) in model(entries) {
        assert_eq!(index.locations(chunk).unwrap(), copies);
        assert!(index.contains(chunk).unwrap());
    }
}

#[test]
fn an_index_gives_the_copies_of_all_segments_each_once() {
    let (store, draw) = (MemoryStore::new(), Draw::new(1));
    let entries = draw.entries(3000);
    for part in entries.chunks(500) {
        publish(&store, part);
    }
    publish(&store, &entries[200..900]);
    let index = Index::load(&store, &plain(), &VoidMonitor).unwrap();
    assert_eq!(index.segment_count(), 7);
    assert_finds_all(&index, &entries);
    let absent = draw.chunk();
    assert_eq!(index.locations(absent).unwrap(), []);
    assert!(!index.contains(absent).unwrap());
    let packs = entries.iter().map(|(_, location)| location.pack).collect();
    assert_eq!(index.packs().unwrap(), packs);
    assert!(index.segments().is_sorted_by_key(|s| std::cmp::Reverse(s.entry_count())));
}

#[test]
fn copies_are_handed_over_each_once_until_one_is_taken_in_whichever_segment_it_lies() {
    let (store, draw) = (MemoryStore::new(), Draw::new(5));
    let (chunk, copies) = (draw.chunk(), [draw.location(), draw.location(), draw.location()]);
    let others = draw.entries(100);
    for copy in copies {
        publish(&store, &[&others[..], &[(chunk, copies[0]), (chunk, copy)]].concat());
    }
    let index = Index::load(&store, &plain(), &VoidMonitor).unwrap();
    index.will_need(&[chunk, draw.chunk()]);
    for wanted in copies {
        let taken = index.find_copy(chunk, |copy| (*copy == wanted).then_some(*copy));
        assert_eq!(taken.unwrap(), Some(wanted));
    }
    let mut seen = Vec::new();
    let taken = index.find_copy(chunk, |copy| {
        seen.push(*copy);
        None::<()>
    });
    assert_eq!(taken.unwrap(), None);
    seen.sort_unstable_by_key(|copy| (copy.pack, copy.offset));
    assert_eq!(seen, index.locations(chunk).unwrap());
    assert_eq!(index.find_copy(draw.chunk(), |_| Some(())).unwrap(), None);
}

#[test]
fn many_chunks_at_once_are_answered_as_one_by_one() {
    for sealing in [plain(), keyed()] {
        let (store, draw) = (MemoryStore::new(), Draw::new(9));
        let entries = draw.entries(3000);
        for part in [&entries[..2000], &entries[1500..2600], &entries[2000..]] {
            publish_segment(&store, &sealing, part.to_vec()).unwrap();
        }
        let index = Index::load(&store, &sealing, &VoidMonitor).unwrap();
        let mut chunks: Vec<ChunkId> = model(&entries).into_keys().collect();
        chunks.extend((0..500).map(|_| draw.chunk()));
        chunks.extend_from_within(..100);
        let mut all = vec![Vec::new(); chunks.len()];
        let handed = index.find_copies(&chunks, |position, copy| {
            all[position].push(*copy);
            false
        });
        handed.unwrap();
        let mut first = vec![Vec::new(); chunks.len()];
        let handed = index.find_copies(&chunks, |position, copy| {
            first[position].push(*copy);
            true
        });
        handed.unwrap();
        let mut found = BTreeSet::new();
        index.contains_each(&chunks, |position| assert!(found.insert(position))).unwrap();
        let is_there = |position: &usize| index.contains(chunks[*position]).unwrap();
        assert_eq!(found, (0..chunks.len()).filter(is_there).collect());
        for ((chunk, mut all), first) in chunks.iter().zip(all).zip(first) {
            all.sort_unstable_by_key(|copy| (copy.pack, copy.offset));
            all.dedup();
            assert_eq!(all, index.locations(*chunk).unwrap());
            assert_eq!(first.len(), all.len().min(1));
            assert!(first.iter().all(|copy| all.contains(copy)));
        }
    }
}

#[test]
fn an_empty_store_has_an_empty_index() {
    let index = Index::load(&MemoryStore::new(), &plain(), &VoidMonitor).unwrap();
    assert_eq!((index.segment_count(), index.entry_count()), (0, 0));
}

#[test]
fn a_segment_that_another_one_replaces_is_ignored_even_if_it_is_damaged() {
    let store = DamagingStore::new(MemoryStore::new());
    let draw = Draw::new(2);
    let old = publish(&store, &draw.entries(50));
    let writer = SegmentWriter::new(&store, &plain(), 0).unwrap();
    writer.finish(&[], &[old]).unwrap();
    let index = Index::load(&store, &plain(), &VoidMonitor).unwrap();
    assert_eq!((index.segment_count(), index.entry_count()), (1, 0));
    store.damage(&ObjectName::segment(old), Damage::Truncated(0));
    let monitor = RecordingMonitor::default();
    let index = Index::load(&store, &plain(), &monitor).unwrap();
    assert!(index.damaged_segments().is_empty());
    assert_eq!(monitor.recorded().problems.len(), 0);
}

#[test]
fn a_damaged_segment_is_left_out_and_reported_once_and_replaces_nothing() {
    let store = DamagingStore::new(MemoryStore::new());
    let draw = Draw::new(3);
    let (good, lost) = (draw.entries(50), draw.entries(60));
    let good_id = publish(&store, &good);
    let empty_id = publish(&store, &lost);
    let mut writer = SegmentWriter::new(&store, &plain(), 0).unwrap();
    writer
        .push(&crate::format::segment::IndexEntry {
            chunk: draw.chunk(),
            pack_number: 0,
            offset: 0,
            entry_len: 1000,
            plain_len: 1,
            kind: crate::format::entry::EntryKind::Data,
        })
        .unwrap();
    let superseding = writer.finish(&[crate::index::testing::pack(1)], &[good_id]).unwrap();
    store.damage(&ObjectName::segment(empty_id), Damage::Truncated(0));
    // Its table of what it replaces is the page before the footer.
    let offset_bytes = 3 * PAGE_LEN as u64;
    store.damage(&ObjectName::segment(superseding), Damage::FlippedBit { offset_bytes, bit: 0 });
    let monitor = RecordingMonitor::default();
    let index = Index::load(&store, &plain(), &monitor).unwrap();
    let index = index.reload(&store, &monitor).unwrap();
    assert_finds_all(&index, &good);
    assert_eq!(index.damaged_segments(), &[empty_id, superseding].into());
    let problems = monitor.recorded().problems;
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(problems.iter().any(|problem| problem.contains(&empty_id.to_string())));
}

#[test]
fn a_damaged_page_hides_no_copy_of_another_segment() {
    let store = DamagingStore::new(MemoryStore::new());
    let draw = Draw::new(4);
    let (shared, single) = (draw.entries(40), draw.entries(40));
    publish(&store, &shared);
    let damaged = publish(&store, &[&shared[..], &single[..]].concat());
    let name = ObjectName::segment(damaged);
    store.damage(&name, Damage::FlippedBit { offset_bytes: 9, bit: 1 });
    let index = Index::load(&store, &plain(), &VoidMonitor).unwrap();
    assert_eq!(index.segment_count(), 2);
    assert_finds_all(&index, &shared);
    let (chunk, _) = single[0];
    let mut chunks: Vec<ChunkId> = shared.iter().map(|(chunk, _)| *chunk).collect();
    chunks.insert(7, chunk);
    let mut found = BTreeSet::new();
    let at_once = index.find_copies(&chunks, |position, _| found.insert(chunks[position]));
    assert_eq!(found, shared.iter().map(|(chunk, _)| *chunk).collect());
    let mut is_there = BTreeSet::new();
    let all = index.contains_each(&chunks, |position| {
        is_there.insert(chunks[position]);
    });
    assert_eq!((is_there, all.unwrap_err().chunk_id()), (found, Some(chunk)));
    let one_by_one = [index.locations(chunk).unwrap_err(), index.contains(chunk).unwrap_err()];
    for error in one_by_one.into_iter().chain([at_once.unwrap_err()]) {
        assert_eq!((error.kind(), error.chunk_id()), (ErrorKind::Corrupt, Some(chunk)));
    }
}

#[test]
fn a_segment_of_a_newer_release_stops_the_opening() {
    let store = MemoryStore::new();
    let footer = SegmentFooter {
        repo: REPO,
        entry_count: 0,
        pack_count: 0,
        superseded_count: 0,
        fanout_bits: 0,
        seal: None,
    };
    let mut body = footer.encode();
    body[8] = 2;
    let pages = PageWriter::new(store.stage().unwrap(), None);
    let (staged, hash) = pages.finish(&body).unwrap();
    let _ = staged.publish(&ObjectName::segment(SegmentId::from_bytes(hash))).unwrap();
    let error = Index::load(&store, &plain(), &VoidMonitor).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

#[test]
fn a_reload_opens_only_what_is_new_and_forgets_what_is_gone() {
    let (store, draw) = (MemoryStore::new(), Draw::new(5));
    let parts: Vec<Vec<Entry>> = (0..3).map(|_| draw.entries(100)).collect();
    let first = publish(&store, &parts[0]);
    publish(&store, &parts[1]);
    let before = Index::load(&store, &plain(), &VoidMonitor).unwrap();
    store.delete(&ObjectName::segment(first)).unwrap();
    publish(&store, &parts[2]);
    let after = before.reload(&store, &VoidMonitor).unwrap();
    assert_finds_all(&after, &parts[1..].concat());
    assert!(!after.contains(parts[0][0].0).unwrap());
    assert_finds_all(&before, &parts[..2].concat());
    let kept = after.segments().iter().filter(|segment| {
        before.segments().iter().any(|other| std::sync::Arc::ptr_eq(segment, other))
    });
    assert_eq!(kept.count(), 1);
}

/// A store that shows chosen listings of the index one after another, the last one for ever.
#[derive(Debug)]
struct Listing {
    inner: MemoryStore,
    shown: Mutex<Vec<Vec<ObjectName>>>,
    count: AtomicUsize,
}

impl Listing {
    fn new(inner: &MemoryStore, shown: &[&[SegmentId]]) -> Self {
        let names = |ids: &&[SegmentId]| ids.iter().map(|id| ObjectName::segment(*id)).collect();
        let shown = Mutex::new(shown.iter().map(names).collect());
        Self { inner: inner.clone(), shown, count: AtomicUsize::new(0) }
    }
}

impl Store for Listing {
    fn list(&self, area: Area) -> Result<Vec<ObjectName>> {
        assert_eq!(area, Area::Index);
        self.count.fetch_add(1, Ordering::Relaxed);
        let mut shown = self.shown.lock().unwrap();
        if shown.len() > 1 { Ok(shown.remove(0)) } else { Ok(shown[0].clone()) }
    }

    fn map(&self, name: &ObjectName) -> Result<ObjectBytes> {
        self.inner.map(name)
    }

    fn stage(&self) -> Result<Box<dyn Staged>> {
        unreachable!()
    }

    fn len_bytes(&self, _: &ObjectName) -> Result<u64> {
        unreachable!()
    }

    fn read_exact_at(&self, _: &ObjectName, _: u64, _: &mut [u8]) -> Result<()> {
        unreachable!()
    }

    fn delete(&self, _: &ObjectName) -> Result<()> {
        unreachable!()
    }

    fn set_aside(&self, _: &ObjectName) -> Result<()> {
        unreachable!()
    }

    fn replace(&self, _: &ObjectName, _: &[u8]) -> Result<()> {
        unreachable!()
    }

    fn barrier(&self, _: Area) -> Result<()> {
        unreachable!()
    }

    fn register(&self, _: &ObjectName, _: &[u8]) -> Result<Box<dyn Held>> {
        unreachable!()
    }

    fn is_held(&self, _: &ObjectName) -> Result<bool> {
        unreachable!()
    }

    fn lock(&self, _: &ObjectName, _: &[u8]) -> Result<Option<Box<dyn Held>>> {
        unreachable!()
    }

    fn space(&self) -> Result<Option<Space>> {
        unreachable!()
    }
}

#[test]
fn a_segment_that_vanishes_while_opening_is_found_in_its_merged_form() {
    let (store, entries) = (MemoryStore::new(), Draw::new(6).entries(100));
    let gone = SegmentId::from_bytes([9; 32]);
    let merged = publish(&store, &entries);
    let monitor = RecordingMonitor::default();
    let listing = Listing::new(&store, &[&[gone], &[merged]]);
    let index = Index::load(&listing, &plain(), &monitor).unwrap();
    assert_finds_all(&index, &entries);
    assert!(index.damaged_segments().is_empty());
    assert_eq!(monitor.recorded().problems.len(), 0);
}

#[test]
fn a_listing_that_missed_both_the_old_and_the_merged_segment_is_not_believed() {
    let (store, draw) = (MemoryStore::new(), Draw::new(7));
    let (kept, moved) = (draw.entries(10), draw.entries(100));
    let (kept_id, merged) = (publish(&store, &kept), publish(&store, &moved));
    let listing = Listing::new(&store, &[&[kept_id], &[kept_id, merged]]);
    let index = Index::load(&listing, &plain(), &VoidMonitor).unwrap();
    assert_finds_all(&index, &[kept, moved].concat());
}

#[test]
fn a_segment_that_is_listed_for_ever_and_never_there_does_not_stop_the_opening() {
    let (store, entries) = (MemoryStore::new(), Draw::new(8).entries(10));
    let (ghost, id) = (SegmentId::from_bytes([9; 32]), publish(&store, &entries));
    let listing = Listing::new(&store, &[&[ghost, id]]);
    let monitor = RecordingMonitor::default();
    let index = Index::load(&listing, &plain(), &monitor).unwrap();
    assert_finds_all(&index, &entries);
    assert_eq!(index.damaged_segments(), &[ghost].into());
    assert_eq!(monitor.recorded().problems.len(), 1);
    assert!(listing.count.load(Ordering::Relaxed) < 20);
}
