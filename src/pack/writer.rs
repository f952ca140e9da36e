//! Many threads append; a few threads seal and publish full packs behind them.
//!
//! A few buffers go round: one grows, and each of the others has a thread that publishes it. A slow
//! sync holds up one buffer; only when all of them are being published does appending wait. So a
//! slow disk slows the backup down and never fills the memory.

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
use crate::pack::builder::PackBuilder;
use crate::pack::parity::parity_of;
use crate::store::Store;

/// What whoever appends is told once a pack could not be published.
const STOPPED: &str = "no more is stored after a pack could not be published";

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
    open: Mutex<Option<PackBuilder>>,
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
            self.hand_over(open.take())?;
        }
        let pack = match &mut *open {
            Some(pack) => pack,
            None => {
                let buffer = match self.free.recv().map_err(|_| stopped())? {
                    Some(buffer) => buffer,
                    None => new_buffer()?,
                };
                open.insert(PackBuilder::new(self.kind, buffer))
            }
        };
        let (offset, pieces) = (pack.append(chunk, plain_len, entry), pack.pieces());
        drop(open);
        pieces.hash_within(entry, offset);
        Ok(())
    }

    /// Publishes what is left and waits until all packs are durable.
    pub fn finish(mut self) -> Result<PackTotals> {
        let last = lock(&self.open).take();
        let handed_over = self.hand_over(last);
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
            None => handed_over.map(|()| totals),
        }
    }

    fn hand_over(&self, pack: Option<PackBuilder>) -> Result<()> {
        match (pack, &self.full) {
            (Some(pack), Some(full)) if !pack.is_empty() => full.send(pack).map_err(|_| stopped()),
            _ => Ok(()),
        }
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
        for mut pack in full {
            // After a failure, packs are thrown away but their buffers still go round, so that no
            // worker waits for ever.
            if lock(&self.failure).is_none()
                && let Err(error) = self.publish(&mut pack, &mut totals)
            {
                lock(&self.failure).get_or_insert(error);
            }
            // Nobody takes buffers any more once the writer is gone.
            if self.give_back.send(Some(pack.into_buffer())).is_err() {
                break;
            }
        }
        totals
    }

    fn publish(&self, pack: &mut PackBuilder, totals: &mut PackTotals) -> Result<()> {
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
