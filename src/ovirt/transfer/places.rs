//! How many connections all disks of a run may have together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Places for connections. Every disk has one of its own, so that none waits for another; for more
/// it takes from these.
#[derive(Debug)]
pub struct Places(AtomicUsize);

impl Places {
    /// So many places for further connections.
    #[must_use]
    pub const fn new(further: usize) -> Self {
        Self(AtomicUsize::new(further))
    }

    /// Takes a place if there is one.
    pub(super) fn take(self: &Arc<Self>) -> Option<Place> {
        let less = |free: usize| free.checked_sub(1);
        let taken = self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, less);
        taken.is_ok().then(|| Place(Arc::clone(self)))
    }
}

/// A place, until it is dropped.
#[derive(Debug)]
pub(super) struct Place(Arc<Places>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.0.fetch_add(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_taken_once_and_comes_back() {
        let places = Arc::new(Places::new(2));
        let held = (places.take(), places.take());
        assert!(held.0.is_some() && held.1.is_some() && places.take().is_none());
        drop(held.0);
        assert!(places.take().is_some());
    }
}
