//! Threads that decode what a reader in order will ask for next.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::base::id::ChunkId;
use crate::error::{Error, ErrorKind, Result};
use crate::vfs::chunks::{Chunks, Part};

/// Chunks that wait for a thread. More would be decoded long after they were wanted.
const QUEUE: usize = 16;

/// The threads. They end when this is dropped.
pub(super) struct ReadAhead {
    queue: Option<Sender<ChunkId>>,
    threads: Vec<JoinHandle<()>>,
}

impl ReadAhead {
    /// Starts `threads` threads; without any, nothing is read ahead.
    pub(super) fn start(chunks: &Arc<Chunks>, threads: usize) -> Result<Self> {
        let (queue, wanted) = bounded(QUEUE);
        let start = |number| {
            let (chunks, wanted) = (Arc::clone(chunks), wanted.clone());
            Builder::new()
                .name(format!("read-ahead-{number}"))
                .spawn(move || work(&chunks, &wanted))
                .map_err(|error| Error::new(ErrorKind::Io, "cannot start a thread").because(error))
        };
        let threads = (0..threads).map(start).collect::<Result<Vec<_>>>()?;
        Ok(Self { queue: (!threads.is_empty()).then_some(queue), threads })
    }

    /// Asks for a chunk. Forgotten if the threads are busy: the reader will see to it.
    pub(super) fn want(&self, chunk: ChunkId) {
        if let Some(queue) = &self.queue {
            let _is_full = queue.try_send(chunk);
        }
    }
}

impl Drop for ReadAhead {
    fn drop(&mut self) {
        self.queue = None;
        for thread in self.threads.drain(..) {
            let _panicked = thread.join();
        }
    }
}

fn work(chunks: &Chunks, wanted: &Receiver<ChunkId>) {
    for chunk in wanted {
        // What fails here fails again for the reader, who knows which disk it is of.
        let _outcome = catch_unwind(AssertUnwindSafe(|| chunks.get(Part::Chunk(chunk)).map(drop)));
    }
}
