//! Which segments to merge, so that they stay few and an entry is seldom written again. Pure.

use std::collections::BTreeMap;

/// Segments of one size class that make a merge due, and the ratio of one class to the next.
pub const SEGMENTS_PER_CLASS: usize = 8;

/// The most entries that one segment can hold.
const ENTRIES_MAX: u64 = u32::MAX as u64;

/// What planning needs to know of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentInfo {
    /// Number of entries.
    pub entry_count: u64,
}

/// The positions of the segments that should become one now, if any.
///
/// A segment is of the class that the logarithm of its entries to the base 8 gives. Eight of one
/// class become one of a higher class, and take all smaller ones along. So an entry moves at least
/// one class up each time it is written again: of `n` entries each is written O(log n) times, and
/// there are never more than seven segments of each of the O(log n) classes.
#[must_use]
pub fn plan_merge(segments: &[SegmentInfo]) -> Option<Vec<usize>> {
    let mut by_class = BTreeMap::<u32, Vec<usize>>::new();
    for (index, segment) in segments.iter().enumerate() {
        by_class.entry(class(segment.entry_count)).or_default().push(index);
    }
    let due = |(class, members): (&u32, &Vec<usize>)| {
        let mut members = members.clone();
        members.sort_by_key(|index| segments[*index].entry_count);
        let mut plan = Plan { segments, taken: Vec::new(), entry_count: 0 };
        plan.take(members);
        // Below eight of them, each entry would be written again for too little.
        let is_due = plan.taken.len() >= SEGMENTS_PER_CLASS;
        by_class.range(..class).for_each(|(_, smaller)| plan.take(smaller.iter().copied()));
        is_due.then_some(plan.taken)
    };
    by_class.iter().rev().find_map(due)
}

struct Plan<'a> {
    segments: &'a [SegmentInfo],
    taken: Vec<usize>,
    entry_count: u64,
}

impl Plan<'_> {
    /// Takes those that one segment can hold together with what was taken before.
    fn take(&mut self, indices: impl IntoIterator<Item = usize>) {
        for index in indices {
            let entry_count = self.entry_count + self.segments[index].entry_count;
            if entry_count <= ENTRIES_MAX {
                self.entry_count = entry_count;
                self.taken.push(index);
            }
        }
    }
}

/// The logarithm of the entries to the base 8, rounded down; 0 for no entries.
fn class(entry_count: u64) -> u32 {
    entry_count.max(1).ilog2() / SEGMENTS_PER_CLASS.ilog2()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn infos(counts: &[u64]) -> Vec<SegmentInfo> {
        counts.iter().map(|entry_count| SegmentInfo { entry_count: *entry_count }).collect()
    }

    #[test]
    fn eight_of_a_class_are_merged_and_take_the_smaller_along() {
        assert_eq!(plan_merge(&[]), None);
        assert_eq!(plan_merge(&infos(&[1; 7])), None);
        assert_eq!(plan_merge(&infos(&[1; 8])).map(|plan| plan.len()), Some(8));
        let mixed = infos(&[100, 8, 8, 8, 1, 8, 8, 63, 8, 8, 4096]);
        assert_eq!(plan_merge(&mixed), Some(vec![1, 2, 3, 5, 6, 8, 9, 7, 4]));
        assert_eq!(plan_merge(&infos(&[1, 1, 1, 1, 8, 8, 8, 8, 64, 64, 64, 64])), None);
    }

    #[test]
    fn a_merge_never_plans_more_than_a_segment_can_hold() {
        assert_eq!(plan_merge(&infos(&[1 << 30; 20])), None);
        let plan = plan_merge(&infos(&[1 << 29; 8])).map(|plan| plan.len());
        assert_eq!(plan, None, "eight of them are one entry too many");
        let plan = plan_merge(&infos(&[(1 << 29) - 1; 9])).map(|plan| plan.len());
        assert_eq!(plan, Some(8));
    }

    #[test]
    fn segments_too_large_to_merge_do_not_keep_small_ones_from_it() {
        let mut counts = vec![1 << 30; 20];
        counts.extend([5; 8]);
        assert_eq!(plan_merge(&infos(&counts)), Some((20..28).collect()));
    }

    #[test]
    fn single_entries_one_by_one_leave_few_segments_and_are_seldom_written_again() {
        let published = 100_000_u64;
        let classes = u64::from(class(published)) + 1;
        let (mut segments, mut rewritten, mut most) = (Vec::new(), 0, 0);
        for _ in 0..published {
            segments.push(SegmentInfo { entry_count: 1 });
            while let Some(plan) = plan_merge(&segments) {
                let entry_count = plan.iter().map(|index| segments[*index].entry_count).sum();
                let mut index = 0;
                segments.retain(|_| {
                    index += 1;
                    !plan.contains(&(index - 1))
                });
                segments.push(SegmentInfo { entry_count });
                rewritten += entry_count;
            }
            most = most.max(segments.len());
        }
        assert!(most as u64 <= classes * 7, "{most} segments");
        assert!(rewritten <= published * classes, "{rewritten} entries written again");
        assert_eq!(segments.iter().map(|info| info.entry_count).sum::<u64>(), published);
    }
}
