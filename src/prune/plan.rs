//! What to do with each pack, from what it holds. Pure.

use crate::prune::census::{Flags, PackUse, Uses};

/// What a prune is going to do. Packs go by their numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Packs in which nothing is needed, in the order of their ids.
    pub(super) dead: Vec<u32>,
    /// Packs of which the needed part is written anew, the emptiest first.
    pub(super) compacted: Vec<u32>,
}

/// Decides. A pack is written anew where less than `live_percent` of its entries is needed, or
/// where it must go for another reason. Packs that the index does not name are left alone while
/// `is_busy`: a session at work may have just published them.
pub(super) fn plan(uses: &Uses, live_percent: u8, is_busy: bool, foreign: &Flags) -> Plan {
    let mut plan = Plan::default();
    for (of_pack, pack) in uses.iter().zip(0..) {
        if foreign[pack as usize] || of_pack.is_last_resort {
            continue;
        }
        if of_pack.needed == 0 {
            if of_pack.is_indexed || !is_busy || of_pack.must_go {
                plan.dead.push(pack);
            }
        } else if of_pack.must_go || is_sparse(of_pack, live_percent) {
            plan.compacted.push(pack);
        }
    }
    plan.compacted.sort_unstable_by_key(|pack| (uses[*pack as usize].needed, *pack));
    plan
}

impl Plan {
    /// Takes packs out of the list of those to write anew, the fullest first, until the others take
    /// no more than `bytes`, as `cost` says of a list. Says how many were taken out.
    pub(super) fn fit(&mut self, bytes: u64, cost: impl Fn(&[u32]) -> u64) -> usize {
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
    pub(super) fn doomed(&self) -> impl Iterator<Item = u32> {
        self.dead.iter().chain(&self.compacted).copied()
    }

    /// Lengths of the entries in all other packs that nothing needs.
    pub(super) fn unneeded_bytes(&self, uses: &Uses) -> u64 {
        let unneeded = |of_pack: &PackUse| of_pack.total.saturating_sub(of_pack.needed);
        let of_doomed = self.doomed().map(|pack| unneeded(&uses[pack as usize]));
        uses.iter().map(unneeded).sum::<u64>() - of_doomed.sum::<u64>()
    }
}

fn is_sparse(of_pack: &PackUse, live_percent: u8) -> bool {
    of_pack.needed * 100 < of_pack.total * u64::from(live_percent)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_pack(needed: u64) -> PackUse {
        PackUse { total: 100, sole: needed, needed, is_indexed: true, ..PackUse::default() }
    }

    #[test]
    fn dead_packs_go_sparse_ones_are_written_anew_and_the_rest_stays() {
        let damaged = PackUse { must_go: true, ..of_pack(99) };
        let last_resort = PackUse { is_last_resort: true, ..of_pack(0) };
        let unindexed = PackUse { is_indexed: false, ..of_pack(0) };
        let all =
            [of_pack(0), of_pack(49), of_pack(50), damaged, last_resort, unindexed, of_pack(0)];
        let uses: Uses = all.into();
        let foreign = vec![false, false, false, false, false, false, true];
        let quiet = plan(&uses, 50, false, &foreign);
        assert_eq!(quiet.dead, [0, 5]);
        assert_eq!(quiet.compacted, [1, 3]);
        // Half of one pack, and all that can be got out of the last resort.
        assert_eq!(quiet.unneeded_bytes(&uses), 50 + 100 + 100);
        assert_eq!(plan(&uses, 50, true, &foreign).dead, [0]);
    }

    #[test]
    fn a_plan_is_cut_down_to_the_room_that_there_is() {
        let uses: Uses = (1..=4).map(|n| of_pack(10 * n)).collect();
        let mut plan = plan(&uses, 50, false, &vec![false; 4]);
        assert_eq!(plan.compacted.len(), 4);
        let cost = |packs: &[u32]| packs.iter().map(|pack| uses[*pack as usize].needed).sum();
        assert_eq!(plan.fit(100, cost), 0);
        assert_eq!(plan.fit(59, cost), 2);
        assert_eq!(plan.compacted, [0, 1]);
        assert_eq!(plan.fit(0, cost), 2);
    }
}
