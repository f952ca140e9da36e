//! Ids of chunks by number, which can be had in order without being held.

use std::ops::Range;

use backstop::base::chance::Chance;
use backstop::base::id::ChunkId;
use backstop::store::testing::SeededChance;

/// Ids that are sorted at once.
const GROUP: u64 = 1024;

/// The ids of chunks. They are spread as hashes are: the space of ids is cut into groups of equal
/// length, to which numbers go in turn, and within its group an id is drawn at random.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ids {
    group_bits: u32,
}

impl Ids {
    /// For about so many chunks. Numbers beyond have ids, too: those are in no index.
    pub(crate) fn new(chunks: u64) -> Self {
        Self { group_bits: (chunks / GROUP).max(2).ilog2() }
    }

    /// The id of a number, always the same.
    pub(crate) fn id(self, number: u64) -> ChunkId {
        let chance = SeededChance::new(number);
        let mut bytes: [u8; 32] = (&chance as &dyn Chance).bytes();
        let place = chance.next() >> self.group_bits;
        let head = self.reversed(number) << (64 - self.group_bits) | place;
        bytes[..8].copy_from_slice(&head.to_be_bytes());
        ChunkId::from_bytes(bytes)
    }

    /// The ids of `numbers` in ascending order, each with its number.
    pub(crate) fn sorted(self, numbers: Range<u64>) -> impl Iterator<Item = (ChunkId, u64)> {
        let groups = 1 << self.group_bits;
        (0..groups).flat_map(move |group: u64| {
            let ahead = self.reversed(group).wrapping_sub(numbers.start) % groups;
            let of_group = (numbers.start + ahead..numbers.end).step_by(groups as usize);
            let mut ids: Vec<_> = of_group.map(|number| (self.id(number), number)).collect();
            ids.sort_unstable();
            ids
        })
    }

    /// The last bits of a number, backwards: from a number to its group, and from a group to the
    /// last bits of its numbers. So chunks that follow each other on a disk are far apart here.
    fn reversed(self, number: u64) -> u64 {
        number.reverse_bits() >> (64 - self.group_bits)
    }
}
