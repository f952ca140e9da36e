//! A bit for every entry of an index: what a prune found to be needed.

use crate::base::id::ChunkId;
use crate::error::Result;
use crate::format::segment::IndexEntry;
use crate::index::kway::{KWay, Source};
use crate::index::lookup::Index;

/// Marks on the entries of one index: one bit each.
#[derive(Debug, Clone)]
pub struct Marks {
    /// Of each segment, in the order of the index.
    segments: Vec<Vec<u64>>,
}

/// What marking a chunk found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Marked {
    /// The index has no entry of the chunk.
    Missing,
    /// It was not marked before.
    New,
    /// It was.
    Again,
}

impl Index {
    /// No marks.
    #[must_use]
    pub fn no_marks(&self) -> Marks {
        let words = |count: u32| vec![0; (count as usize).div_ceil(64)];
        Marks { segments: self.segments().iter().map(|one| words(one.entry_count())).collect() }
    }

    /// Marks every entry of `chunk`. `marks` must come from this index. A page that is damaged is
    /// an error: an entry on it would be missed.
    pub fn mark(&self, chunk: ChunkId, marks: &mut Marks) -> Result<Marked> {
        let mut marked = Marked::Missing;
        for (segment, words) in self.segments().iter().zip(&mut marks.segments) {
            for number in segment.numbers(chunk)? {
                let word = &mut words[number as usize / 64];
                let bit = 1 << (number % 64);
                if marked == Marked::Missing {
                    marked = if *word & bit == 0 { Marked::New } else { Marked::Again };
                }
                *word |= bit;
            }
        }
        Ok(marked)
    }

    /// The same for many chunks at once, best sorted. The first that the index has no entry of;
    /// others are marked then.
    pub fn mark_all(&self, chunks: &[ChunkId], marks: &mut Marks) -> Result<Option<ChunkId>> {
        let mut is_there = vec![false; chunks.len()];
        let positions: Vec<u32> = (0..).take(chunks.len()).collect();
        let mut failure = None;
        for (segment, words) in self.segments().iter().zip(&mut marks.segments) {
            segment.search().numbers_of_all(
                chunks,
                &positions,
                |position, numbers| match numbers {
                    Ok(numbers) => {
                        for number in numbers {
                            is_there[position as usize] = true;
                            words[number as usize / 64] |= 1 << (number % 64);
                        }
                    }
                    Err(error) => failure = Some(error.chunk(chunks[position as usize])),
                },
            );
        }
        if let Some(failure) = failure {
            return Err(failure);
        }
        let missing = is_there.iter().position(|is_there| !is_there);
        Ok(missing.map(|position| chunks[position]))
    }

    /// Calls `each` with the copies of every chunk of the index, each once, and whether the chunk
    /// is marked; in the order of the chunks, the copies in that of their packs and offsets.
    /// `marks` must come from this index. Ends at the first error: a page that is damaged is one.
    ///
    /// `pack_numbers` has a list for each segment, in the order of the index: the number of each of
    /// its packs among all, which the copies then have in place of that.
    ///
    /// The segments are walked in order, and with them their marks: no chunk is looked up.
    pub fn each_chunk(
        &self,
        pack_numbers: &[Vec<u32>],
        marks: &Marks,
        mut each: impl FnMut(&[IndexEntry], bool) -> Result<()>,
    ) -> Result<()> {
        let sources = self.segments().iter().zip(pack_numbers);
        let sources = sources.map(|(segment, numbers)| Source::new(segment, numbers)).collect();
        // All entries of a chunk are marked together.
        KWay::new(sources)?
            .each_chunk(|copies, one| each(copies, marks.has(one.source, one.number)))
    }

    /// Whether `chunk` is marked.
    pub fn is_marked(&self, chunk: ChunkId, marks: &Marks) -> Result<bool> {
        for (segment, words) in self.segments().iter().zip(&marks.segments) {
            if let Some(number) = segment.numbers(chunk)?.next() {
                // All entries of a chunk are marked together.
                return Ok(has(words, number));
            }
        }
        Ok(false)
    }
}

impl Marks {
    /// Whether that entry of that segment is marked.
    fn has(&self, segment: usize, number: u32) -> bool {
        has(&self.segments[segment], number)
    }
}

fn has(words: &[u64], number: u32) -> bool {
    words[number as usize / 64] & 1 << (number % 64) != 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::builder::publish_segment;
    use crate::index::testing::{Draw, plain};
    use crate::monitor::VoidMonitor;
    use crate::store::testing::MemoryStore;

    #[test]
    fn a_chunk_is_marked_in_all_segments_at_once_and_no_other_is() {
        let store = MemoryStore::new();
        let draw = Draw::new(5);
        let (first, second) = (draw.entries(700), draw.entries(300));
        let both = [&second[..], &first[..200]].concat();
        publish_segment(&store, &plain(), first.clone()).unwrap();
        publish_segment(&store, &plain(), both).unwrap();
        let index = Index::load(&store, &plain(), &VoidMonitor).unwrap();
        let mut marks = index.no_marks();
        let wanted: Vec<_> = first.iter().chain(&second).step_by(3).map(|(id, _)| *id).collect();
        for chunk in &wanted {
            let was = index.is_marked(*chunk, &marks).unwrap();
            let expected = if was { Marked::Again } else { Marked::New };
            assert_eq!(index.mark(*chunk, &mut marks).unwrap(), expected);
        }
        for (chunk, _) in first.iter().chain(&second) {
            assert_eq!(index.is_marked(*chunk, &marks).unwrap(), wanted.contains(chunk));
        }
        let missing = draw.chunk();
        assert_eq!(index.mark(missing, &mut marks).unwrap(), Marked::Missing);
        let mut at_once = index.no_marks();
        assert_eq!(index.mark_all(&wanted, &mut at_once).unwrap(), None);
        assert_eq!(at_once.segments, marks.segments);
        let some = [wanted[0], missing, draw.chunk()];
        assert_eq!(index.mark_all(&some, &mut at_once).unwrap(), Some(missing));
    }
}
