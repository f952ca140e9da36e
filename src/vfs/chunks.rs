//! Verified chunks and slices for readers of the tree: kept for a while, and decoded once however
//! many ask at the same time.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::base::cache::{BoundedCache, GrowingCache};
use crate::base::id::ChunkId;
use crate::base::limits::{CHUNK_BYTES, SLICE_BYTES};
use crate::base::sync::lock;
use crate::base::units::SliceIndex;
use crate::base::verified::{VerifiedChunk, VerifiedSlice};
use crate::diskmap::NodeSource;
use crate::error::{Error, ErrorKind, Result};
use crate::format::mapnode::MapNode;
use crate::repo::{ChunkReader, Repository};
use crate::vfs::counters::Counters;
use crate::vfs::failure::{Failure, Shared};

/// How long a chunk that could not be read is not tried again. The kernel answers an error by
/// asking for every page by itself, and one damaged chunk would be verified 256 times.
const FAILURE_KEPT: Duration = Duration::from_secs(5);
/// Whole chunks that readers in order should find room for, in bytes. Few are asked for twice, as
/// the kernel keeps what it was given; and buffers that are soon used again are in the processor's
/// caches still, and cost no fresh memory.
const IN_ORDER_BYTES: usize = 32 * CHUNK_BYTES;
/// Slices that are kept in any case, in bytes: for the same reasons, more only where they are asked
/// for again.
const AT_RANDOM_BYTES: usize = 64 * SLICE_BYTES;
/// Failures kept.
const FAILURES_KEPT: usize = 8192;

/// What is decoded and kept as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Part {
    /// A whole chunk.
    Chunk(ChunkId),
    /// One of its slices.
    Slice(ChunkId, SliceIndex),
    /// A node of a disk map. Kept elsewhere; here only that it failed.
    Node(ChunkId),
}

/// Plain bytes that were compared with their id.
pub(super) struct Plain {
    verified: Verified,
    spare: Arc<Spare>,
}

enum Verified {
    Chunk(VerifiedChunk),
    Slice(VerifiedSlice),
    /// The buffer was given back.
    Gone,
}

/// Buffers that nobody uses. They are used again: fresh memory costs a fault per page.
struct Spare {
    chunks: SpareBuffers,
    slices: SpareBuffers,
}

/// Buffers of one length. Together with what is kept they are as many as two generations of the
/// cache hold.
struct SpareBuffers {
    buffers: Mutex<Vec<Vec<u8>>>,
    most: usize,
}

impl SpareBuffers {
    /// Of `buffer_bytes` each, beside a cache of `cache_bytes`.
    fn new(cache_bytes: usize, buffer_bytes: usize) -> Self {
        Self { buffers: Mutex::default(), most: cache_bytes / 2 / buffer_bytes + 1 }
    }

    fn take(&self) -> Vec<u8> {
        lock(&self.buffers).pop().unwrap_or_default()
    }

    fn give(&self, buffer: Vec<u8>) {
        let mut buffers = lock(&self.buffers);
        if buffers.len() < self.most {
            buffers.push(buffer);
        }
    }
}

impl Plain {
    /// The bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        match &self.verified {
            Verified::Chunk(chunk) => chunk.bytes(),
            Verified::Slice(slice) => slice.bytes(),
            Verified::Gone => &[],
        }
    }
}

impl Drop for Plain {
    fn drop(&mut self) {
        match std::mem::replace(&mut self.verified, Verified::Gone) {
            Verified::Chunk(chunk) => self.spare.chunks.give(chunk.into_buffer()),
            Verified::Slice(slice) => self.spare.slices.give(slice.into_buffer()),
            Verified::Gone => {}
        }
    }
}

/// What was read: the bytes, or why not. Shared by all who asked at the same time.
type Outcome = std::result::Result<Arc<Plain>, Shared>;

/// Someone is decoding; others wait for the outcome.
#[derive(Default)]
struct Flight {
    outcome: Mutex<Option<Outcome>>,
    landed: Condvar,
}

impl Flight {
    fn wait(&self) -> Outcome {
        let mut outcome = lock(&self.outcome);
        loop {
            match &*outcome {
                Some(outcome) => return outcome.clone(),
                None => {
                    outcome = self.landed.wait(outcome).unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }
}

/// Who decodes something.
enum Turn<'a> {
    /// Nobody: it is kept, or failed a moment ago.
    Over(Outcome),
    /// Another call, about now.
    Others(Arc<Flight>),
    /// Whoever asked.
    Own(Landing<'a>),
}

/// Reads, verifies and keeps chunks and slices.
///
/// The one lock is held to look something up, never while anything is read or decoded.
pub(super) struct Chunks {
    repo: Repository,
    reader: OnceLock<Arc<ChunkReader>>,
    spare: Arc<Spare>,
    state: Mutex<State>,
    pub(super) counters: Counters,
}

struct State {
    chunks: BoundedCache<ChunkId, Arc<Plain>>,
    slices: GrowingCache<(ChunkId, SliceIndex), Arc<Plain>>,
    failures: BoundedCache<Part, Failure>,
    flights: HashMap<Part, Arc<Flight>>,
}

impl Chunks {
    /// Keeps up to about `cache_bytes` of plain bytes: a quarter for chunks, or up to three where
    /// that is less than readers in order need, and the rest for slices, as far as those are asked
    /// for again. Reads nothing yet.
    pub(super) fn new(repo: Repository, cache_bytes: usize) -> Self {
        let chunk_bytes = (cache_bytes / 4).max(IN_ORDER_BYTES.min(cache_bytes / 4 * 3));
        let slice_bytes = cache_bytes - chunk_bytes;
        let spare = Spare {
            chunks: SpareBuffers::new(chunk_bytes, CHUNK_BYTES),
            slices: SpareBuffers::new(slice_bytes, SLICE_BYTES),
        };
        let state = State {
            chunks: BoundedCache::new(chunk_bytes),
            slices: GrowingCache::new(AT_RANDOM_BYTES, slice_bytes),
            failures: BoundedCache::new(FAILURES_KEPT),
            flights: HashMap::new(),
        };
        Self {
            repo,
            reader: OnceLock::new(),
            spare: Arc::new(spare),
            state: Mutex::new(state),
            counters: Counters::default(),
        }
    }

    /// Whether a whole chunk is kept, or on its way.
    pub(super) fn is_at_hand(&self, chunk: ChunkId) -> bool {
        let mut state = lock(&self.state);
        state.chunks.get(&chunk).is_some() || state.flights.contains_key(&Part::Chunk(chunk))
    }

    /// A whole chunk, if it is kept.
    pub(super) fn kept_chunk(&self, chunk: ChunkId) -> Option<Arc<Plain>> {
        let kept = lock(&self.state).chunks.get(&chunk);
        kept.inspect(|_| self.counters.note_hit())
    }

    /// A chunk or slice: kept, decoded by this call, or by another one that this one waits for.
    pub(super) fn get(&self, part: Part) -> Outcome {
        match self.turn(part) {
            Turn::Over(outcome) => {
                if outcome.is_ok() {
                    self.counters.note_hit();
                }
                outcome
            }
            Turn::Others(flight) => flight.wait(),
            Turn::Own(landing) => landing.land(self.read(part)),
        }
    }

    /// Decodes a whole chunk and keeps it, unless another call has done so or is about to: this one
    /// waits for nobody.
    pub(super) fn read_ahead(&self, chunk: ChunkId) {
        let part = Part::Chunk(chunk);
        if let Turn::Own(landing) = self.turn(part) {
            let _kept = landing.land(self.read(part));
        }
    }

    /// Whose turn it is to decode.
    fn turn(&self, part: Part) -> Turn<'_> {
        let mut state = lock(&self.state);
        if let Some(plain) = state.kept(part) {
            return Turn::Over(Ok(plain));
        }
        if let Some(failure) = state.recent_failure(part) {
            return Turn::Over(Err(failure));
        }
        match state.flights.entry(part) {
            Entry::Occupied(others) => Turn::Others(Arc::clone(others.get())),
            Entry::Vacant(own) => {
                let flight = Arc::clone(own.insert(Arc::default()));
                Turn::Own(Landing { chunks: self, part, flight, outcome: None })
            }
        }
    }

    fn read(&self, part: Part) -> Result<Arc<Plain>> {
        let began = Instant::now();
        let verified = match part {
            Part::Chunk(chunk) => {
                Verified::Chunk(self.reader()?.chunk(chunk, self.spare.chunks.take())?)
            }
            Part::Slice(chunk, slice) => {
                Verified::Slice(self.reader()?.slice(chunk, slice, self.spare.slices.take())?)
            }
            Part::Node(node) => {
                return Err(Error::corrupt("a disk map node is no chunk of a disk").chunk(node));
            }
        };
        self.counters.note_decoded(matches!(part, Part::Chunk(_)), began.elapsed());
        Ok(Arc::new(Plain { verified, spare: Arc::clone(&self.spare) }))
    }

    /// The index is loaded by the first reader, not by the mount.
    fn reader(&self) -> Result<&Arc<ChunkReader>> {
        match self.reader.get() {
            Some(reader) => Ok(reader),
            None => {
                let reader = self.repo.reader()?;
                Ok(self.reader.get_or_init(|| reader))
            }
        }
    }
}

/// Map nodes are kept by the reader; what failed is not tried again for a while.
impl NodeSource for Chunks {
    fn node(&self, id: ChunkId) -> Result<Arc<MapNode>> {
        let part = Part::Node(id);
        if let Some(failure) = lock(&self.state).recent_failure(part) {
            return Err(failure.into_error());
        }
        self.reader().and_then(|reader| reader.node(id)).map_err(|error| {
            let failure = Failure::now(error);
            lock(&self.state).failures.put(part, failure.clone(), 1);
            failure.cause().into_error()
        })
    }
}

impl State {
    fn kept(&mut self, part: Part) -> Option<Arc<Plain>> {
        match part {
            Part::Chunk(chunk) => self.chunks.get(&chunk),
            Part::Slice(chunk, slice) => self.slices.get(&(chunk, slice)),
            Part::Node(_) => None,
        }
    }

    fn keep(&mut self, part: Part, plain: &Arc<Plain>) {
        let weight = plain.bytes().len();
        match part {
            Part::Chunk(chunk) => self.chunks.put(chunk, Arc::clone(plain), weight),
            Part::Slice(chunk, slice) => self.slices.put((chunk, slice), Arc::clone(plain), weight),
            Part::Node(_) => {}
        }
    }

    fn recent_failure(&mut self, part: Part) -> Option<Shared> {
        let failure = self.failures.get(&part)?;
        (failure.age() < FAILURE_KEPT).then(|| failure.cause())
    }
}

/// Ends a flight, whatever happens: those who wait must not wait for ever.
struct Landing<'a> {
    chunks: &'a Chunks,
    part: Part,
    flight: Arc<Flight>,
    outcome: Option<Outcome>,
}

impl Landing<'_> {
    fn land(mut self, read: Result<Arc<Plain>>) -> Outcome {
        let outcome = match read {
            Ok(plain) => {
                lock(&self.chunks.state).keep(self.part, &plain);
                Ok(plain)
            }
            Err(error) => {
                let failure = Failure::now(error);
                lock(&self.chunks.state).failures.put(self.part, failure.clone(), 1);
                Err(failure.cause())
            }
        };
        self.outcome = Some(outcome.clone());
        outcome
    }
}

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        // Kept first, then out of the flights: whoever comes in between finds one or the other.
        lock(&self.chunks.state).flights.remove(&self.part);
        let outcome = self.outcome.take().unwrap_or_else(|| {
            let what = "whoever decoded the chunk gave up";
            Err(Failure::now(Error::new(ErrorKind::Io, what)).cause())
        });
        *lock(&self.flight.outcome) = Some(outcome);
        self.flight.landed.notify_all();
    }
}
