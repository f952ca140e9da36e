//! A reader written from the pages: from the bytes of a commit to the bytes of a disk.
//!
//! It knows that each section of the sample segment has one page.

use std::collections::HashMap;

use backstop::base::hash::IdHasher;
use backstop::base::id::ChunkId;
use backstop::base::limits::CHUNK_BYTES;
use backstop::base::units::{ChunkGrid, ChunkIndex, SliceIndex, slice_range};
use backstop::base::verified::{VerifiedChunk, VerifiedSlice};
use backstop::format::entry::{EntryHead, SliceCodec};
use backstop::format::mapnode::MapNode;
use backstop::format::pack::{PACK_FOOTER_LEN, PackFooter, PackHeader};
use backstop::format::segment::{
    INDEX_ENTRY_LEN, IndexEntry, PAGE_BODY_LEN, PAGE_LEN, SegmentFooter, bucket, page_check,
};

use crate::samples;

/// Packs and one segment, in memory.
pub(crate) struct Objects {
    pub(crate) packs: HashMap<[u8; 32], Vec<u8>>,
    pub(crate) segment: Vec<u8>,
}

impl Objects {
    /// The body of a page of the segment, if its check is right.
    fn page(&self, number: usize) -> &[u8] {
        let page = &self.segment[number * PAGE_LEN..][..PAGE_LEN];
        let (body, check) = page.split_at(PAGE_BODY_LEN);
        assert_eq!(page_check(number as u64, body), check, "page {number}");
        body
    }

    /// Looks an id up in the segment: fan-out, then entries, then packs.
    fn entry(&self, chunk: ChunkId) -> Option<&[u8]> {
        let last = self.segment.len() / PAGE_LEN - 1;
        let body = self.page(last).try_into().expect("the length of a body");
        let footer = SegmentFooter::decode(body, self.segment.len() as u64).expect("a footer");
        let number = |at: u64| {
            let bytes = &self.page(2)[at as usize * 4..][..4];
            u32::from_le_bytes(bytes.try_into().expect("four bytes")) as usize
        };
        let bucket = bucket(chunk, footer.fanout_bits);
        let entries = (number(bucket)..number(bucket + 1)).map(|at| {
            let bytes = &self.page(0)[at * INDEX_ENTRY_LEN..][..INDEX_ENTRY_LEN];
            IndexEntry::decode(bytes.try_into().expect("an entry's length")).expect("an entry")
        });
        let entry = entries.into_iter().find(|entry| entry.chunk == chunk)?;
        let pack = &self.page(1)[entry.pack_number as usize * 32..][..32];
        let pack = self.packs.get(pack).expect("a pack that the segment names");
        Some(&pack[entry.offset as usize..][..entry.entry_len as usize])
    }

    /// The plain bytes of a chunk or map node, proven as a whole and slice by slice.
    fn plain(&self, chunk: ChunkId) -> Vec<u8> {
        let entry = self.entry(chunk).expect("the segment knows the chunk");
        let head = EntryHead::decode(entry).expect("an entry");
        assert_eq!((head.chunk(), head.entry_len()), (chunk, entry.len()));
        let (ids, mut plain) = (IdHasher::default(), Vec::new());
        for (row, index) in head.rows().iter().zip(0..) {
            let stored = &entry[head.stored_range(SliceIndex(index))];
            let len = slice_range(SliceIndex(index), head.plain_len()).len();
            let slice = match row.codec {
                SliceCodec::Zero => vec![0; len],
                SliceCodec::Raw => stored.to_vec(),
                SliceCodec::Zstd => zstd::bulk::decompress(stored, len).expect("a frame"),
            };
            let index = SliceIndex(index);
            let len = head.plain_len();
            let proof = VerifiedSlice::check(&ids, chunk, len, index, &head.values(), slice);
            plain.extend_from_slice(proof.expect("the slice is proven").bytes());
        }
        let whole = VerifiedChunk::check(&ids, chunk, plain).expect("the chunk is proven");
        whole.into_buffer()
    }

    /// All bytes of a disk.
    pub(crate) fn disk(&self, map_root: ChunkId, size_bytes: u64) -> Vec<u8> {
        let grid = ChunkGrid::new(size_bytes);
        let mut disk = Vec::new();
        for index in 0..grid.chunk_count() {
            let len = grid.chunk_len(ChunkIndex(index));
            match self.leaf(map_root, grid.map_levels(), index) {
                Some(chunk) => {
                    let plain = self.plain(chunk);
                    assert_eq!(plain.len(), len, "the length that the place has");
                    disk.extend(plain);
                }
                None => disk.resize(disk.len() + len, 0),
            }
        }
        disk
    }

    fn leaf(&self, map_root: ChunkId, levels: u8, index: u64) -> Option<ChunkId> {
        let mut id = map_root;
        for level in (0..levels).rev() {
            let node = MapNode::decode(&self.plain(id)).expect("a node");
            assert_eq!(node.level(), level);
            id = node.child((index / 256u64.pow(level.into()) % 256) as usize)?;
        }
        Some(id)
    }
}

/// Ids of what a pack holds, by its own table.
pub(crate) fn table_of(pack: &[u8]) -> Vec<ChunkId> {
    let header = PackHeader::decode(pack).expect("a header");
    assert_eq!(header.repo, samples::repo());
    let footer = &pack[pack.len() - PACK_FOOTER_LEN..];
    let footer = PackFooter::decode(footer, pack.len() as u64, &header).expect("a footer");
    footer.check_table(&pack[footer.table_range()]).expect("a whole table");
    let rows = footer.decode_table(&pack[footer.table_range()]).expect("a table");
    rows.iter().map(|row| row.chunk).collect()
}

/// What the disks of the sample hold.
pub(crate) fn expected(disk: &str) -> Vec<u8> {
    match disk {
        "root" => [vec![0; CHUNK_BYTES], samples::hello_chunk()].concat(),
        _ => samples::letters_chunk(),
    }
}
