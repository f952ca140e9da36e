//! How many threads a connection has: few, and more while those are held up by a medium.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::base::sync::lock;

/// Threads that a connection has in any case.
const SIZE: usize = 8;
/// Threads that it has at most.
const SIZE_MAX: usize = 128;
/// Where all threads are at work for so long and nothing is done, they are held up.
const HELD_UP: Duration = Duration::from_millis(100);

/// The threads of a connection, counted.
#[derive(Default)]
pub(super) struct Crew {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    threads: usize,
    /// Those that have a request.
    busy: usize,
    /// Requests that were answered.
    done: u64,
    has_ended: bool,
    /// Whether [`Crew::staff`] waits to be told that all are busy.
    is_asleep: bool,
}

impl Crew {
    /// Starts threads by `start`, which says whether it could; first those that there are in any
    /// case, then more as they are needed and `would_help` says so, until [`Crew::end`].
    pub(super) fn staff(&self, start: impl Fn() -> bool, would_help: impl Fn() -> bool) {
        let mut state = self.grow(self.state(), SIZE, &start);
        loop {
            state.is_asleep = true;
            let all_busy = |state: &mut State| !state.has_ended && state.busy < state.threads;
            let waited = self.changed.wait_while(state, all_busy);
            state = waited.unwrap_or_else(PoisonError::into_inner);
            state.is_asleep = false;
            let done = state.done;
            let waited = self.changed.wait_timeout_while(state, HELD_UP, |state| !state.has_ended);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            if state.has_ended {
                return;
            }
            if state.busy == state.threads && state.done == done && would_help() {
                let wanted = (2 * state.threads).clamp(SIZE, SIZE_MAX);
                state = self.grow(state, wanted, &start);
            }
        }
    }

    /// A thread has a request now.
    pub(super) fn begin(&self) {
        let mut state = self.state();
        state.busy += 1;
        let is_due = state.is_asleep && state.busy == state.threads;
        drop(state);
        if is_due {
            self.changed.notify_one();
        }
    }

    /// A request was answered. Whether its thread is to take another one.
    pub(super) fn goes_on(&self) -> bool {
        let mut state = self.state();
        state.busy -= 1;
        state.done += 1;
        let goes_on = state.threads <= SIZE || state.busy + 1 == state.threads;
        if !goes_on {
            state.threads -= 1;
        }
        goes_on
    }

    /// There are no more requests.
    pub(super) fn end(&self) {
        self.state().has_ended = true;
        self.changed.notify_one();
    }

    /// The lock is not held while a thread is started: it may be at work before that returns.
    fn grow<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        wanted: usize,
        start: impl Fn() -> bool,
    ) -> MutexGuard<'a, State> {
        let missing = wanted.saturating_sub(state.threads);
        state.threads += missing;
        drop(state);
        let failed = (0..missing).filter(|_| !start()).count();
        state = self.state();
        state.threads -= failed;
        state
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;
    use std::time::Instant;

    use super::*;

    /// Staffs a crew of threads that are only counted, while `act` uses it and the count.
    fn with_crew(would_help: bool, act: impl FnOnce(&Crew, &AtomicUsize)) {
        let (crew, started) = (Crew::default(), AtomicUsize::new(0));
        let start = || started.fetch_add(1, Ordering::Relaxed) < usize::MAX;
        thread::scope(|scope| {
            scope.spawn(|| crew.staff(start, || would_help));
            wait_for(&started, SIZE);
            act(&crew, &started);
            crew.end();
        });
    }

    fn wait_for(started: &AtomicUsize, number: usize) {
        let began = Instant::now();
        while started.load(Ordering::Relaxed) != number {
            assert!(began.elapsed() < Duration::from_secs(20), "{number} threads do not come");
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn there_are_more_threads_while_all_are_held_up_and_up_to_a_bound() {
        with_crew(true, |crew, started| {
            (0..SIZE).for_each(|_| crew.begin());
            wait_for(started, 2 * SIZE);
            (SIZE..2 * SIZE).for_each(|_| crew.begin());
            wait_for(started, 4 * SIZE);
            (2 * SIZE..4 * SIZE).for_each(|_| crew.begin());
            wait_for(started, 8 * SIZE);
            (4 * SIZE..8 * SIZE).for_each(|_| crew.begin());
            wait_for(started, SIZE_MAX);
            (8 * SIZE..SIZE_MAX).for_each(|_| crew.begin());
            thread::sleep(3 * HELD_UP);
            assert_eq!(started.load(Ordering::Relaxed), SIZE_MAX);
        });
    }

    #[test]
    fn a_crew_that_gets_on_or_has_somebody_free_or_could_not_be_helped_stays_as_it_is() {
        with_crew(true, |crew, started| {
            (1..SIZE).for_each(|_| crew.begin());
            thread::sleep(3 * HELD_UP);
            let began = Instant::now();
            while began.elapsed() < 5 * HELD_UP {
                crew.begin();
                assert!(crew.goes_on());
                thread::sleep(HELD_UP / 20);
            }
            assert_eq!(started.load(Ordering::Relaxed), SIZE);
        });
        with_crew(false, |crew, started| {
            (0..SIZE).for_each(|_| crew.begin());
            thread::sleep(3 * HELD_UP);
            assert_eq!(started.load(Ordering::Relaxed), SIZE);
        });
    }

    #[test]
    fn threads_that_are_no_longer_needed_leave_and_the_first_ones_stay() {
        with_crew(true, |crew, started| {
            (0..SIZE).for_each(|_| crew.begin());
            wait_for(started, 2 * SIZE);
            let left = (0..SIZE).filter(|_| !crew.goes_on()).count();
            assert_eq!(left, SIZE);
            crew.begin();
            assert!(crew.goes_on());
        });
    }
}
