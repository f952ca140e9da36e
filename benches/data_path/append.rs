//! Appending entries to packs that nobody keeps: what workers make each other wait for.

use std::ops::Range;
use std::sync::Arc;

use backstop::base::hash::{PIECE_BYTES, piece_value};
use backstop::base::id::{ChunkId, PackId, RepoId};
use backstop::base::limits::{CHUNK_BYTES, PACK_TARGET_BYTES};
use backstop::crypto::Sealing;
use backstop::error::Result;
use backstop::format::entry::EntryKind;
use backstop::format::layout::{Area, ObjectName};
use backstop::format::pack::TableRow;
use backstop::pack::{PackSink, PackWriter, PackWriterOptions};
use backstop::store::mapped::ObjectBytes;
use backstop::store::testing::SeededChance;
use backstop::store::{Held, Published, Space, Staged, Store};

use crate::limit::{Limit, noise, time};
use crate::table::Run;

/// Length of what stands for the entry of a chunk, in bytes.
pub(crate) const ENTRY_BYTES: usize = 512 << 10;

/// What each of some threads appends.
#[derive(Clone, Copy)]
pub(crate) struct Appending {
    pub(crate) threads: usize,
    pub(crate) entry_bytes: usize,
    pub(crate) entries: usize,
}

impl Appending {
    pub(crate) fn bytes(self) -> u64 {
        (self.threads * self.entry_bytes * self.entries) as u64
    }

    /// Times it, with buffers that were in use before.
    pub(crate) fn run(self, limit: Option<Limit>) -> Run {
        let writer = new_writer();
        append(&writer, &noise(ENTRY_BYTES), 0..5 * PACK_TARGET_BYTES / ENTRY_BYTES);
        let run = Run::of(limit, || self.append_to(&writer));
        writer.finish().expect("nothing can fail");
        run
    }

    fn append_to(self, writer: &PackWriter) {
        std::thread::scope(|scope| {
            for thread in 0..self.threads {
                scope.spawn(move || {
                    let entry = noise(self.entry_bytes);
                    append(writer, &entry, thread * self.entries..(thread + 1) * self.entries);
                });
            }
        });
    }

    /// The same copies, each thread to a pack of its own, and the hashes of as many bytes.
    pub(crate) fn limit(self) -> Limit {
        let mut packs = vec![vec![1; PACK_TARGET_BYTES]; self.threads];
        let parts = time(|| {
            std::thread::scope(|scope| {
                for pack in &mut packs {
                    scope.spawn(|| {
                        let entry = noise(self.entry_bytes);
                        for at in 0..self.entries {
                            let at = at * self.entry_bytes % (PACK_TARGET_BYTES - self.entry_bytes);
                            pack[at..][..self.entry_bytes].copy_from_slice(&entry);
                            for (index, piece) in entry.chunks_exact(PIECE_BYTES).enumerate() {
                                std::hint::black_box(piece_value(piece, index));
                            }
                        }
                    });
                }
            });
        });
        Limit { parts, disk: 0.0 }
    }
}

fn append(writer: &PackWriter, entry: &[u8], numbers: Range<usize>) {
    for number in numbers {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&number.to_le_bytes());
        writer.append(ChunkId::from_bytes(id), CHUNK_BYTES, entry).expect("nothing can fail");
    }
}

fn new_writer() -> PackWriter {
    PackWriter::start(PackWriterOptions {
        store: Arc::new(Nowhere),
        sealing: Sealing::plain(RepoId::from_bytes([0; 16])),
        chance: Arc::new(SeededChance::new(1)),
        kind: EntryKind::Data,
        has_parity: false,
        copies: 1,
        buffers: 4,
        sink: Arc::new(Nobody),
    })
    .expect("threads")
}

struct Nobody;

impl PackSink for Nobody {
    fn published(&self, _pack: PackId, _rows: &[TableRow]) -> Result<()> {
        Ok(())
    }
}

/// A store that keeps nothing.
#[derive(Debug)]
struct Nowhere;

const ONLY_CREATES: &str = "packs are published, and nothing else is done";

impl Store for Nowhere {
    fn create(&self, _: &ObjectName, _: &[u8]) -> Result<Published> {
        Ok(Published::Created)
    }

    fn stage(&self) -> Result<Box<dyn Staged>> {
        unreachable!("{ONLY_CREATES}")
    }

    fn len_bytes(&self, _: &ObjectName) -> Result<u64> {
        unreachable!("{ONLY_CREATES}")
    }

    fn read_exact_at(&self, _: &ObjectName, _: u64, _: &mut [u8]) -> Result<()> {
        unreachable!("{ONLY_CREATES}")
    }

    fn map(&self, _: &ObjectName) -> Result<ObjectBytes> {
        unreachable!("{ONLY_CREATES}")
    }

    fn list(&self, _: Area) -> Result<Vec<ObjectName>> {
        unreachable!("{ONLY_CREATES}")
    }

    fn delete(&self, _: &ObjectName) -> Result<()> {
        unreachable!("{ONLY_CREATES}")
    }

    fn set_aside(&self, _: &ObjectName) -> Result<()> {
        unreachable!("{ONLY_CREATES}")
    }

    fn replace(&self, _: &ObjectName, _: &[u8]) -> Result<()> {
        unreachable!("{ONLY_CREATES}")
    }

    fn barrier(&self, _: Area) -> Result<()> {
        unreachable!("{ONLY_CREATES}")
    }

    fn register(&self, _: &ObjectName, _: &[u8]) -> Result<Box<dyn Held>> {
        unreachable!("{ONLY_CREATES}")
    }

    fn is_held(&self, _: &ObjectName) -> Result<bool> {
        unreachable!("{ONLY_CREATES}")
    }

    fn lock(&self, _: &ObjectName, _: &[u8]) -> Result<Option<Box<dyn Held>>> {
        unreachable!("{ONLY_CREATES}")
    }

    fn space(&self) -> Result<Option<Space>> {
        unreachable!("{ONLY_CREATES}")
    }
}
