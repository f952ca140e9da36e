//! Tells readers that go through a disk from readers that jump about, per open file.
//!
//! The kernel reads ahead with several requests at once, so a reader in order arrives slightly out
//! of order; and one open file may serve several readers, as a loop device does.

use crate::base::limits::CHUNK_BYTES;
use crate::base::units::ChunkIndex;

/// Readers that are told apart on one open file.
const STREAMS: usize = 4;
/// How far a request may lie behind the farthest one and still belong to its stream, in bytes.
const BEHIND: u64 = 4 * CHUNK_BYTES as u64;
/// How far it may lie before it, in bytes: requests in between may still be on their way.
const BEFORE: u64 = 2 * CHUNK_BYTES as u64;
/// Bytes in order after which a reader is believed to go on in order.
const SEQUENTIAL_FROM: u64 = 256 << 10;

/// The readers of one open file.
#[derive(Debug, Default)]
pub(super) struct Streams {
    streams: Vec<Stream>,
    clock: u64,
}

#[derive(Debug, Clone, Copy)]
struct Stream {
    /// End of the farthest request, in bytes.
    frontier: u64,
    /// Bytes by which the frontier moved on in order.
    in_order: u64,
    /// The chunk up to which read-ahead was planned.
    planned: ChunkIndex,
    last_used: u64,
}

/// What a request looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Access {
    /// Whether the reader goes through the disk in order.
    pub(super) is_sequential: bool,
    /// The first chunk to read ahead, if this request is the one to plan it. Chunks before it were
    /// planned, or are being read.
    pub(super) ahead_from: Option<ChunkIndex>,
}

impl Streams {
    /// Takes note of a request for the bytes from `offset` to `end`, which is larger.
    pub(super) fn note(&mut self, offset: u64, end: u64) -> Access {
        self.clock += 1;
        let clock = self.clock;
        let stream = self.stream_of(offset, end);
        let moved_on = end.saturating_sub(stream.frontier);
        stream.in_order += moved_on.min(end - offset);
        stream.frontier = stream.frontier.max(end);
        stream.last_used = clock;
        let is_sequential = stream.in_order >= SEQUENTIAL_FROM;
        let next = ChunkIndex(offset / CHUNK_BYTES as u64 + 1);
        let is_due = is_sequential && next > stream.planned;
        if is_due {
            stream.planned = next;
        }
        Access { is_sequential, ahead_from: is_due.then_some(next) }
    }

    /// The stream that the request continues, or a new one in place of the one used least.
    fn stream_of(&mut self, offset: u64, end: u64) -> &mut Stream {
        let is_near = |stream: &Stream| {
            end.saturating_add(BEHIND) >= stream.frontier
                && offset <= stream.frontier.saturating_add(BEFORE)
        };
        let near = self.streams.iter().enumerate().filter(|(_, stream)| is_near(stream));
        let nearest = near.min_by_key(|(_, stream)| stream.frontier.abs_diff(offset));
        let at = nearest.map(|(at, _)| at).unwrap_or_else(|| self.begin_stream(offset));
        &mut self.streams[at]
    }

    fn begin_stream(&mut self, frontier: u64) -> usize {
        let new = Stream { frontier, in_order: 0, planned: ChunkIndex(0), last_used: 0 };
        if self.streams.len() < STREAMS {
            self.streams.push(new);
            return self.streams.len() - 1;
        }
        let oldest = self.streams.iter().enumerate().min_by_key(|(_, stream)| stream.last_used);
        let at = oldest.map_or(0, |(at, _)| at);
        self.streams[at] = new;
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn note(streams: &mut Streams, offset: u64, len: u64) -> Access {
        streams.note(offset, offset + len)
    }

    #[test]
    fn a_reader_in_order_is_seen_after_a_quarter_of_a_chunk_and_plans_each_chunk_once() {
        let mut streams = Streams::default();
        let mut planned = Vec::new();
        for n in 0..64 {
            let access = note(&mut streams, n * (MIB / 8), MIB / 8);
            assert_eq!(access.is_sequential, n > 0, "request {n}");
            planned.extend(access.ahead_from.map(|chunk| chunk.0));
        }
        assert_eq!(planned, (1..=8).collect::<Vec<_>>());
    }

    #[test]
    fn requests_that_overtake_each_other_stay_in_order() {
        let mut streams = Streams::default();
        for n in [0, 1, 3, 2, 5, 4, 6] {
            let access = note(&mut streams, n * MIB, MIB);
            assert!(access.is_sequential, "request {n}");
        }
    }

    #[test]
    fn a_reader_that_jumps_is_never_taken_for_one_in_order() {
        let mut streams = Streams::default();
        for n in 0..1000u64 {
            let offset = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) % (1 << 40) / 4096 * 4096;
            let access = note(&mut streams, offset, 4096);
            assert_eq!(access, Access { is_sequential: false, ahead_from: None }, "request {n}");
        }
    }

    #[test]
    fn a_request_continues_the_nearest_stream() {
        let mut streams = Streams::default();
        note(&mut streams, 7 * MIB, 1);
        for n in 0..6 {
            assert!(note(&mut streams, n * MIB, MIB).is_sequential, "{n}");
        }
    }

    #[test]
    fn four_readers_of_one_open_file_are_told_apart() {
        let mut streams = Streams::default();
        for n in 0..20 {
            for reader in 0..4 {
                let offset = reader * 1000 * MIB + n * MIB;
                assert!(note(&mut streams, offset, MIB).is_sequential, "{reader} {n}");
            }
        }
    }
}
