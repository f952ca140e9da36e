//! Pieces of packs and segments that changed places.

use backstop::base::hash::blake3_256;
use backstop::base::id::{ChunkId, PackId};
use backstop::base::units::{ChunkIndex, SliceIndex};
use backstop::chunk::{ChunkDecoder, ChunkEncoder, CompressionLevel};
use backstop::error::ErrorKind;
use backstop::format::commit::PointRecord;
use backstop::format::entry::{EntryHead, EntryKind};
use backstop::format::layout::{Area, ObjectName};
use backstop::format::location::Location;
use backstop::format::pack::{
    PACK_FOOTER_LEN, PACK_HEADER_LEN, PackFooter, PackHeader, encode_footer, encode_table,
};
use backstop::format::segment::PAGE_LEN;
use backstop::index::segment::Segment;
use backstop::pack::{parse_pack, read_pack};

use crate::Victim;
use crate::repo::noise;

/// Two sealed entries, each with its chunk.
fn entries(victim: &Victim, plains: [&[u8]; 2]) -> [(ChunkId, Vec<u8>); 2] {
    let sealing = victim.repo.sealing();
    let mut encoder = ChunkEncoder::new(CompressionLevel::default(), sealing).unwrap();
    plains.map(|plain| {
        let hash = sealing.ids().hash(plain);
        (hash.id(), encoder.encode(EntryKind::Data, &hash, plain).unwrap().to_vec())
    })
}

fn slice_opens(victim: &Victim, chunk: ChunkId, head: &EntryHead, at: u8, stored: &[u8]) -> bool {
    let mut decoder = ChunkDecoder::new(victim.repo.sealing()).unwrap();
    decoder.decode_slice(chunk, head, SliceIndex(at), stored, Vec::new()).is_ok()
}

#[test]
fn no_entry_opens_as_that_of_another_chunk() {
    let (victim, _) = Victim::new(1, 1);
    let plains = [noise(200_000, 1), noise(200_000, 2)];
    let [(first, one), (second, two)] = entries(&victim, [&plains[0], &plains[1]]);
    let mut decoder = ChunkDecoder::new(victim.repo.sealing()).unwrap();
    assert!(decoder.decode(first, &one, Vec::new()).is_ok());
    assert!(decoder.decode(second, &two, Vec::new()).is_ok());
    assert!(decoder.decode(first, &two, Vec::new()).is_err());
    assert!(decoder.decode(second, &one, Vec::new()).is_err());
}

#[test]
fn no_slice_opens_in_another_place_of_its_entry_or_in_another_entry_of_its_chunk() {
    let (victim, _) = Victim::new(1, 1);
    let plain = noise(512 << 10, 1);
    let [(chunk, one), (_, two)] = entries(&victim, [&plain, &plain]);
    let sealing = victim.repo.sealing();
    let (head, other) = (sealing.open_head(&one).unwrap(), sealing.open_head(&two).unwrap());
    let stored = |entry: &[u8], at: u8| {
        let head = sealing.open_head(entry).unwrap();
        entry[head.stored_range(SliceIndex(at))].to_vec()
    };
    for at in 0..4 {
        for from in 0..4 {
            assert_eq!(slice_opens(&victim, chunk, &head, at, &stored(&one, from)), at == from);
            assert!(!slice_opens(&victim, chunk, &head, at, &stored(&two, from)), "{at} {from}");
        }
        assert!(slice_opens(&victim, chunk, &other, at, &stored(&two, at)));
    }
}

#[test]
fn no_head_of_an_entry_goes_with_the_slices_of_another() {
    let (victim, _) = Victim::new(1, 1);
    let plain = noise(200_000, 1);
    let [(chunk, one), (_, two)] = entries(&victim, [&plain, &plain]);
    let head_len = victim.repo.sealing().open_head(&one).unwrap().head_len();
    let spliced = [&one[..head_len], &two[head_len..]].concat();
    let mut decoder = ChunkDecoder::new(victim.repo.sealing()).unwrap();
    assert!(decoder.decode(chunk, &spliced, Vec::new()).is_err());
}

/// The first chunk of a point, and where it lies.
fn first_chunk(victim: &Victim, point: &PointRecord) -> (ChunkId, Location) {
    let reader = victim.repo.reader().unwrap();
    let map = victim.repo.disk_map(&reader, &point.disks[0]);
    let chunk = map.leaf(ChunkIndex(0)).unwrap().unwrap();
    (chunk, reader.index().locations(chunk).unwrap()[0])
}

#[test]
fn a_chunk_of_another_vm_in_the_place_of_one_is_an_error_of_that_one_only() {
    let (victim, points) = Victim::new(1, 1);
    let [(web, of_web), (db, of_db)] = [&points[0], &points[2]].map(|p| first_chunk(&victim, p));
    assert_eq!(of_web.entry_len, of_db.entry_len, "so that the one fits into the other's place");
    let (web_name, db_name) = (ObjectName::pack(of_web.pack), ObjectName::pack(of_db.pack));
    let (mut pack, other) = (victim.stored(&web_name), victim.stored(&db_name));
    let range = |at: &Location| at.offset as usize..(at.offset + at.entry_len) as usize;
    pack[range(&of_web)].copy_from_slice(&other[range(&of_db)]);
    victim.put(&web_name, &pack);
    let reader = victim.repo.reader().unwrap();
    assert_eq!(reader.chunk(web, Vec::new()).unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(
        reader.slice(web, SliceIndex(0), Vec::new()).unwrap_err().kind(),
        ErrorKind::Corrupt
    );
    assert!(reader.chunk(db, Vec::new()).is_ok());
}

#[test]
fn a_table_is_that_of_its_own_pack_though_its_checksum_is_made_right() {
    let (victim, points) = Victim::new(1, 1);
    let [(_, first), (_, second)] = [&points[0], &points[2]].map(|p| first_chunk(&victim, p));
    let sealing = victim.repo.sealing();
    let pack = victim.stored(&ObjectName::pack(first.pack));
    let other = victim.stored(&ObjectName::pack(second.pack));
    assert_eq!(pack.len(), other.len(), "so that the one fits into the other's place");
    let header = PackHeader::decode(&pack).unwrap();
    let footer = &pack[pack.len() - PACK_FOOTER_LEN..];
    let footer = PackFooter::decode(footer, pack.len() as u64, &header).unwrap();
    let range = footer.table_range();
    let rows = read_pack(&victim.store, sealing, first.pack).unwrap().rows;
    let forge = |header: &PackHeader, table: &[u8]| {
        let mut forged = header.encode().to_vec();
        forged.extend_from_slice(&pack[PACK_HEADER_LEN..range.start]);
        forged.extend_from_slice(table);
        forged.extend(encode_footer(header, range.start as u32, rows.len() as u32, table));
        forged
    };
    let opens =
        |bytes: &[u8]| parse_pack(sealing, PackId::from_bytes(blake3_256(bytes)), bytes).is_ok();
    let table = &pack[range.clone()];
    assert!(opens(&forge(&header, table)), "the pack as it is");
    let mut changed = table.to_vec();
    changed[40] ^= 1;
    assert!(!opens(&forge(&header, &changed)));
    assert!(!opens(&forge(&header, &other[range.clone()])), "the table of another pack");
    assert!(!opens(&forge(&PackHeader { epoch: None, ..header }, &encode_table(&rows))), "plain");
    let kind = EntryKind::MapNode;
    assert!(!opens(&forge(&PackHeader { kind, ..header }, table)), "of another kind");
}

#[test]
fn no_page_opens_in_another_segment_or_in_another_place_of_its_own() {
    let (victim, _) = Victim::new(1, 1);
    let names = victim.store_segments();
    let [first, second] = [&names[0], &names[1]].map(|name| victim.stored(name));
    let entries_of = |bytes: &[u8]| {
        victim.put(&names[0], bytes);
        let id = names[0].segment_id().unwrap();
        let segment = Segment::open(&victim.store, id, victim.repo.sealing())?;
        segment.entries().collect::<Result<Vec<_>, _>>().map(|entries| entries.len())
    };
    assert!(entries_of(&first).unwrap() > 0);
    let mut spliced = first.clone();
    spliced[..PAGE_LEN].copy_from_slice(&second[..PAGE_LEN]);
    assert!(entries_of(&spliced).is_err(), "a page of another segment");
    let mut moved = first.clone();
    moved.copy_within(PAGE_LEN..2 * PAGE_LEN, 0);
    assert!(entries_of(&moved).is_err(), "a page from another place");
    let mut spliced = first.clone();
    let last = first.len() - PAGE_LEN;
    spliced[last..].copy_from_slice(&second[second.len() - PAGE_LEN..]);
    assert!(entries_of(&spliced).is_err(), "the footer of another segment");
}

impl Victim {
    fn store_segments(&self) -> Vec<ObjectName> {
        let names = self.names(&[Area::Index]);
        assert!(names.len() >= 2, "{names:?}");
        names
    }
}
