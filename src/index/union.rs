//! All segments as one list.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::base::id::{ChunkId, PackId};
use crate::error::{Error, Result};
use crate::format::location::Location;
use crate::index::lookup::Index;

type Entry = (ChunkId, Location);
/// What the list is sorted by.
type Place = (ChunkId, PackId, u32);

impl Index {
    /// All entries in the order of their chunks. A copy that several segments name comes once.
    /// After the error of a damaged page those of the next one come.
    #[must_use]
    pub fn entries(&self) -> Entries<'_> {
        let sources: Vec<Source<'_>> =
            self.segments().iter().map(|segment| Box::new(segment.entries()) as _).collect();
        let mut entries = Entries {
            heads: BinaryHeap::with_capacity(sources.len()),
            next: vec![None; sources.len()],
            sources,
            failures: Vec::new(),
            last: None,
        };
        (0..entries.sources.len()).for_each(|source| entries.advance(source));
        entries
    }
}

type Source<'a> = Box<dyn Iterator<Item = Result<Entry>> + Send + 'a>;

/// Iterator over the entries of an index.
pub struct Entries<'a> {
    sources: Vec<Source<'a>>,
    /// The entry of each source that comes next.
    next: Vec<Option<Entry>>,
    heads: BinaryHeap<Reverse<(Place, usize)>>,
    failures: Vec<Error>,
    last: Option<Place>,
}

impl Entries<'_> {
    /// Draws from a source until there is an entry.
    fn advance(&mut self, source: usize) {
        for entry in self.sources[source].by_ref() {
            match entry {
                Err(error) => self.failures.push(error),
                Ok(entry) => {
                    self.heads.push(Reverse((place(&entry), source)));
                    self.next[source] = Some(entry);
                    break;
                }
            }
        }
    }
}

impl Iterator for Entries<'_> {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Result<Entry>> {
        loop {
            if let Some(error) = self.failures.pop() {
                return Some(Err(error));
            }
            let Reverse((place, source)) = self.heads.pop()?;
            let entry = self.next[source].take();
            self.advance(source);
            if self.last.replace(place) != Some(place) {
                return entry.map(Ok);
            }
        }
    }
}

fn place((chunk, location): &Entry) -> Place {
    (*chunk, location.pack, location.offset)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::builder::publish_segment;
    use crate::index::testing::{Draw, model, plain};
    use crate::monitor::VoidMonitor;
    use crate::store::testing::MemoryStore;

    #[test]
    fn the_entries_of_all_segments_come_in_order_and_once() {
        let store = MemoryStore::new();
        let draw = Draw::new(11);
        let mut all = Vec::new();
        for count in [0, 1, 500, 300] {
            let mut entries = draw.entries(count);
            entries.extend(all.iter().step_by(3).copied());
            publish_segment(&store, &plain(), entries.clone()).unwrap();
            all.extend(entries);
        }
        let index = Index::load(&store, &plain(), &VoidMonitor).unwrap();
        let found: Vec<_> = index.entries().map(Result::unwrap).collect();
        let expected = model(&all).into_iter();
        let expected: Vec<_> = expected
            .flat_map(|(chunk, copies)| copies.into_iter().map(move |c| (chunk, c)))
            .collect();
        assert_eq!(found, expected);
    }
}
