//! Many threads append; a few threads seal and publish full packs behind them.
//!
//! A few buffers go round: one grows, and each of the others has a thread that publishes it. A slow
//! sync holds up one buffer; only when all of them are being published does appending wait. So a
//! slow disk slows the backup down and never fills the memory.

use std::ops::Deref;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::base::aligned::AlignedBuffer;
use crate::base::chance::Chance;
use crate::base::id::{ChunkId, PackId};
use crate::base::limits::PACK_TARGET_BYTES;
use crate::base::sync::lock;
use crate::crypto::Sealing;
use crate::error::{Error, ErrorKind, Result};
use crate::format::entry::EntryKind;
use crate::format::layout::ObjectName;
use crate::format::pack::TableRow;
use crate::pack::builder::{FullPack, PackBuilder};
use crate::pack::parity::parity_of;
use crate::store::Store;

/// What whoever appends is told once a pack could not be published.
const STOPPED: &str = "no more is stored after a pack could not be published";

/// What a writer fails with if a thread ended between taking a place in a pack and filling it.
const UNFILLED: &str = "an entry did not reach its place in a pack";

/// Told of each pack once it is durable.
pub trait PackSink: Send + Sync {
    /// Fails if a pack of that many bytes must not be written.
    fn check_room(&self, _pack_bytes: u64) -> Result<()> {
        Ok(())
    }

    /// The pack is published and holds these entries.
    fn published(&self, pack: PackId, rows: &[TableRow]) -> Result<()>;
}

/// What a writer needs to know.
pub struct PackWriterOptions {
    /// Where packs go.
    pub store: Arc<dyn Store>,
    /// How they are sealed, and for which repository.
    pub sealing: Sealing,
    /// Where salt comes from.
    pub chance: Arc<dyn Chance>,
    /// What all entries hold.
    pub kind: EntryKind,
    /// Whether parity is published with each pack, before the sink is told.
    pub has_parity: bool,
    /// How many times each pack is stored, under different names.
    pub copies: u8,
    /// Buffers that go round; each grows to the length of a pack. At least 2. All but one can be
    /// published at the same time.
    pub buffers: usize,
    /// Told of published packs.
    pub sink: Arc<dyn PackSink>,
}

/// What a writer has published.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PackTotals {
    /// Number of packs, copies included.
    pub packs: u64,
    /// Sum of their lengths, in bytes.
    pub bytes: u64,
}

impl PackTotals {
    fn add(&mut self, other: Self) {
        self.packs += other.packs;
        self.bytes += other.bytes;
    }
}

/// Collects entries into packs and publishes those.
pub struct PackWriter {
    kind: EntryKind,
    sealing: Sealing,
    /// Entries get their places under the lock, and are copied there without it.
    open: Mutex<Option<Arc<PackBuilder>>>,
    /// Buffers that are free; one that was never in use is made when it is needed.
    free: Receiver<Option<AlignedBuffer>>,
    full: Option<Sender<PackBuilder>>,
    failure: Arc<Mutex<Option<Error>>>,
    publishers: Vec<JoinHandle<PackTotals>>,
}

impl PackWriter {
    /// Starts the threads that publish.
    pub fn start(options: PackWriterOptions) -> Result<Self> {
        let (kind, sealing) = (options.kind, options.sealing.clone());
        let (give_back, free) = bounded(options.buffers);
        let (full, to_publish) = bounded::<PackBuilder>(options.buffers);
        for _ in 0..options.buffers {
            // The channel has room for all of them and its other end is in hand.
            if give_back.send(None).is_err() {
                unreachable!("the receiver of free buffers is alive");
            }
        }
        let threads = options.buffers - 1;
        let failure = Arc::new(Mutex::new(None));
        let publisher = Arc::new(Publisher {
            options,
            failure: Arc::clone(&failure),
            give_back,
            under_way: UnderWay::default(),
        });
        let mut writer = Self {
            kind,
            sealing,
            open: Mutex::new(None),
            free,
            full: Some(full),
            failure,
            publishers: Vec::new(),
        };
        for _ in 0..threads {
            let (publisher, to_publish) = (Arc::clone(&publisher), to_publish.clone());
            let started = std::thread::Builder::new()
                .name("pack-publisher".to_owned())
                .spawn(move || publisher.run(&to_publish));
            let what = "cannot start a thread";
            let thread = started.map_err(|error| Error::new(ErrorKind::Io, what).because(error))?;
            writer.publishers.push(thread);
        }
        Ok(writer)
    }

    /// Appends an entry. Waits while all buffers are full. After a failure to publish, every call
    /// fails in the same way; the failure itself comes out of [`PackWriter::finish`].
    pub fn append(&self, chunk: ChunkId, plain_len: usize, entry: &[u8]) -> Result<()> {
        let mut open = lock(&self.open);
        if let Some(failure) = &*lock(&self.failure) {
            return Err(Error::new(failure.kind(), STOPPED).because(failure.chain()));
        }
        if open.as_ref().is_some_and(|pack| !pack.has_room_for(entry.len(), &self.sealing)) {
            self.let_go(open.take());
        }
        let pack = match &*open {
            Some(pack) => Arc::clone(pack),
            None => Arc::clone(open.insert(Arc::new(self.new_pack()?))),
        };
        let held = Held { pack: Some(pack), writer: self };
        let place = held.reserve(chunk, plain_len, entry.len());
        drop(open);
        place.fill(entry);
        Ok(())
    }

    /// Publishes what is left and waits until all packs are durable.
    pub fn finish(mut self) -> Result<PackTotals> {
        self.let_go(lock(&self.open).take());
        self.full = None;
        // All of them end before anything is told: nothing may be published after that.
        let ended: Vec<_> = self.publishers.drain(..).map(JoinHandle::join).collect();
        let mut totals = PackTotals::default();
        for publisher in ended {
            let what = "a thread that publishes packs failed";
            totals.add(publisher.map_err(|_| Error::new(ErrorKind::Io, what))?);
        }
        match lock(&self.failure).take() {
            Some(error) => Err(error),
            None => Ok(totals),
        }
    }

    fn new_pack(&self) -> Result<PackBuilder> {
        let buffer = match self.free.recv().map_err(|_| stopped())? {
            Some(buffer) => buffer,
            None => new_buffer()?,
        };
        Ok(PackBuilder::new(self.kind, buffer))
    }

    /// Gives up a hold of a pack. Whoever gives up the last one hands it over: no entry is on its
    /// way into it, and none will be.
    fn let_go(&self, pack: Option<Arc<PackBuilder>>) {
        if let (Some(pack), Some(full)) = (pack.and_then(Arc::into_inner), &self.full) {
            // Fails if all publishers panicked, which whoever wants a buffer or the end is told.
            let _gone = full.send(pack);
        }
    }
}

/// A hold of a pack by whoever brings an entry into it, which ends however that ends.
struct Held<'a> {
    pack: Option<Arc<PackBuilder>>,
    writer: &'a PackWriter,
}

impl Deref for Held<'_> {
    type Target = PackBuilder;

    fn deref(&self) -> &PackBuilder {
        self.pack.as_ref().expect("it is given up by the drop")
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.writer.let_go(self.pack.take());
    }
}

/// Whoever drops a writer gives its session up next, and nothing may be published after that.
impl Drop for PackWriter {
    fn drop(&mut self) {
        self.full = None;
        for publisher in self.publishers.drain(..) {
            // That it failed was told to whoever appends, and nobody asked for more.
            let _ended = publisher.join();
        }
    }
}

struct Publisher {
    options: PackWriterOptions,
    failure: Arc<Mutex<Option<Error>>>,
    give_back: Sender<Option<AlignedBuffer>>,
    under_way: UnderWay,
}

/// Bytes that are being published: they have room already, whether or not the medium shows it.
#[derive(Default)]
struct UnderWay {
    bytes: Mutex<u64>,
    fewer: Condvar,
}

impl UnderWay {
    /// Adds `bytes` if the sink has room for them beside the others. Where it has not, they wait
    /// until the others are through, because what those have written counts twice until then; what
    /// fails alone fails. They are taken off again when what is returned is dropped.
    fn add(&self, bytes: u64, sink: &dyn PackSink) -> Result<Share<'_>> {
        let mut under_way = lock(&self.bytes);
        loop {
            match sink.check_room(*under_way + bytes) {
                Ok(()) => break,
                Err(error) if *under_way == 0 => return Err(error),
                Err(_) => {
                    let fewer = self.fewer.wait(under_way);
                    under_way = fewer.unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
        *under_way += bytes;
        Ok(Share { of: self, bytes })
    }
}

/// One pack's share of the bytes under way.
struct Share<'a> {
    of: &'a UnderWay,
    bytes: u64,
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        *lock(&self.of.bytes) -= self.bytes;
        self.of.fewer.notify_all();
    }
}

impl Publisher {
    fn run(&self, full: &Receiver<PackBuilder>) -> PackTotals {
        let mut totals = PackTotals::default();
        for pack in full {
            let (published, buffer) = match pack.close() {
                Ok(mut pack) => (self.publish(&mut pack, &mut totals), pack.into_buffer()),
                Err(buffer) => (Err(Error::new(ErrorKind::Io, UNFILLED)), buffer),
            };
            if let Err(error) = published {
                lock(&self.failure).get_or_insert(error);
            }
            // Nobody takes buffers any more once the writer is gone.
            if self.give_back.send(Some(buffer)).is_err() {
                break;
            }
        }
        totals
    }

    /// After a failure, packs are thrown away but their buffers still go round, so that no worker
    /// waits for ever.
    fn publish(&self, pack: &mut FullPack, totals: &mut PackTotals) -> Result<()> {
        if lock(&self.failure).is_some() {
            return Ok(());
        }
        let options = &self.options;
        for _ in 0..options.copies {
            let id = pack.seal(&options.sealing, options.chance.bytes());
            let parity = match options.has_parity {
                true => Some(parity_of(options.sealing.repo(), id, pack.bytes())?.encode()),
                false => None,
            };
            let len = pack.bytes().len() + parity.as_ref().map_or(0, Vec::len);
            let share = self.under_way.add(len as u64, &*options.sink)?;
            let _existed = options.store.create(&ObjectName::pack(id), pack.bytes())?;
            if let Some(parity) = parity {
                let _existed = options.store.create(&ObjectName::parity(id), &parity)?;
            }
            drop(share);
            totals.packs += 1;
            totals.bytes += len as u64;
            options.sink.published(id, pack.rows())?;
        }
        Ok(())
    }
}

fn new_buffer() -> Result<AlignedBuffer> {
    let what = "no memory for a pack";
    AlignedBuffer::with_capacity(PACK_TARGET_BYTES)
        .map_err(|error| Error::new(ErrorKind::Io, what).because(error))
}

fn stopped() -> Error {
    Error::new(ErrorKind::Io, STOPPED)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::base::hash::blake3_256;
    use crate::base::id::RepoId;
    use crate::base::limits::PACK_BYTES_MAX;
    use crate::format::layout::Area;
    use crate::store::testing::{MemoryStore, SeededChance};

    /// Remembers what is in which pack.
    #[derive(Default)]
    struct Told(Mutex<Vec<(PackId, Vec<TableRow>)>>);

    impl PackSink for Told {
        fn published(&self, pack: PackId, rows: &[TableRow]) -> Result<()> {
            lock(&self.0).push((pack, rows.to_vec()));
            Ok(())
        }
    }

    fn start() -> (PackWriter, MemoryStore, Arc<Told>) {
        let (store, told) = (MemoryStore::new(), Arc::<Told>::default());
        let options = PackWriterOptions {
            store: Arc::new(store.clone()),
            sealing: Sealing::plain(RepoId::from_bytes([1; 16])),
            chance: Arc::new(SeededChance::new(1)),
            kind: EntryKind::Data,
            has_parity: false,
            copies: 1,
            buffers: 3,
            sink: Arc::<Told>::clone(&told),
        };
        (PackWriter::start(options).unwrap(), store, told)
    }

    /// Bytes that no other entry has, of a length between that of nothing and that of a chunk.
    fn entry(number: u64) -> (ChunkId, Vec<u8>) {
        let id = blake3_256(&number.to_le_bytes());
        let len = match number % 3 {
            0 => usize::from(id[0]),
            1 => usize::from(u16::from_le_bytes([id[0], id[1]])),
            _ => usize::from(u16::from_le_bytes([id[0], id[1]])) * 16,
        };
        (ChunkId::from_bytes(id), id.iter().copied().cycle().take(len.max(1)).collect())
    }

    fn append(writer: &PackWriter, number: u64) -> Result<()> {
        let (id, bytes) = entry(number);
        writer.append(id, bytes.len(), &bytes)
    }

    #[test]
    fn packs_of_many_threads_hold_exactly_what_was_appended_and_bear_their_hashes() {
        const ENTRIES: u64 = 1000;
        let (writer, store, told) = start();
        let next = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    while let number @ 0..ENTRIES = next.fetch_add(1, Ordering::Relaxed) {
                        append(&writer, number).unwrap();
                    }
                });
            }
        });
        let totals = writer.finish().unwrap();
        let mut expected: HashMap<_, _> = (0..ENTRIES).map(entry).collect();
        let packs = lock(&told.0);
        assert!(packs.len() > 2 && totals.packs == packs.len() as u64, "{totals:?}");
        for (pack, rows) in &*packs {
            let bytes = store.read(&ObjectName::pack(*pack), PACK_BYTES_MAX).unwrap();
            assert_eq!(pack.as_bytes(), &blake3_256(&bytes));
            for row in rows {
                let entry = expected.remove(&row.chunk).expect("appended, and in one pack");
                assert!(bytes[row.offset as usize..][..row.entry_len as usize] == entry);
            }
        }
        assert!(expected.is_empty(), "{} entries are in no pack", expected.len());
    }

    #[test]
    fn a_pack_waits_for_the_last_place_to_be_filled_and_appending_does_not() {
        let (writer, store, told) = start();
        let (id, bytes) = entry(0);
        append(&writer, 1).unwrap();
        let pack = lock(&writer.open).clone();
        let held = Held { pack, writer: &writer };
        let place = held.reserve(id, bytes.len(), bytes.len());
        let mut next = 2;
        while lock(&writer.open).as_ref().is_some_and(|open| std::ptr::eq(&**open, &*held)) {
            append(&writer, next).unwrap();
            next += 1;
        }
        assert!(store.list(Area::Packs).unwrap().is_empty(), "one place is not filled");
        place.fill(&bytes);
        drop(held);
        assert_eq!(writer.finish().unwrap().packs, 2);
        let rows: usize = lock(&told.0).iter().map(|(_, rows)| rows.len()).sum();
        assert_eq!(rows as u64, next);
    }

    #[test]
    fn a_pack_whose_appender_panicked_fails_the_writer_and_is_not_published() {
        let (writer, store, told) = start();
        append(&writer, 1).unwrap();
        let panicked = std::thread::scope(|scope| {
            let appending = scope.spawn(|| {
                let pack = lock(&writer.open).clone();
                let held = Held { pack, writer: &writer };
                let _place = held.reserve(entry(2).0, 10, 10);
                panic!("before the place was filled");
            });
            appending.join()
        });
        assert!(panicked.is_err());
        append(&writer, 3).unwrap();
        let error = writer.finish().unwrap_err();
        assert!(error.chain().to_string().contains(UNFILLED), "{}", error.chain());
        assert!(store.list(Area::Packs).unwrap().is_empty() && lock(&told.0).is_empty());
    }

    #[test]
    fn a_writer_that_is_dropped_publishes_nothing_more() {
        let (writer, store, _told) = start();
        append(&writer, 1).unwrap();
        drop(writer);
        assert!(store.list(Area::Packs).unwrap().is_empty());
    }
}
