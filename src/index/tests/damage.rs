//! Segments that are not what was written.

use std::sync::Arc;

use crate::base::chance::{Chance, SystemChance};
use crate::base::id::{RepoId, SegmentId};
use crate::crypto::{Keyring, Sealing};
use crate::error::ErrorKind;
use crate::format::entry::EntryKind;
use crate::format::segment::{IndexEntry, PAGE_LEN, SegmentFooter};
use crate::index::builder::publish_segment;
use crate::index::page_writer::PageWriter;
use crate::index::segment::Segment;
use crate::index::testing::{
    Draw, Entry, Model, REPO, contents, keyed, model, open, pack, plain, segment_bytes, store_with,
};
use crate::store::testing::{MemoryStore, SeededChance};
use crate::store::{Staged, Store};

fn small() -> (Vec<Entry>, Vec<u8>, SegmentId) {
    small_in(&plain())
}

fn small_in(sealing: &Sealing) -> (Vec<Entry>, Vec<u8>, SegmentId) {
    let store = MemoryStore::new();
    let entries = Draw::new(1).entries(100);
    let id = publish_segment(&store, sealing, entries.clone()).unwrap().unwrap();
    (entries, segment_bytes(&store, id), id)
}

fn open_bytes(bytes: &[u8], id: SegmentId) -> crate::error::Result<Segment> {
    Segment::open(&store_with(bytes, id), id, &plain())
}

/// Asks for everything, and fails if an answer is wrong. Whether all of it was answered.
fn answers_are_right(segment: &Segment, model: &Model) -> bool {
    let mut all = true;
    for (chunk, copies) in model {
        let mut found = Vec::new();
        let outcome = segment.find(*chunk, &mut found);
        assert!(found.iter().all(|copy| copies.contains(copy)));
        match outcome {
            Ok(()) => assert_eq!(&found, copies),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Corrupt);
                all = false;
            }
        }
    }
    for entry in segment.entries() {
        match entry {
            Ok((chunk, location)) => assert!(model[&chunk].contains(&location)),
            Err(_) => all = false,
        }
    }
    all
}

#[test]
fn a_flipped_bit_never_gives_a_wrong_answer_and_a_check_finds_each() {
    for sealing in [plain(), keyed()] {
        let (entries, bytes, id) = small_in(&sealing);
        let model = model(&entries);
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << (at % 8);
            let Ok(segment) = Segment::open(&store_with(&damaged, id), id, &sealing) else {
                assert!(at >= bytes.len() - PAGE_LEN, "only the footer is read at once");
                continue;
            };
            assert!(!answers_are_right(&segment, &model), "byte {at}: some page is missing");
            assert_eq!(segment.check().unwrap_err().kind(), ErrorKind::Corrupt);
        }
    }
}

#[test]
fn a_segment_opens_with_its_own_keys_and_no_others() {
    let other = Sealing::keyed(REPO, &Keyring::generate(&SystemChance), Arc::new(SystemChance));
    let all = [plain(), keyed(), other];
    for (number, sealing) in all.iter().enumerate() {
        let (_, bytes, id) = small_in(sealing);
        for (other_number, other) in all.iter().enumerate() {
            let opened = Segment::open(&store_with(&bytes, id), id, other);
            assert_eq!(opened.is_ok(), number == other_number, "{number} with {other_number}");
        }
    }
}

#[test]
fn a_damaged_page_is_named_with_its_place_each_time() {
    let (entries, mut bytes, id) = small();
    bytes[PAGE_LEN + 5] ^= 1;
    let segment = open_bytes(&bytes, id).unwrap();
    let last = model(&entries).into_keys().next_back().unwrap();
    for _ in 0..2 {
        let error = segment.find(last, &mut Vec::new()).unwrap_err();
        let place = format!("a page of the index segment is damaged in index/{id} at byte 4096");
        assert_eq!(error.to_string(), place);
    }
    let read = segment.entries().filter(Result::is_ok).count();
    assert_eq!(read, 85, "the entries of the other page");
}

#[test]
fn two_pages_that_changed_places_are_refused() {
    let (entries, mut bytes, id) = small();
    let (first, rest) = bytes.split_at_mut(PAGE_LEN);
    first.swap_with_slice(&mut rest[..PAGE_LEN]);
    assert!(!answers_are_right(&open_bytes(&bytes, id).unwrap(), &model(&entries)));
}

#[test]
fn a_segment_of_any_other_length_is_refused() {
    let (_, bytes, id) = small();
    for len in (0..bytes.len()).step_by(512).chain([1, 17, bytes.len() - 1]) {
        assert_eq!(open_bytes(&bytes[..len], id).unwrap_err().kind(), ErrorKind::Corrupt, "{len}");
    }
    let longer = [&bytes[..], &bytes[bytes.len() - PAGE_LEN..]].concat();
    assert_eq!(open_bytes(&longer, id).unwrap_err().kind(), ErrorKind::Corrupt);
}

#[test]
fn random_bytes_are_no_segment() {
    let chance = SeededChance::new(9);
    for pages in 1..50 {
        let mut bytes = vec![0; pages * PAGE_LEN];
        chance.fill(&mut bytes);
        let error = open_bytes(&bytes, SegmentId::from_bytes([1; 32])).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    }
}

#[test]
fn a_segment_of_another_repository_is_refused() {
    let store = MemoryStore::new();
    let other = RepoId::from_bytes([8; 16]);
    let id =
        publish_segment(&store, &Sealing::plain(other), Draw::new(1).entries(5)).unwrap().unwrap();
    let error = Segment::open(&store, id, &plain()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("belongs to another repository"), "{error}");
}

/// A segment whose checks are right and whose contents are `entries`, `fanout` and one pack.
fn forged(entries: &[IndexEntry], fanout: &[u32], fanout_bits: u8) -> Segment {
    let store = MemoryStore::new();
    let mut pages = PageWriter::new(store.stage().unwrap(), None);
    entries.iter().for_each(|entry| pages.record(&entry.encode()).unwrap());
    pages.end_section().unwrap();
    pages.record(pack(0).as_bytes()).unwrap();
    pages.end_section().unwrap();
    fanout.iter().for_each(|first| pages.record(&first.to_le_bytes()).unwrap());
    pages.end_section().unwrap();
    let footer = SegmentFooter {
        repo: REPO,
        entry_count: entries.len() as u32,
        pack_count: 1,
        superseded_count: 0,
        fanout_bits,
        seal: None,
    };
    let (staged, hash): (Box<dyn Staged>, _) = pages.finish(&footer.encode()).unwrap();
    let id = SegmentId::from_bytes(hash);
    let _ = staged.publish(&crate::format::layout::ObjectName::segment(id)).unwrap();
    open(&store, id)
}

fn entry(first_byte: u8, pack_number: u32) -> IndexEntry {
    let chunk = crate::base::id::ChunkId::from_bytes([first_byte; 32]);
    let kind = EntryKind::Data;
    IndexEntry { chunk, pack_number, offset: 0, entry_len: 1000, plain_len: 1, kind }
}

#[test]
fn numbers_that_make_no_sense_are_refused_even_under_a_right_check() {
    let chunk = entry(0x10, 0).chunk;
    let fails = |segment: &Segment| {
        let error = segment.find(chunk, &mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    };
    fails(&forged(&[entry(0x10, 0)], &[1, 0], 0));
    fails(&forged(&[entry(0x10, 0)], &[0, 2], 0));
    fails(&forged(&[entry(0x10, 0)], &[u32::MAX, u32::MAX, u32::MAX], 1));
    fails(&forged(&[entry(0x10, 1)], &[0, 1], 0));
    fails(&forged(&[IndexEntry { plain_len: 0, ..entry(0x10, 0) }], &[0, 1], 0));
    assert_eq!(contents(&forged(&[entry(0x10, 0)], &[0, 1], 0)).len(), 1);
    let unsorted = forged(&[entry(0x20, 0), entry(0x10, 0)], &[0, 2], 0);
    assert!(unsorted.entries().any(|entry| entry.is_err()));
}
