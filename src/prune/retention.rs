//! Which restore points of a VM a policy keeps, and why. Pure: no clock, no store.
//!
//! "Now" is the time of the VM's newest restore point, so a clock that runs wrong, or a VM that is
//! no longer backed up, makes nothing old.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU32;

use crate::base::clock::UtcTime;
use crate::base::id::PointId;
use crate::base::zone::{Period, Zone};

/// What to keep of each VM. A restore point that any rule keeps is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The newest so many.
    pub last: Option<NonZeroU32>,
    /// One of each of the newest so many periods that have any.
    pub periods: BTreeMap<Period, NonZeroU32>,
    /// Those at most so many seconds older than the newest.
    pub within_seconds: Option<u64>,
    /// The zone whose calendar counts.
    pub zone: Zone,
}

/// What a policy needs to know of a restore point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PointFacts {
    /// Which.
    pub id: PointId,
    /// When it was made.
    pub time: UtcTime,
    /// Whether nothing of the VM was left out.
    pub is_complete: bool,
    /// Whether somebody holds it.
    pub is_held: bool,
}

/// Why a restore point is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// It is one of the newest so many.
    Last(NonZeroU32),
    /// It stands for a period of that name.
    Period(Period, String),
    /// It is not older than that many seconds before the newest.
    Within(u64),
    /// Somebody holds it.
    Held,
    /// The VM has no newer one that is complete, or none that is complete at all and none newer.
    LastGood,
}

impl Policy {
    /// A policy that keeps nothing but what is always kept.
    #[must_use]
    pub fn new(zone: Zone) -> Self {
        Self { last: None, periods: BTreeMap::new(), within_seconds: None, zone }
    }

    /// Whether no rule is given.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.last.is_none() && self.periods.is_empty() && self.within_seconds.is_none()
    }

    /// For each of `points`, all those of one VM from the oldest to the newest, the reasons to keep
    /// it; none for one to drop.
    #[must_use]
    pub fn judge(&self, points: &[PointFacts]) -> Vec<Vec<Reason>> {
        let mut reasons = vec![Vec::new(); points.len()];
        let Some(newest) = points.last() else { return reasons };
        if let Some(count) = self.last {
            let first = points.len().saturating_sub(count.get() as usize);
            reasons[first..].iter_mut().for_each(|why| why.push(Reason::Last(count)));
        }
        for (period, count) in &self.periods {
            for (place, name) in self.of_periods(points, *period, *count) {
                reasons[place].push(Reason::Period(*period, name));
            }
        }
        for (point, why) in points.iter().zip(&mut reasons) {
            let age = newest.time.unix_seconds().saturating_sub(point.time.unix_seconds());
            match self.within_seconds {
                Some(within) if age <= i64::try_from(within).unwrap_or(i64::MAX) => {
                    why.push(Reason::Within(within));
                }
                _ => {}
            }
            if point.is_held {
                why.push(Reason::Held);
            }
        }
        let last_good = points.iter().rposition(|point| point.is_complete);
        reasons[last_good.unwrap_or(points.len() - 1)].push(Reason::LastGood);
        reasons
    }

    /// The places of the restore points that stand for the newest `count` periods: of each the
    /// newest that is complete, or the newest where none is.
    fn of_periods(
        &self,
        points: &[PointFacts],
        period: Period,
        count: NonZeroU32,
    ) -> Vec<(usize, String)> {
        let mut chosen: Vec<(usize, String)> = Vec::new();
        let mut known = HashMap::new();
        for (place, point) in points.iter().enumerate().rev() {
            let name = self.zone.period(point.time, period);
            match known.get(&name) {
                None => {
                    known.insert(name.clone(), chosen.len());
                    chosen.push((place, name));
                }
                Some(slot) => {
                    let (standing, _) = &mut chosen[*slot];
                    if !points[*standing].is_complete && point.is_complete {
                        *standing = place;
                    }
                }
            }
        }
        chosen.truncate(count.get() as usize);
        chosen
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn point(number: u8, seconds: i64, is_complete: bool, is_held: bool) -> PointFacts {
        let time = UtcTime::from_unix_seconds(1_795_397_400 + seconds).unwrap();
        PointFacts { id: PointId::from_bytes([number; 16]), time, is_complete, is_held }
    }

    fn count(number: u32) -> NonZeroU32 {
        NonZeroU32::new(number).unwrap()
    }

    /// What one rule keeps, said for each point by itself.
    fn keeps(policy: &Policy, points: &[PointFacts], place: usize) -> bool {
        let point = &points[place];
        let newer = &points[place + 1..];
        if point.is_held || policy.last.is_some_and(|last| newer.len() < last.get() as usize) {
            return true;
        }
        let newest = points[points.len() - 1].time.unix_seconds();
        let age = newest - point.time.unix_seconds();
        if policy.within_seconds.is_some_and(|within| age <= within as i64) {
            return true;
        }
        if point.is_complete && newer.iter().all(|other| !other.is_complete) {
            return true;
        }
        if newer.is_empty() && points.iter().all(|other| !other.is_complete) {
            return true;
        }
        policy.periods.iter().any(|(period, most)| {
            let name = |point: &PointFacts| policy.zone.period(point.time, *period);
            let own = name(point);
            // Periods whose newest point is newer than the newest of this one.
            let last_of_own = points.iter().rposition(|other| name(other) == own).unwrap();
            let mut later: Vec<_> = points[last_of_own + 1..].iter().map(name).collect();
            later.sort();
            later.dedup();
            let better = |other: &PointFacts| {
                name(other) == own && (other.is_complete || !point.is_complete)
            };
            let is_chosen = !newer.iter().any(better)
                && (point.is_complete
                    || !points.iter().any(|other| name(other) == own && other.is_complete));
            is_chosen && later.len() < most.get() as usize
        })
    }

    proptest! {
        #[test]
        fn a_point_is_kept_exactly_where_a_rule_says_so(
            // Mostly ascending, with clocks that jump back now and then.
            steps in prop::collection::vec(
                (prop_oneof![9 => 0i64..400_000, 1 => -400_000i64..0], any::<bool>(), 0u8..10),
                0..40,
            ),
            last in prop::option::of(1u32..6),
            within in prop::option::of(0u64..1_000_000),
            counts in prop::collection::vec(prop::option::of(1u32..8), 5),
            is_berlin in any::<bool>(),
        ) {
            let zone = if is_berlin { "Europe/Berlin".parse().unwrap() } else { Zone::UTC };
            let mut policy = Policy::new(zone);
            policy.last = last.map(count);
            policy.within_seconds = within;
            let periods = Period::ALL.into_iter().zip(counts);
            policy.periods = periods.filter_map(|(p, n)| Some((p, count(n?)))).collect();
            let mut now = 0;
            let points: Vec<_> = steps.iter().zip(0..).map(|((step, is_complete, held), n)| {
                now += step;
                point(n, now, *is_complete, *held == 0)
            }).collect();
            let judged = policy.judge(&points);
            prop_assert_eq!(judged.len(), points.len());
            for (place, why) in judged.iter().enumerate() {
                prop_assert_eq!(!why.is_empty(), keeps(&policy, &points, place), "{}", place);
            }
        }
    }

    #[test]
    fn the_last_good_point_is_kept_whatever_newer_ones_left_out() {
        let mut policy = Policy::new(Zone::UTC);
        policy.last = Some(count(1));
        let points =
            [point(0, 0, true, false), point(1, 10, true, false), point(2, 20, false, false)];
        let judged = policy.judge(&points);
        assert_eq!(judged[0], []);
        assert_eq!(judged[1], [Reason::LastGood]);
        assert_eq!(judged[2], [Reason::Last(count(1))]);
    }

    #[test]
    fn a_day_is_stood_for_by_its_newest_complete_point() {
        let mut policy = Policy::new(Zone::UTC);
        policy.periods.insert(Period::Day, count(2));
        let day = 86_400;
        let points = [
            point(0, -2 * day, true, false),
            point(1, -day, true, false),
            point(2, 0, true, false),
            point(3, 60, true, false),
            point(4, 120, false, false),
        ];
        let kept: Vec<_> = policy.judge(&points).iter().map(|why| !why.is_empty()).collect();
        assert_eq!(kept, [false, true, false, true, false]);
    }

    #[test]
    fn a_policy_without_rules_keeps_only_the_last_good_and_the_held() {
        let policy = Policy::new(Zone::UTC);
        assert!(policy.is_empty() && policy.judge(&[]).is_empty());
        let points = [point(0, 0, true, true), point(1, 1, true, false), point(2, 2, true, false)];
        let judged = policy.judge(&points);
        assert_eq!(judged, [vec![Reason::Held], vec![], vec![Reason::LastGood]]);
    }
}
