//! What went over the wire.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts of all connections that were given it. Bytes are those on the sockets, with everything
/// that HTTP and encryption add.
#[derive(Debug, Default)]
pub struct WireCounters {
    received: AtomicU64,
    sent: AtomicU64,
    requests: AtomicU64,
    connections: AtomicU64,
    retries: AtomicU64,
}

/// [`WireCounters`] at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WireCounts {
    /// Bytes that came.
    pub received_bytes: u64,
    /// Bytes that were sent.
    pub sent_bytes: u64,
    /// Requests.
    pub requests: u64,
    /// Connections that came about.
    pub connections: u64,
    /// Times that something was tried again.
    pub retries: u64,
}

impl WireCounters {
    /// The counts of this moment.
    #[must_use]
    pub fn counts(&self) -> WireCounts {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        WireCounts {
            received_bytes: get(&self.received),
            sent_bytes: get(&self.sent),
            requests: get(&self.requests),
            connections: get(&self.connections),
            retries: get(&self.retries),
        }
    }

    pub(super) fn receive(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn send(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn connect(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn retry(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }
}
