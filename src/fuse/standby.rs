//! Threads for requests that may wait for a medium.
//!
//! The kernel's requests are received by a few threads. Each of them answers in place what it
//! received, except for the last one that is left: that one hands over, to a thread that is started
//! if need be, and is there for the next request at once. So a request is only handed over, which
//! costs a switch of threads, where as many others are being worked on.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, Builder};
use std::time::{Duration, Instant};

use crate::base::sync::lock;
use crate::error::{Error, ErrorKind};
use crate::monitor::Monitor;

/// Of a thread's stack, in bytes: what is large lies elsewhere.
const STACK_BYTES: usize = 512 << 10;

/// How the work is shared out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shares {
    /// Threads that receive requests. All but one of them may be held up at once.
    pub(super) receivers: usize,
    /// Threads that work on what is handed over, at most.
    pub(super) standby: usize,
    /// How long one of those stays without work.
    pub(super) idle_kept: Duration,
    /// How long a request waits for one of those where all are held up.
    pub(super) patience: Duration,
}

impl Shares {
    /// 512 requests beside those that `receivers` threads work on; a thread without work stays for
    /// ten seconds, and a request that finds none is given up after thirty.
    pub(super) fn beside(receivers: usize) -> Self {
        let (idle_kept, patience) = (Duration::from_secs(10), Duration::from_secs(30));
        Self { receivers, standby: 512, idle_kept, patience }
    }
}

/// What becomes of a request that was handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// It is worked on, on this thread.
    Come,
    /// No thread was free for too long.
    GivenUp,
}

/// A request that is answered by calling this.
type Job = Box<dyn FnOnce(Turn) + Send>;

/// Who works on requests.
pub(super) struct Crew {
    seats: usize,
    taken: AtomicUsize,
    standby: Arc<Standby>,
}

/// Says that a receiver is held up, until it is dropped.
pub(super) struct Seat<'a>(&'a Crew);

impl Crew {
    /// Starts no thread yet. What goes wrong is told to `monitor`.
    pub(super) fn new(shares: Shares, monitor: Arc<dyn Monitor>) -> Self {
        let standby =
            Standby { shares, monitor, state: Mutex::default(), work_came: Condvar::new() };
        Self {
            seats: shares.receivers.saturating_sub(1),
            taken: AtomicUsize::new(0),
            standby: Arc::new(standby),
        }
    }

    /// Lets a receiver work in place, unless no other one would be left to receive.
    pub(super) fn seat(&self) -> Option<Seat<'_>> {
        let seat = Seat(self);
        (self.taken.fetch_add(1, Ordering::Relaxed) < self.seats).then_some(seat)
    }

    /// Has a job done by another thread. Never waits.
    pub(super) fn hand_over(&self, job: Job) {
        if let Some(job) = Standby::take(&self.standby, job) {
            job(Turn::GivenUp);
        }
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

struct Standby {
    shares: Shares,
    monitor: Arc<dyn Monitor>,
    state: Mutex<State>,
    work_came: Condvar,
}

#[derive(Default)]
struct State {
    /// From the oldest to the newest, with the time at which it came.
    jobs: VecDeque<(Instant, Job)>,
    threads: usize,
    idle: usize,
    /// Whether a thread sees to it that no job waits for ever.
    is_watched: bool,
}

impl Standby {
    /// Takes a job for a thread that is idle, is started, or may become free in time. Gives it back
    /// if there is none.
    fn take(self: &Arc<Self>, job: Job) -> Option<Job> {
        let mut state = lock(&self.state);
        state.jobs.push_back((Instant::now(), job));
        if state.jobs.len() <= state.idle {
            drop(state);
            self.work_came.notify_one();
            return None;
        }
        if state.threads < self.shares.standby && self.start("fuse-standby", Self::work) {
            state.threads += 1;
            return None;
        }
        if state.is_watched || self.start("fuse-patience", Self::watch) {
            state.is_watched = true;
            return None;
        }
        state.jobs.pop_back().map(|(_, job)| job)
    }

    fn start(self: &Arc<Self>, name: &str, act: fn(&Self)) -> bool {
        let standby = Arc::clone(self);
        let thread = Builder::new().name(name.to_owned()).stack_size(STACK_BYTES);
        thread.spawn(move || act(&standby)).is_ok()
    }

    /// Works until there is nothing to do for a while.
    fn work(&self) {
        let mut state = lock(&self.state);
        loop {
            if let Some((_, job)) = state.jobs.pop_front() {
                drop(state);
                // Jobs tell of their own panics; the thread must be counted whatever happens.
                let _panicked = catch_unwind(AssertUnwindSafe(|| job(Turn::Come)));
                state = lock(&self.state);
                continue;
            }
            state.idle += 1;
            let waited = self.work_came.wait_timeout(state, self.shares.idle_kept);
            let (woken, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            state = woken;
            state.idle -= 1;
            if timeout.timed_out() && state.jobs.is_empty() {
                state.threads -= 1;
                return;
            }
        }
    }

    /// Gives up jobs that no thread took in time, until none waits.
    fn watch(&self) {
        let mut has_told = false;
        loop {
            let mut state = lock(&self.state);
            let Some((came, _)) = state.jobs.front() else {
                state.is_watched = false;
                return;
            };
            let left = self.shares.patience.saturating_sub(came.elapsed());
            if !left.is_zero() {
                drop(state);
                thread::sleep(left);
                continue;
            }
            let overdue = state.jobs.pop_front();
            drop(state);
            overdue.into_iter().for_each(|(_, job)| job(Turn::GivenUp));
            if !std::mem::replace(&mut has_told, true) {
                self.tell();
            }
        }
    }

    fn tell(&self) {
        let Shares { standby, patience, .. } = self.shares;
        let what = format!(
            "requests of the kernel fail that nobody could work on for {} seconds: the medium of \
             the repository holds up {standby} others",
            patience.as_secs()
        );
        self.monitor.problem(&Error::new(ErrorKind::Io, what));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;
    use crate::monitor::RecordingMonitor;

    const SOON: Duration = Duration::from_secs(20);

    fn crew(standby: usize, idle_kept: Duration, patience: Duration) -> Crew {
        let shares = Shares { receivers: 3, standby, idle_kept, patience };
        Crew::new(shares, Arc::new(RecordingMonitor::default()))
    }

    /// A job that says what became of it, and then waits until it is let go.
    fn held(said: &Sender<Turn>) -> (Job, Sender<()>) {
        let (let_go, gone) = channel::<()>();
        let said = said.clone();
        let job = move |turn| {
            said.send(turn).unwrap();
            let _ = gone.recv();
        };
        (Box::new(job), let_go)
    }

    fn next(turns: &Receiver<Turn>) -> Turn {
        turns.recv_timeout(SOON).unwrap()
    }

    fn wait_until(is_so: impl Fn() -> bool) {
        let began = Instant::now();
        while !is_so() {
            assert!(began.elapsed() < SOON);
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn one_receiver_is_always_left_and_seats_come_back() {
        let crew = crew(1, SOON, SOON);
        let seats = [crew.seat(), crew.seat()];
        assert!(seats.iter().all(Option::is_some));
        assert!(crew.seat().is_none());
        drop(seats);
        assert!(crew.seat().is_some() && crew.seat().is_some());
    }

    #[test]
    fn every_job_is_worked_on_at_once_however_many_are_held_up() {
        let crew = crew(100, SOON, SOON);
        let (said, turns) = channel();
        let held: Vec<_> = (0..100)
            .map(|_| {
                let (job, let_go) = held(&said);
                crew.hand_over(job);
                assert_eq!(next(&turns), Turn::Come);
                let_go
            })
            .collect();
        assert_eq!(lock(&crew.standby.state).threads, 100);
        drop(held);
    }

    #[test]
    fn threads_are_used_again_and_end_without_work() {
        let crew = crew(8, Duration::from_millis(50), SOON);
        let (said, turns) = channel();
        for _ in 0..20 {
            let (job, let_go) = held(&said);
            crew.hand_over(job);
            assert_eq!(next(&turns), Turn::Come);
            drop(let_go);
            wait_until(|| {
                let state = lock(&crew.standby.state);
                state.idle == state.threads
            });
        }
        assert!(lock(&crew.standby.state).threads <= 1, "one was enough");
        wait_until(|| lock(&crew.standby.state).threads == 0);
    }

    #[test]
    fn a_job_waits_for_a_thread_where_all_are_held_up() {
        let crew = crew(1, SOON, SOON);
        let (said, turns) = channel();
        let (first, let_go) = held(&said);
        crew.hand_over(first);
        assert_eq!(next(&turns), Turn::Come);
        let (second, _let_go) = held(&said);
        crew.hand_over(second);
        assert!(turns.recv_timeout(Duration::from_millis(50)).is_err());
        drop(let_go);
        assert_eq!(next(&turns), Turn::Come);
    }

    #[test]
    fn a_job_that_no_thread_takes_in_time_is_given_up_and_that_is_told_once() {
        let monitor = Arc::new(RecordingMonitor::default());
        let patience = Duration::from_millis(50);
        let shares = Shares { receivers: 3, standby: 1, idle_kept: SOON, patience };
        let crew = Crew::new(shares, Arc::clone(&monitor) as _);
        let (said, turns) = channel();
        let (stuck, let_go) = held(&said);
        crew.hand_over(stuck);
        assert_eq!(next(&turns), Turn::Come);
        for _ in 0..3 {
            crew.hand_over(held(&said).0);
        }
        assert_eq!([next(&turns), next(&turns), next(&turns)], [Turn::GivenUp; 3]);
        wait_until(|| !lock(&crew.standby.state).is_watched);
        assert_eq!(monitor.recorded().problems.len(), 1);
        drop(let_go);
        crew.hand_over(held(&said).0);
        assert_eq!(next(&turns), Turn::Come, "afterwards all is as before");
    }

    #[test]
    fn a_job_that_panics_costs_no_thread() {
        let crew = crew(1, SOON, SOON);
        crew.hand_over(Box::new(|_| panic!("on purpose")));
        let (said, turns) = channel();
        crew.hand_over(held(&said).0);
        assert_eq!(next(&turns), Turn::Come);
    }
}
