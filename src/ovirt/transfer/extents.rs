//! What is known of an image before it is read.

use crate::base::limits::DISK_BYTES_MAX;

/// Most runs that are kept, 8 bytes each. More are made fewer by reading some bytes that would not
/// have to be read.
const RUNS_MAX: usize = 4 << 20;
/// Shortest run that is kept apart once there are too many, to begin with.
const COARSE_BYTES: u64 = 64 << 10;
const KIND_BITS: u32 = 2;

/// What a run of bytes is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Has to be read.
    Data,
    /// Reads as zeros.
    Zero,
    /// Is what it was at the checkpoint.
    Unchanged,
}

/// What is known of an image, from its first byte to its last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extents {
    /// The end of each run, and its kind in the lowest bits; neighbours differ in kind.
    runs: Vec<u64>,
    /// Non-data runs below this length are taken for data.
    coarse_bytes: u64,
}

const _: () = assert!(DISK_BYTES_MAX < u64::MAX >> KIND_BITS);

fn pack(end: u64, kind: Kind) -> u64 {
    end << KIND_BITS | kind as u64
}

fn unpack(run: u64) -> (u64, Kind) {
    let kind = match run & ((1 << KIND_BITS) - 1) {
        0 => Kind::Data,
        1 => Kind::Zero,
        _ => Kind::Unchanged,
    };
    (run >> KIND_BITS, kind)
}

impl Extents {
    /// An image of which nothing is known but its length.
    pub(super) fn unknown(size_bytes: u64) -> Self {
        let mut extents = Self::default();
        extents.push(size_bytes, Kind::Data);
        extents
    }

    /// Length of the image, in bytes.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.runs.last().map_or(0, |run| unpack(*run).0)
    }

    /// Bytes that have to be read.
    #[must_use]
    pub fn data_bytes(&self) -> u64 {
        self.iter().filter(|(_, _, kind)| *kind == Kind::Data).map(|(from, to, _)| to - from).sum()
    }

    /// Appends a run of `len` bytes. The image must not become longer than [`DISK_BYTES_MAX`].
    pub(super) fn push(&mut self, len: u64, kind: Kind) {
        self.push_within(len, kind, RUNS_MAX);
    }

    fn push_within(&mut self, len: u64, kind: Kind, runs_max: usize) {
        let end = self.size_bytes() + len;
        let kind = if len < self.coarse_bytes { Kind::Data } else { kind };
        match self.runs.last_mut() {
            _ if len == 0 => {}
            Some(last) if unpack(*last).1 == kind => *last = pack(end, kind),
            _ => self.runs.push(pack(end, kind)),
        }
        while self.runs.len() > runs_max {
            self.coarsen();
        }
    }

    /// Takes more of the short runs for data.
    fn coarsen(&mut self) {
        let coarse_bytes = (self.coarse_bytes * 2).max(COARSE_BYTES);
        let mut coarse = Self { runs: Vec::new(), coarse_bytes };
        for (from, to, kind) in self.iter() {
            coarse.push_within(to - from, kind, usize::MAX);
        }
        *self = coarse;
    }

    /// First byte, the one behind the last, and kind of each run.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, u64, Kind)> {
        let mut from = 0;
        self.runs.iter().map(move |run| {
            let (to, kind) = unpack(*run);
            (std::mem::replace(&mut from, to), to, kind)
        })
    }

    /// Length from `offset_bytes` to the end of its run, and the kind of that; nothing behind the
    /// image.
    pub(super) fn at(&self, offset_bytes: u64) -> Option<(u64, Kind)> {
        let index = self.runs.partition_point(|run| unpack(*run).0 <= offset_bytes);
        let (end, kind) = unpack(*self.runs.get(index)?);
        Some((end - offset_bytes, kind))
    }

    /// The same, with zeros where `zeros` knows data to be zero.
    pub(super) fn with_zeros_of(&self, zeros: &Self) -> Self {
        let mut combined = Self::default();
        let mut from = 0;
        while let Some((len, kind)) = self.at(from) {
            let (zero_len, zero_kind) = zeros.at(from).unwrap_or((len, Kind::Data));
            let len = len.min(zero_len);
            let is_zero = kind == Kind::Data && zero_kind == Kind::Zero;
            combined.push(len, if is_zero { Kind::Zero } else { kind });
            from += len;
        }
        combined
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KINDS: [Kind; 3] = [Kind::Data, Kind::Zero, Kind::Unchanged];

    fn extents(runs: &[(u64, usize)]) -> Extents {
        let mut extents = Extents::default();
        runs.iter().for_each(|(len, kind)| extents.push(*len, KINDS[*kind]));
        extents
    }

    proptest! {
        #[test]
        fn every_byte_has_the_kind_that_it_was_given(
            runs in prop::collection::vec((0u64..5, 0usize..3), 0..40),
        ) {
            let bytes: Vec<_> = runs
                .iter()
                .flat_map(|(len, kind)| std::iter::repeat_n(KINDS[*kind], *len as usize))
                .collect();
            let extents = extents(&runs);
            prop_assert_eq!(extents.size_bytes(), bytes.len() as u64);
            for (offset, kind) in bytes.iter().enumerate() {
                let (len, found) = extents.at(offset as u64).unwrap();
                prop_assert_eq!(found, *kind);
                let end = offset + len as usize;
                prop_assert!(bytes[offset..end].iter().all(|other| other == kind));
                prop_assert!(bytes.get(end) != Some(kind), "a run ends where its kind does");
            }
            prop_assert_eq!(extents.at(bytes.len() as u64), None);
        }

        #[test]
        fn zeros_are_taken_over_for_data_alone(
            dirty in prop::collection::vec((1u64..5, 0usize..3), 1..30),
            zeros in prop::collection::vec((1u64..5, 0usize..2), 1..30),
        ) {
            let (dirty, zeros) = (extents(&dirty), extents(&zeros));
            let both = dirty.with_zeros_of(&zeros);
            prop_assert_eq!(both.size_bytes(), dirty.size_bytes());
            for offset in 0..dirty.size_bytes() {
                let zero = zeros.at(offset).is_some_and(|(_, kind)| kind == Kind::Zero);
                let expected = match dirty.at(offset).unwrap().1 {
                    Kind::Data if zero => Kind::Zero,
                    kind => kind,
                };
                prop_assert_eq!(both.at(offset).unwrap().1, expected);
            }
        }

        #[test]
        fn too_many_runs_become_fewer_and_only_data_grows(
            runs in prop::collection::vec((1u64..40, 0usize..3), 1..200),
        ) {
            let fine: Vec<_> = runs.iter().map(|(len, kind)| (len << 14, *kind)).collect();
            let fine = extents(&fine);
            let mut coarse = Extents::default();
            for (from, to, kind) in fine.iter() {
                coarse.push_within(to - from, kind, 8);
                prop_assert!(coarse.runs.len() <= 8);
            }
            prop_assert_eq!(coarse.size_bytes(), fine.size_bytes());
            for (from, to, kind) in coarse.iter().filter(|(_, _, kind)| *kind != Kind::Data) {
                for offset in (from..to).step_by(1 << 14) {
                    prop_assert_eq!(fine.at(offset).unwrap().1, kind);
                }
            }
        }
    }
}
