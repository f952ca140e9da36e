//! A cache bounded by weight, of two generations: what was not asked for while one generation
//! filled up goes when the next one does.

use std::collections::HashMap;
use std::hash::Hash;

/// Keeps values up to a bound of weight, recently used ones first.
#[derive(Debug)]
pub struct BoundedCache<K, V> {
    young: HashMap<K, (V, usize)>,
    old: HashMap<K, (V, usize)>,
    young_weight: usize,
    generation_weight: usize,
}

impl<K: Hash + Eq, V: Clone> BoundedCache<K, V> {
    /// A cache whose values weigh at most `weight` together.
    #[must_use]
    pub fn new(weight: usize) -> Self {
        let generation_weight = weight / 2;
        Self { young: HashMap::new(), old: HashMap::new(), young_weight: 0, generation_weight }
    }

    /// The value of a key, if it is still here.
    pub fn get(&mut self, key: &K) -> Option<V> {
        if let Some((value, _)) = self.young.get(key) {
            return Some(value.clone());
        }
        let (key, (value, weight)) = self.old.remove_entry(key)?;
        self.put(key, value.clone(), weight);
        Some(value)
    }

    /// Keeps a value, for a while. One that is heavier than half of the bound is not kept.
    pub fn put(&mut self, key: K, value: V, weight: usize) {
        if weight > self.generation_weight {
            return;
        }
        if self.young_weight + weight > self.generation_weight {
            self.old = std::mem::take(&mut self.young);
            self.young_weight = 0;
        }
        if let Some((_, replaced)) = self.young.insert(key, (value, weight)) {
            self.young_weight -= replaced;
        }
        self.young_weight += weight;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_weight_stays_below_its_bound_and_what_is_used_stays() {
        let mut cache = BoundedCache::new(20);
        for key in 0..1000 {
            cache.put(key, key, 1);
            assert_eq!(cache.get(&0), Some(0), "used after {key}");
            assert!(cache.young.len() + cache.old.len() <= 20);
        }
        assert_eq!(cache.get(&500), None);
        cache.put(5000, 5000, 11);
        assert_eq!(cache.get(&5000), None);
    }
}
