//! Bytes that the requests of one connection may hold at once.

use std::sync::{Condvar, Mutex, PoisonError};

use crate::base::sync::lock;

/// A number of bytes, taken and given back.
pub(super) struct Budget {
    free: Mutex<usize>,
    given_back: Condvar,
    total: usize,
}

/// Bytes that are taken until this is dropped.
pub(super) struct Taken<'a> {
    budget: &'a Budget,
    bytes: usize,
}

impl Budget {
    /// All of it is free.
    pub(super) fn new(total: usize) -> Self {
        Self { free: Mutex::new(total), given_back: Condvar::new(), total }
    }

    /// Waits until so many bytes are free, or all of them if it asks for more than there are.
    pub(super) fn take(&self, bytes: usize) -> Taken<'_> {
        let bytes = bytes.min(self.total);
        let mut free = lock(&self.free);
        while *free < bytes {
            free = self.given_back.wait(free).unwrap_or_else(PoisonError::into_inner);
        }
        *free -= bytes;
        Taken { budget: self, bytes }
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        *lock(&self.budget.free) += self.bytes;
        self.budget.given_back.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::thread;
    use std::time::Duration;

    use super::*;

    #[test]
    fn whoever_asks_for_more_than_is_free_waits_until_it_is() {
        let budget = Budget::new(100);
        let first = budget.take(70);
        let (told, came) = channel();
        thread::scope(|scope| {
            scope.spawn(|| {
                let _taken = budget.take(1000);
                told.send(()).unwrap();
            });
            let _small = budget.take(30);
            assert!(came.recv_timeout(Duration::from_millis(50)).is_err());
            drop((first, _small));
            came.recv_timeout(Duration::from_secs(20)).unwrap();
        });
    }
}
