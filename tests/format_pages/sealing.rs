//! The page of encrypted repositories and the code seal the same bytes.

use std::sync::Arc;

use backstop::base::chance::Chance;
use backstop::base::id::ChunkId;
use backstop::chunk::{ChunkDecoder, ChunkEncoder, CompressionLevel};
use backstop::crypto::{KEYRING_EPOCHS_MAX, Keyring, Sealing};
use backstop::format::commit::Decision;
use backstop::format::entry::{self, EntryKind, SliceCodec};
use backstop::format::layout::ObjectName;
use backstop::format::pack::{PACK_FOOTER_LEN, PACK_HEADER_LEN, PackFooter, PackHeader, TableRow};
use backstop::format::sealed;

use crate::page::Page;
use crate::{named, samples};

/// The salt of the vectors.
struct Salt;

impl Chance for Salt {
    fn fill(&self, out: &mut [u8]) {
        out.iter_mut().zip(0xb0..).for_each(|(byte, value)| *byte = value);
    }
}

fn sealing() -> Sealing {
    let keyring = Keyring::decode(&Page::load("sealing.md").hex("keyring")).expect("a keyring");
    Sealing::keyed(samples::repo(), &keyring, Arc::new(Salt))
}

/// A pack of the sample chunk that has two slices.
fn sealed_pack(sealing: &Sealing) -> (ChunkId, Vec<u8>) {
    let plain = samples::hello_chunk();
    let hash = sealing.ids().hash(&plain);
    let mut encoder = ChunkEncoder::new(CompressionLevel::default(), sealing).expect("zstd");
    let entry = encoder.encode(EntryKind::Data, &hash, &plain).expect("encodes");
    let header = sealing.pack_header(EntryKind::Data, (&Salt as &dyn Chance).bytes());
    let row = TableRow {
        chunk: hash.id(),
        offset: PACK_HEADER_LEN as u32,
        entry_len: entry.len() as u32,
        plain_len: plain.len() as u32,
        kind: EntryKind::Data,
    };
    let mut pack = header.encode().to_vec();
    pack.extend_from_slice(entry);
    let end = pack.len() as u32;
    pack.extend(sealing.encode_trailer(&header, end, &[row]));
    (hash.id(), pack)
}

#[test]
fn the_page_of_sealing_lists_the_layouts_of_the_code() {
    let page = Page::load("sealing.md");
    assert_eq!(page.layout("Small objects"), named(sealed::FIELDS));
    assert_eq!(page.layout("Entries of packs"), named(entry::PREFIX_FIELDS));
    let longest = 4 + 32 * (1 + KEYRING_EPOCHS_MAX);
    assert!(page.text().contains(&crate::spaced(longest)), "the longest keyring: {longest}");
    assert!(page.text().contains(&format!("1 to {KEYRING_EPOCHS_MAX}")));
}

#[test]
fn the_vectors_of_sealed_objects_are_what_the_code_writes_and_open_again() {
    let (page, sealing) = (Page::load("sealing.md"), sealing());
    let name = ObjectName::commit(samples::session_id());
    let plain = Decision::Fenced.encode();
    let stored = sealing.seal_object(&name, &plain);
    assert_eq!(page.hex("sealed-commit"), stored);
    assert_eq!(sealing.open_object(&name, stored).expect("opens"), plain);

    let (chunk, pack) = sealed_pack(&sealing);
    assert_eq!(page.hex("sealed-pack"), pack);
    assert!(page.text().contains(&format!("`{chunk}`")), "the chunk id is {chunk}");
    let lock = sealing.vm_lock("web").to_string();
    assert!(page.text().contains(&format!("`{lock}`")), "the lock of web is {lock}");
}

#[test]
fn a_sealed_pack_reads_back_from_its_vector() {
    let (sealing, pack) = (sealing(), Page::load("sealing.md").hex("sealed-pack"));
    let header = PackHeader::decode(&pack).expect("a header");
    let footer = &pack[pack.len() - PACK_FOOTER_LEN..];
    let footer = PackFooter::decode(footer, pack.len() as u64, &header).expect("a footer");
    let rows = sealing.open_table(&footer, &pack[footer.table_range()]).expect("a table");
    let entry = &pack[rows[0].offset as usize..][..rows[0].entry_len as usize];
    let head = sealing.open_head(entry).expect("a head");
    let codecs: Vec<_> = head.rows().iter().map(|row| row.codec).collect();
    assert_eq!(codecs, [SliceCodec::Zero, SliceCodec::Raw]);
    let mut decoder = ChunkDecoder::new(&sealing).expect("zstd");
    let chunk = decoder.decode(rows[0].chunk, entry, Vec::new()).expect("the chunk");
    assert_eq!(chunk.bytes(), samples::hello_chunk());
}
