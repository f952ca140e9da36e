//! A flag that asks a long run to end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Shared by whoever may ask for the end of a run and everything that works for it.
///
/// Work looks at it at least once per chunk, so a run ends within moments of the request.
#[derive(Debug, Clone, Default)]
pub struct Cancel {
    own: Arc<AtomicBool>,
    above: Option<Arc<Cancel>>,
}

impl Cancel {
    /// Asks for the end. Cannot be taken back. Safe to call from a signal handler.
    pub fn request(&self) {
        self.own.store(true, Ordering::Release);
    }

    /// Whether the end was asked for.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        self.own.load(Ordering::Acquire) || self.above.as_ref().is_some_and(|a| a.is_requested())
    }

    /// A flag for a part of the work: that part ends when the end of all is asked for, and can be
    /// ended alone.
    #[must_use]
    pub fn part(&self) -> Self {
        Self { own: Arc::default(), above: Some(Arc::new(self.clone())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_ends_with_the_whole_and_the_whole_not_with_a_part() {
        let whole = Cancel::default();
        let (one, other) = (whole.part(), whole.part());
        one.request();
        assert!(one.is_requested() && !other.is_requested() && !whole.is_requested());
        whole.request();
        assert!(other.is_requested());
    }
}
