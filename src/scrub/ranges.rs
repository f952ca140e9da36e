//! Byte ranges of a disk, gathered from its start to its end.

use std::ops::Range;

/// Ranges that arrive in ascending order. Those that touch become one; so many are kept, and the
/// rest is counted.
#[derive(Debug, Default)]
pub(super) struct Ranges {
    pub(super) list: Vec<Range<u64>>,
    pub(super) omitted: u64,
    pub(super) bytes: u64,
    end: u64,
}

impl Ranges {
    /// Adds a range that begins at or after the end of the one before. Keeps at most `max` ranges.
    pub(super) fn add(&mut self, range: Range<u64>, max: usize) {
        if range.is_empty() {
            return;
        }
        let touches = self.bytes > 0 && range.start == self.end;
        self.bytes += range.end - range.start;
        self.end = range.end;
        let has_room = self.omitted == 0 && self.list.len() < max;
        match self.list.last_mut() {
            // Once some were left out, the last one kept is not the last one.
            Some(last) if touches && self.omitted == 0 => last.end = range.end,
            _ if touches => {}
            _ if has_room => self.list.push(range),
            _ => self.omitted += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_touch_become_one_and_no_more_than_the_most_are_kept() {
        let mut ranges = Ranges::default();
        for range in [0..1, 1..3, 5..6, 6..8, 9..10, 10..12, 20..21, 21..21] {
            ranges.add(range, 2);
        }
        assert_eq!(ranges.list, [0..3, 5..8]);
        assert_eq!((ranges.omitted, ranges.bytes), (2, 10));
        let mut none = Ranges::default();
        none.add(0..4, 0);
        none.add(4..5, 0);
        assert_eq!((none.list.len(), none.omitted, none.bytes), (0, 1, 5));
    }
}
