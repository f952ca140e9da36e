//! A value for each of many packs, in little memory.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::Index;
use std::sync::Arc;

use crate::base::id::PackId;

/// Packs, each with a value. Tables that are made of another one share its packs.
///
/// Memory: the values, and 40 to 80 bytes for each pack, once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct PackTable<V> {
    /// Of each pack the place of its value.
    places: Arc<HashMap<PackId, u32>>,
    values: Vec<V>,
}

impl<V> PackTable<V> {
    /// A table of the same packs.
    pub(super) fn map<W>(&self, mut value: impl FnMut(&PackId, &V) -> W) -> PackTable<W>
    where
        W: Clone + Default,
    {
        let mut values = vec![W::default(); self.values.len()];
        self.iter().for_each(|(pack, old)| values[self.places[pack] as usize] = value(pack, old));
        PackTable { places: Arc::clone(&self.places), values }
    }

    /// Adds a pack, unless it is there. A table that shares its packs parts with the others.
    pub(super) fn insert(&mut self, pack: PackId, value: V) {
        if let Entry::Vacant(place) = Arc::make_mut(&mut self.places).entry(pack) {
            place.insert(self.values.len() as u32);
            self.values.push(value);
        }
    }

    pub(super) fn get(&self, pack: &PackId) -> Option<&V> {
        self.values.get(*self.places.get(pack)? as usize)
    }

    pub(super) fn get_mut(&mut self, pack: &PackId) -> Option<&mut V> {
        self.values.get_mut(*self.places.get(pack)? as usize)
    }

    pub(super) fn contains_key(&self, pack: &PackId) -> bool {
        self.places.contains_key(pack)
    }

    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &V> {
        self.values.iter()
    }

    /// All packs in no particular order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&PackId, &V)> {
        self.places.iter().map(|(pack, place)| (pack, &self.values[*place as usize]))
    }
}

impl<V> FromIterator<(PackId, V)> for PackTable<V> {
    fn from_iter<I: IntoIterator<Item = (PackId, V)>>(entries: I) -> Self {
        let mut table = Self { places: Arc::default(), values: Vec::new() };
        entries.into_iter().for_each(|(pack, value)| table.insert(pack, value));
        table
    }
}

impl<V> Index<&PackId> for PackTable<V> {
    type Output = V;

    /// # Panics
    ///
    /// If the table has no such pack.
    fn index(&self, pack: &PackId) -> &V {
        &self.values[self.places[pack] as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_finds_each_pack_once_and_so_does_one_that_shares_its_packs() {
        let pack = |number: u8| PackId::from_bytes([number; 32]);
        let lengths: PackTable<u64> =
            [(pack(3), 30), (pack(1), 10), (pack(3), 99), (pack(2), 20)].into_iter().collect();
        assert_eq!((lengths.len(), lengths.values().sum::<u64>()), (3, 60));
        assert_eq!((lengths[&pack(3)], lengths.get(&pack(4))), (30, None));
        let mut halves = lengths.map(|pack, len| u64::from(pack.as_bytes()[0]) + len / 2);
        *halves.get_mut(&pack(2)).unwrap() = 7;
        let mut found: Vec<_> = halves.iter().map(|(pack, half)| (*pack, *half)).collect();
        found.sort_unstable();
        assert_eq!(found, [(pack(1), 6), (pack(2), 7), (pack(3), 18)]);
    }
}
