//! Lookups of many chunks at once.

use crate::base::id::ChunkId;
use crate::error::{Error, Result};
use crate::format::location::Location;
use crate::index::lookup::Index;

impl Index {
    /// Hands the copies of `chunks`, best sorted, to `take`, each with the position of its chunk,
    /// until it takes one of that chunk. Says what [`Index::find_copy`] says of each, and is
    /// several times as fast: the memory and the medium work on many at once. The order is not that
    /// of `chunks`, and a copy that several segments name may come several times.
    ///
    /// Fails as [`Index::locations`] does for one of `chunks`; those of all others were handed over
    /// then.
    pub fn find_copies(
        &self,
        chunks: &[ChunkId],
        mut take: impl FnMut(usize, &Location) -> bool,
    ) -> Result<()> {
        let mut asked = Asked::new(chunks);
        for segment in self.segments() {
            let open = std::mem::take(&mut asked.open);
            segment.copies_of_all(chunks, &open, |position, copy| match copy {
                Ok(copy) => asked.found(position, || take(position as usize, &copy)),
                Err(error) => asked.failures.push((position, error)),
            });
            asked.keep_open(open);
        }
        asked.finish()
    }

    /// Tells `found` the positions of those of `chunks`, best sorted, that [`Index::contains`] says
    /// are there: twice as fast as [`Index::find_copies`], which looks up the pack of each.
    ///
    /// Fails as [`Index::find_copies`] does.
    pub fn contains_each(&self, chunks: &[ChunkId], mut found: impl FnMut(usize)) -> Result<()> {
        let mut asked = Asked::new(chunks);
        for segment in self.segments() {
            let open = std::mem::take(&mut asked.open);
            segment.search().numbers_of_all(chunks, &open, |position, numbers| match numbers {
                Ok(numbers) if numbers.is_empty() => {}
                Ok(_) => {
                    found(position as usize);
                    asked.found(position, || true);
                }
                Err(error) => asked.failures.push((position, error)),
            });
            asked.keep_open(open);
        }
        asked.finish()
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Unknown,
    Found,
    Taken,
}

/// Chunks of which one segment after the other is asked.
struct Asked<'a> {
    chunks: &'a [ChunkId],
    /// Of each chunk.
    states: Vec<State>,
    /// The positions of those that the next segment is asked of.
    open: Vec<u32>,
    failures: Vec<(u32, Error)>,
}

impl<'a> Asked<'a> {
    fn new(chunks: &'a [ChunkId]) -> Self {
        let open = (0..).take(chunks.len()).collect();
        Self { chunks, states: vec![State::Unknown; chunks.len()], open, failures: Vec::new() }
    }

    /// A copy was found. `take` is asked whether one is enough, unless it said so before.
    fn found(&mut self, position: u32, take: impl FnOnce() -> bool) {
        let state = &mut self.states[position as usize];
        if *state != State::Taken {
            *state = if take() { State::Taken } else { State::Found };
        }
    }

    fn keep_open(&mut self, mut open: Vec<u32>) {
        open.retain(|position| self.states[*position as usize] != State::Taken);
        self.open = open;
    }

    fn finish(self) -> Result<()> {
        let mut failures = self.failures.into_iter();
        let failed = failures.find(|(at, _)| self.states[*at as usize] == State::Unknown);
        failed.map_or(Ok(()), |(at, error)| Err(error.chunk(self.chunks[at as usize])))
    }
}
