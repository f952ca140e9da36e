//! Threads that decode what a reader in order will ask for next.

use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::base::id::ChunkId;
use crate::base::sync::lock;
use crate::error::{Error, ErrorKind, Result};
use crate::vfs::chunks::Chunks;

/// Chunks that wait for a thread. More would be decoded long after they were wanted.
const QUEUE: usize = 16;
/// Who has been at a chunk for so long is held up by the medium, and another one takes its place.
const HELD_UP: Duration = Duration::from_millis(250);
/// Threads at once, held up or not. If all are, nothing is read ahead until one goes on.
const THREADS_MAX: usize = 64;

/// The threads. They end when this is dropped.
pub(super) struct ReadAhead {
    queue: Option<Queue>,
    crew: Arc<Crew>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// Chunks that wait for a thread, each once. Every request of a reader asks for nearly the same
/// chunks as the one before it; with more places than one for each, there would be none left for
/// the last of them.
struct Queue {
    wanted: Sender<ChunkId>,
    waiting: Arc<Waiting>,
}

/// What is in the queue.
type Waiting = Mutex<HashSet<ChunkId>>;

impl Queue {
    /// A chunk that finds no place is forgotten.
    fn put(&self, chunk: ChunkId) {
        let mut waiting = lock(&self.waiting);
        if waiting.insert(chunk) && self.wanted.try_send(chunk).is_err() {
            waiting.remove(&chunk);
        }
    }
}

struct Crew {
    chunks: Arc<Chunks>,
    wanted: Receiver<ChunkId>,
    waiting: Arc<Waiting>,
    /// Threads beside those that are held up.
    size: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    threads: usize,
    /// The number of the last thread that was started.
    last: u64,
    /// Since when the threads that are at a chunk have been at it.
    busy: HashMap<u64, Instant>,
}

impl State {
    /// Threads that are not held up.
    fn fit(&self) -> usize {
        self.threads - self.busy.values().filter(|since| since.elapsed() >= HELD_UP).count()
    }
}

impl ReadAhead {
    /// Starts `threads` threads; without any, nothing is read ahead.
    pub(super) fn start(chunks: &Arc<Chunks>, threads: usize) -> Result<Self> {
        let (to_threads, wanted) = bounded(QUEUE);
        let queue = Queue { wanted: to_threads, waiting: Arc::default() };
        let (chunks, waiting) = (Arc::clone(chunks), Arc::clone(&queue.waiting));
        let state = Mutex::default();
        let crew = Arc::new(Crew { chunks, wanted, waiting, size: threads, state });
        let started = (0..threads).map(|_| Crew::add(&crew)).collect::<Result<Vec<_>>>()?;
        let queue = (!started.is_empty()).then_some(queue);
        Ok(Self { queue, crew, threads: Mutex::new(started) })
    }

    /// Asks for a chunk. Forgotten if the threads are busy: the reader will see to it.
    pub(super) fn want(&self, chunk: ChunkId) {
        if let Some(queue) = &self.queue {
            queue.put(chunk);
            if !queue.wanted.is_empty() {
                self.relieve();
            }
        }
    }

    /// Starts a thread in the place of one that is held up.
    fn relieve(&self) {
        if self.crew.is_short()
            && let Ok(thread) = Crew::add(&self.crew)
        {
            let mut threads = lock(&self.threads);
            threads.retain(|thread| !thread.is_finished());
            threads.push(thread);
        }
    }
}

impl Drop for ReadAhead {
    fn drop(&mut self) {
        self.queue = None;
        for thread in lock(&self.threads).drain(..) {
            let _panicked = thread.join();
        }
    }
}

impl Crew {
    fn is_short(&self) -> bool {
        let state = lock(&self.state);
        state.threads < THREADS_MAX && state.fit() < self.size
    }

    fn add(crew: &Arc<Self>) -> Result<JoinHandle<()>> {
        let mut state = lock(&crew.state);
        state.last += 1;
        let number = state.last;
        let at_work = Arc::clone(crew);
        let thread = Builder::new()
            .name(format!("read-ahead-{number}"))
            .spawn(move || at_work.work(number))
            .map_err(|error| Error::new(ErrorKind::Io, "cannot start a thread").because(error))?;
        state.threads += 1;
        Ok(thread)
    }

    fn work(&self, number: u64) {
        for chunk in &self.wanted {
            lock(&self.waiting).remove(&chunk);
            lock(&self.state).busy.insert(number, Instant::now());
            // What fails here fails again for the reader, who knows which disk it is of.
            let _outcome = catch_unwind(AssertUnwindSafe(|| self.chunks.read_ahead(chunk)));
            let mut state = lock(&self.state);
            state.busy.remove(&number);
            if state.fit() > self.size {
                state.threads -= 1;
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_waits_once_however_often_it_is_asked_for() {
        let (to_threads, wanted) = bounded(2);
        let queue = Queue { wanted: to_threads, waiting: Arc::default() };
        let [a, b, c] = [1, 2, 3].map(|byte| ChunkId::from_bytes([byte; 32]));
        [a, a, b, a, c].into_iter().for_each(|chunk| queue.put(chunk));
        assert_eq!(wanted.try_iter().collect::<Vec<_>>(), [a, b]);
        // What found no place is not taken for something that has one.
        queue.put(c);
        assert_eq!(wanted.try_iter().collect::<Vec<_>>(), [c]);
    }
}
