//! Many packs, to be looked up, in no more memory than their ids.

use crate::base::id::PackId;

/// Packs in the order of their ids, each once. The place of a pack in this order is its number.
///
/// Memory: 32 bytes for each pack; a hash set takes up to twice as much.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PackSet(Vec<PackId>);

impl PackSet {
    /// The number of `pack`, if it is among them.
    #[must_use]
    pub fn number(&self, pack: &PackId) -> Option<u32> {
        self.0.binary_search(pack).ok().map(|number| number as u32)
    }

    /// Whether `pack` is among them.
    #[must_use]
    pub fn contains(&self, pack: &PackId) -> bool {
        self.number(pack).is_some()
    }

    /// The pack of that number, if there are so many.
    #[must_use]
    pub fn get(&self, number: u32) -> Option<PackId> {
        self.0.get(number as usize).copied()
    }

    /// Takes out all for which `stays` is false; asks in order.
    pub fn retain(&mut self, stays: impl FnMut(&PackId) -> bool) {
        self.0.retain(stays);
    }

    /// The packs in the order of their ids.
    #[must_use]
    pub fn ids(&self) -> &[PackId] {
        &self.0
    }

    /// Number of packs.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// In order, each once, without the room that a list has which grew by doubling.
    fn settled(mut self) -> Self {
        self.0.sort_unstable();
        self.0.dedup();
        self.0.shrink_to_fit();
        self
    }
}

impl FromIterator<PackId> for PackSet {
    fn from_iter<I: IntoIterator<Item = PackId>>(packs: I) -> Self {
        // The memory of a list that is given away is used again.
        Self(packs.into_iter().collect()).settled()
    }
}

impl Extend<PackId> for PackSet {
    /// Sorts anew: best all at once.
    fn extend<I: IntoIterator<Item = PackId>>(&mut self, packs: I) {
        let before = self.0.len();
        self.0.extend(packs);
        if self.0.len() > before {
            *self = Self(std::mem::take(&mut self.0)).settled();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packs_are_numbered_in_the_order_of_their_ids_and_are_there_once() {
        let pack = |number: u8| PackId::from_bytes([number; 32]);
        let mut set: PackSet = [5, 1, 5, 9].map(pack).into_iter().collect();
        assert_eq!(set.ids(), [1, 5, 9].map(pack));
        assert_eq!(
            [0, 1, 5, 9].map(|one| set.number(&pack(one))),
            [None, Some(0), Some(1), Some(2)]
        );
        assert_eq!((set.get(2), set.get(3)), (Some(pack(9)), None));
        set.extend([pack(0), pack(9)]);
        set.retain(|one| *one != pack(5));
        assert_eq!((set.ids(), set.len()), (&[0, 1, 9].map(pack)[..], 3));
        assert!(set.contains(&pack(0)) && !set.contains(&pack(5)) && !set.is_empty());
    }
}
