//! Caches bounded by weight, of two generations: what was not asked for while one generation
//! filled up goes when the next one does.

use std::collections::HashMap;
use std::hash::Hash;

/// How many times its weight a cache grows for a value that it should have had.
const GROWTH: usize = 4;

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

/// A cache that takes room only where that pays: it begins small, and grows towards its bound
/// whenever a value comes again that a cache of that size would still have had.
#[derive(Debug)]
pub struct GrowingCache<K, V> {
    kept: BoundedCache<K, V>,
    /// What a cache that is as large as this one may become would keep.
    seen: BoundedCache<K, ()>,
    most: usize,
}

impl<K: Hash + Eq + Clone, V: Clone> GrowingCache<K, V> {
    /// A cache whose values weigh at most `least` together, and later at most `most`.
    #[must_use]
    pub fn new(least: usize, most: usize) -> Self {
        let kept = BoundedCache::new(least.min(most));
        Self { kept, seen: BoundedCache::new(most), most }
    }

    /// The value of a key, if it is still here.
    pub fn get(&mut self, key: &K) -> Option<V> {
        self.kept.get(key)
    }

    /// Keeps a value, for a while.
    pub fn put(&mut self, key: K, value: V, weight: usize) {
        if self.seen.get(&key).is_some() {
            let grown = self.kept.generation_weight + weight * GROWTH;
            self.kept.generation_weight = grown.min(self.most / 2);
        } else {
            self.seen.put(key.clone(), (), weight);
        }
        self.kept.put(key, value, weight);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_grows_only_for_what_comes_again() {
        let mut cache = GrowingCache::new(20, 200);
        let passes = |cache: &mut GrowingCache<usize, usize>, keys: std::ops::Range<usize>| {
            let mut missed = 0;
            for key in keys {
                if cache.get(&key).is_none() {
                    missed += 1;
                    cache.put(key, key, 1);
                }
                assert!(cache.kept.young.len() + cache.kept.old.len() <= 200);
            }
            missed
        };
        assert_eq!(passes(&mut cache, 1000..3000), 2000);
        assert!(cache.kept.young.len() + cache.kept.old.len() <= 20);
        passes(&mut cache, 0..80);
        passes(&mut cache, 0..80);
        assert_eq!(passes(&mut cache, 0..80), 0, "it holds what is read over and over");
        passes(&mut cache, 0..1000);
        assert_eq!(cache.kept.generation_weight, 100);
    }

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
