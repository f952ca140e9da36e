//! What readers of a tree have asked for, and what it cost.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A read that takes this long is slow: the medium of the repository, not the work, took the time.
const SLOW: Duration = Duration::from_secs(1);

/// Numbers that only grow. Each is right by itself; two that are read together may be of slightly
/// different moments.
#[derive(Debug, Default)]
pub(super) struct Counters {
    reads: AtomicU64,
    read_bytes: AtomicU64,
    failed_reads: AtomicU64,
    slow_reads: AtomicU64,
    cache_hits: AtomicU64,
    decoded_chunks: AtomicU64,
    decoded_slices: AtomicU64,
    decode_ns: AtomicU64,
    damaged_chunks: AtomicU64,
}

impl Counters {
    /// A read of a disk ended after `time`, with that many bytes or, where it failed, none.
    pub(super) fn note_read(&self, bytes: Option<usize>, time: Duration) {
        add(&self.reads, 1);
        match bytes {
            Some(bytes) => add(&self.read_bytes, bytes as u64),
            None => add(&self.failed_reads, 1),
        }
        if time >= SLOW {
            add(&self.slow_reads, 1);
        }
    }

    /// Somebody found a chunk or slice that was kept.
    pub(super) fn note_hit(&self) {
        add(&self.cache_hits, 1);
    }

    /// A chunk, or a slice of one, was read from its pack, decoded and verified in `time`.
    pub(super) fn note_decoded(&self, is_whole: bool, time: Duration) {
        add(if is_whole { &self.decoded_chunks } else { &self.decoded_slices }, 1);
        add(&self.decode_ns, u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Damage was told.
    pub(super) fn note_damage(&self) {
        add(&self.damaged_chunks, 1);
    }

    /// The text of `stats.json`.
    pub(super) fn to_json(&self) -> String {
        let [reads, read_bytes, failed_reads, slow_reads, cache_hits] =
            [&self.reads, &self.read_bytes, &self.failed_reads, &self.slow_reads, &self.cache_hits]
                .map(now);
        let document = serde_json::json!({
            "reads": reads,
            "read_bytes": read_bytes,
            "failed_reads": failed_reads,
            "slow_reads": slow_reads,
            "cache_hits": cache_hits,
            "decoded_chunks": now(&self.decoded_chunks),
            "decoded_slices": now(&self.decoded_slices),
            "decode_ms": now(&self.decode_ns) / 1_000_000,
            "damaged_chunks": now(&self.damaged_chunks),
        });
        format!("{document:#}\n")
    }
}

fn add(counter: &AtomicU64, number: u64) {
    counter.fetch_add(number, Ordering::Relaxed);
}

fn now(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_that_takes_a_second_is_slow_and_one_that_fails_has_no_bytes() {
        let counters = Counters::default();
        counters.note_read(Some(4096), SLOW - Duration::from_nanos(1));
        counters.note_read(Some(100), SLOW);
        counters.note_read(None, Duration::ZERO);
        let json: serde_json::Value = serde_json::from_str(&counters.to_json()).unwrap();
        let told = ["reads", "read_bytes", "failed_reads", "slow_reads"].map(|key| &json[key]);
        assert_eq!(told, [3, 4196, 1, 1].map(serde_json::Value::from).each_ref());
    }
}
