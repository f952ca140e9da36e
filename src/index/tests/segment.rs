//! A segment against a model.

use std::os::unix::fs::{FileExt, PermissionsExt};

use proptest::prelude::{any, proptest};

use crate::base::id::ChunkId;
use crate::crypto::Sealing;
use crate::error::ErrorKind;
use crate::format::layout::ObjectName;
use crate::format::location::Location;
use crate::index::builder::publish_segment;
use crate::index::segment::Segment;
use crate::index::testing::{Draw, Entry, Model, contents, keyed, model, plain};
use crate::store::DirStore;
use crate::store::testing::MemoryStore;

fn publish(entries: &[Entry]) -> Segment {
    publish_in(&plain(), entries)
}

fn publish_in(sealing: &Sealing, entries: &[Entry]) -> Segment {
    let store = MemoryStore::new();
    let id = publish_segment(&store, sealing, entries.to_vec()).unwrap().unwrap();
    Segment::open(&store, id, sealing).unwrap()
}

fn find(segment: &Segment, chunk: ChunkId) -> Vec<Location> {
    let mut found = Vec::new();
    segment.find(chunk, &mut found).unwrap();
    assert_eq!(segment.contains(chunk).unwrap(), !found.is_empty());
    found
}

fn assert_same(segment: &Segment, model: &Model, draw: &Draw) {
    assert_eq!(&contents(segment), model);
    let copies: usize = model.values().map(Vec::len).sum();
    assert_eq!(segment.entry_count() as usize, copies);
    for (chunk, copies) in model {
        assert_eq!(&find(segment, *chunk), copies);
    }
    for chunk in (0..200).flat_map(|_| [draw.chunk(), draw.crowded_chunk()]) {
        assert_eq!(find(segment, chunk), model.get(&chunk).cloned().unwrap_or_default());
    }
    segment.check().unwrap();
}

#[test]
fn no_entries_make_no_segment() {
    assert_eq!(publish_segment(&MemoryStore::new(), &plain(), Vec::new()).unwrap(), None);
}

#[test]
fn a_segment_of_any_size_finds_what_the_model_has_and_nothing_else() {
    for count in [1, 2, 16, 17, 84, 85, 86, 170, 171, 1000, 20_000, 100_000] {
        let draw = Draw::new(count as u64);
        let entries = draw.entries(count);
        for sealing in [plain(), keyed()] {
            assert_same(&publish_in(&sealing, &entries), &model(&entries), &draw);
        }
    }
}

#[test]
fn a_segment_that_cannot_be_mapped_is_read_page_by_page_and_answers_alike() {
    let draw = Draw::new(7);
    let entries = draw.entries(100_000);
    for sealing in [plain(), keyed()] {
        let temp = tempfile::tempdir().unwrap();
        let store = DirStore::create(temp.path()).unwrap().as_if_foreign();
        let id = publish_segment(&store, &sealing, entries.clone()).unwrap().unwrap();
        let segment = Segment::open(&store, id, &sealing).unwrap();
        assert!(segment.pages().in_place(0).is_none(), "no byte of it is held");
        assert_same(&segment, &model(&entries), &draw);
        let path = temp.path().join(ObjectName::segment(id).to_string());
        let mut permissions = std::fs::metadata(&path).unwrap().permissions();
        permissions.set_mode(0o600);
        std::fs::set_permissions(&path, permissions).unwrap();
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.write_all_at(&[0xff; 9], 3000).unwrap();
        let damaged = Segment::open(&store, id, &sealing).unwrap();
        let first = *model(&entries).keys().next().unwrap();
        assert_eq!(damaged.contains(first).unwrap_err().kind(), ErrorKind::Corrupt);
        file.set_len(segment.len_bytes() / 2).unwrap();
        assert_eq!(segment.check().unwrap_err().kind(), ErrorKind::Corrupt, "it was cut off");
    }
}

#[test]
fn the_first_and_the_last_id_there_can_be_are_found() {
    let draw = Draw::new(1);
    let mut entries = draw.entries(2000);
    for edge in [[0; 32], [0xff; 32]] {
        entries.push((ChunkId::from_bytes(edge), draw.location()));
    }
    assert_same(&publish(&entries), &model(&entries), &draw);
}

#[test]
fn ids_that_all_fall_into_one_bucket_are_found() {
    let draw = Draw::new(2);
    let entries: Vec<Entry> = (0..5000).map(|_| (draw.crowded_chunk(), draw.location())).collect();
    assert_same(&publish(&entries), &model(&entries), &draw);
}

#[test]
fn copies_of_one_chunk_over_several_pages_are_all_found() {
    let draw = Draw::new(3);
    let chunk = draw.chunk();
    let mut entries: Vec<Entry> = (0..300).map(|_| (chunk, draw.location())).collect();
    entries.extend(draw.entries(300));
    assert_same(&publish(&entries), &model(&entries), &draw);
}

#[test]
fn the_same_entries_in_another_order_are_the_same_segment() {
    let store = MemoryStore::new();
    let mut entries = Draw::new(4).entries(500);
    let id = publish_segment(&store, &plain(), entries.clone()).unwrap();
    entries.reverse();
    assert_eq!(publish_segment(&store, &plain(), entries).unwrap(), id);
}

#[test]
fn the_packs_of_a_segment_are_those_of_its_entries() {
    let entries = Draw::new(5).entries(2000);
    let segment = publish(&entries);
    let packs: Vec<_> = segment.packs().map(Result::unwrap).collect();
    let mut expected: Vec<_> = entries.iter().map(|(_, location)| location.pack).collect();
    expected.sort_unstable();
    expected.dedup();
    assert_eq!(packs, expected);
    assert_eq!(segment.superseded().unwrap(), []);
}

#[test]
fn opening_and_looking_up_read_no_more_of_a_large_segment_than_of_a_small_one() {
    let pages_read = |count: usize| {
        let draw = Draw::new(6);
        let entries: Vec<Entry> = (0..count).map(|_| (draw.chunk(), draw.location())).collect();
        let segment = publish(&entries);
        let opened = segment.pages().checked_count();
        find(&segment, entries[count / 2].0);
        (opened, segment.pages().checked_count())
    };
    for count in [1000, 1_000_000] {
        let (opened, looked_up) = pages_read(count);
        assert_eq!(opened, 0, "but for the footer");
        assert!(looked_up <= 1 + 2 + 1, "fan-out, entries, pack: {looked_up}");
    }
}

proptest! {
    #[test]
    fn any_segment_finds_what_the_model_has(seed in any::<u64>(), count in 1_usize..600) {
        let mut draw = Draw::new(seed);
        draw.packs = 1 + (seed % 300) as usize;
        let entries = draw.entries(count);
        let sealing = if seed % 2 == 0 { plain() } else { keyed() };
        assert_same(&publish_in(&sealing, &entries), &model(&entries), &draw);
    }
}
