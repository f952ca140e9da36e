//! What to do with each pack, from what it holds. Pure.

use std::collections::HashSet;

use crate::base::id::PackId;
use crate::prune::census::{PackUse, Uses};

/// What a prune is going to do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Packs in which nothing is needed, in the order of their ids.
    pub(super) dead: Vec<PackId>,
    /// Packs of which the needed part is written anew, the emptiest first.
    pub(super) compacted: Vec<PackId>,
}

/// Decides. A pack is written anew where less than `live_percent` of its entries is needed, or
/// where it must go for another reason. Packs that the index does not name are left alone while
/// `is_busy`: a session at work may have just published them.
pub(super) fn plan(
    uses: &Uses,
    live_percent: u8,
    is_busy: bool,
    foreign: &HashSet<PackId>,
) -> Plan {
    let mut plan = Plan::default();
    for (pack, of_pack) in uses.iter() {
        if foreign.contains(pack) || of_pack.is_last_resort {
            continue;
        }
        if of_pack.needed == 0 {
            if of_pack.is_indexed || !is_busy || of_pack.must_go {
                plan.dead.push(*pack);
            }
        } else if of_pack.must_go || is_sparse(of_pack, live_percent) {
            plan.compacted.push(*pack);
        }
    }
    plan.dead.sort_unstable();
    plan.compacted.sort_unstable_by_key(|pack| (uses[pack].needed, *pack));
    plan
}

impl Plan {
    /// Takes packs out of the list of those to write anew, the fullest first, until the others take
    /// no more than `bytes`, as `cost` says of a list. Says how many were taken out.
    pub(super) fn fit(&mut self, bytes: u64, cost: impl Fn(&[PackId]) -> u64) -> usize {
        let before = self.compacted.len();
        // More packs never cost less.
        let (mut fits, mut end) = (0, before + 1);
        while end - fits > 1 {
            let middle = usize::midpoint(fits, end);
            match cost(&self.compacted[..middle]) <= bytes {
                true => fits = middle,
                false => end = middle,
            }
        }
        self.compacted.truncate(fits);
        before - fits
    }

    /// All packs that go, if they can.
    pub(super) fn doomed(&self) -> impl Iterator<Item = &PackId> {
        self.dead.iter().chain(&self.compacted)
    }

    /// Lengths of all packs that go.
    pub(super) fn doomed_bytes(&self, uses: &Uses) -> u64 {
        self.doomed().map(|pack| uses[pack].len).sum()
    }

    /// Lengths of the entries in all other packs that nothing needs.
    pub(super) fn unneeded_bytes(&self, uses: &Uses) -> u64 {
        let doomed: HashSet<_> = self.doomed().collect();
        let stay = uses.iter().filter(|(pack, _)| !doomed.contains(pack));
        stay.map(|(_, of_pack)| of_pack.total.saturating_sub(of_pack.needed)).sum()
    }
}

fn is_sparse(of_pack: &PackUse, live_percent: u8) -> bool {
    of_pack.needed * 100 < of_pack.total * u64::from(live_percent)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pack(number: u8) -> PackId {
        PackId::from_bytes([number; 32])
    }

    fn of_pack(needed: u64) -> PackUse {
        PackUse {
            len: 100,
            total: 100,
            sole: needed,
            needed,
            is_indexed: true,
            ..PackUse::default()
        }
    }

    #[test]
    fn dead_packs_go_sparse_ones_are_written_anew_and_the_rest_stays() {
        let damaged = PackUse { is_damaged: true, must_go: true, ..of_pack(99) };
        let last_resort = PackUse { is_last_resort: true, ..of_pack(0) };
        let unindexed = PackUse { is_indexed: false, ..of_pack(0) };
        let all =
            [of_pack(0), of_pack(49), of_pack(50), damaged, last_resort, unindexed, of_pack(0)];
        let uses: Uses = all.into_iter().zip(0..).map(|(one, n)| (pack(n), one)).collect();
        let foreign = HashSet::from([pack(6)]);
        let quiet = plan(&uses, 50, false, &foreign);
        assert_eq!(quiet.dead, [pack(0), pack(5)]);
        assert_eq!(quiet.compacted, [pack(1), pack(3)]);
        assert_eq!(quiet.doomed_bytes(&uses), 400);
        // Half of one pack, and all that can be got out of the last resort.
        assert_eq!(quiet.unneeded_bytes(&uses), 50 + 100 + 100);
        assert_eq!(plan(&uses, 50, true, &foreign).dead, [pack(0)]);
    }

    #[test]
    fn a_plan_is_cut_down_to_the_room_that_there_is() {
        let uses: Uses = (1..=4).map(|n| (pack(n), of_pack(10 * u64::from(n)))).collect();
        let mut plan = plan(&uses, 50, false, &HashSet::new());
        assert_eq!(plan.compacted.len(), 4);
        let cost = |packs: &[PackId]| packs.iter().map(|pack| uses[pack].needed).sum();
        assert_eq!(plan.fit(100, cost), 0);
        assert_eq!(plan.fit(59, cost), 2);
        assert_eq!(plan.compacted, [pack(1), pack(2)]);
        assert_eq!(plan.fit(0, cost), 2);
    }
}
