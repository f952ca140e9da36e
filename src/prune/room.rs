//! How much a prune writes before it deletes anything. Pure; every figure is an upper bound.

use crate::base::limits::PACK_TARGET_BYTES;
use crate::format::entry::ENTRY_LEN_MAX;
use crate::format::pack::{PACK_FOOTER_LEN, PACK_HEADER_LEN, TABLE_ROW_LEN};
use crate::format::parity::{PACK_SHARDS, PARITY_HEADER_LEN, RECOVERY_SHARDS, SHARD_BLOCK_LEN};
use crate::format::sealed::TAG_LEN;
use crate::format::segment::{INDEX_ENTRY_LEN, PAGE_LEN};
use crate::prune::census::{PackUse, Uses};
use crate::repo::MAP_COPIES;

/// Room for what is small: registers, registrations, directories, and what is lost to whole blocks.
const SMALL_BYTES: u64 = 256 << 10;
/// What a pack takes in a list of condemned packs, and a new one in blocks that it does not fill.
const LISTED_BYTES: u64 = 80;

/// What a pack has besides entries and rows; the tag only where it is sealed.
const FRAME_BYTES: u64 = (PACK_HEADER_LEN + PACK_FOOTER_LEN + TAG_LEN) as u64;

/// Length of the packs, with their parity, into which the needed part of `packs` is copied.
pub(super) fn rewritten_bytes(uses: &Uses, packs: &[u32], has_parity: bool) -> u64 {
    let of_kind = |is_map| {
        let bytes: u64 = of_kind(uses, packs, is_map).map(stored_bytes).sum();
        match bytes {
            0 => 0,
            _ => with_frames(bytes, has_parity) * copies(is_map),
        }
    };
    of_kind(false) + of_kind(true)
}

/// What the index takes for a while beside its old segments, of which those that name packs which
/// go have `old_bytes`: a segment over what is copied, and one in the place of all of these.
pub(super) fn index_bytes(uses: &Uses, packs: &[u32], old_bytes: u64) -> u64 {
    let entries = |is_map| {
        let needed: u64 =
            of_kind(uses, packs, is_map).map(|one| u64::from(one.needed_entries)).sum();
        needed * copies(is_map)
    };
    let count = entries(false) + entries(true);
    // An entry, its part of the fan-out and of the checks of pages; the sections begin on pages.
    let copied = match count {
        0 => 0,
        _ => count * (INDEX_ENTRY_LEN as u64 + 4) + 8 * PAGE_LEN as u64,
    };
    match old_bytes + copied {
        0 => 0,
        _ => old_bytes + 2 * copied + 8 * PAGE_LEN as u64,
    }
}

/// What the rest takes: lists of `packs` packs, and what is small.
pub(super) fn other_bytes(packs: usize) -> u64 {
    SMALL_BYTES + packs as u64 * LISTED_BYTES
}

fn of_kind<'a>(
    uses: &'a Uses,
    packs: &'a [u32],
    is_map: bool,
) -> impl Iterator<Item = &'a PackUse> {
    packs.iter().map(|pack| &uses[*pack as usize]).filter(move |one| one.is_map == is_map)
}

fn copies(is_map: bool) -> u64 {
    if is_map { MAP_COPIES.into() } else { 1 }
}

fn stored_bytes(of_pack: &PackUse) -> u64 {
    of_pack.needed + u64::from(of_pack.needed_entries) * TABLE_ROW_LEN as u64
}

/// Entries and rows of that length with what packs and their parity add.
fn with_frames(bytes: u64, has_parity: bool) -> u64 {
    // A pack is closed when the next entry does not fit.
    let packs = bytes / (PACK_TARGET_BYTES - 2 * ENTRY_LEN_MAX) as u64 + 1;
    let whole = bytes + packs * FRAME_BYTES;
    if !has_parity {
        return whole;
    }
    let (shards, recovery) = (PACK_SHARDS as u64, RECOVERY_SHARDS as u64);
    let of_pack = PARITY_HEADER_LEN as u64 + recovery * (1 + SHARD_BLOCK_LEN as u64);
    whole + whole * recovery / shards + packs * of_pack
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_count_twice_parity_is_added_and_nothing_costs_nothing() {
        let of_pack =
            |is_map| PackUse { needed: 1000, needed_entries: 10, is_map, ..PackUse::default() };
        let uses: Uses = vec![of_pack(false), of_pack(true)];
        let one = 1000 + 10 * TABLE_ROW_LEN as u64 + FRAME_BYTES;
        assert_eq!(rewritten_bytes(&uses, &[0], false), one);
        assert_eq!(rewritten_bytes(&uses, &[1], false), 2 * one);
        assert_eq!(rewritten_bytes(&uses, &[0, 1], false), 3 * one);
        assert!(rewritten_bytes(&uses, &[0], true) > one + PARITY_HEADER_LEN as u64);
        assert_eq!(rewritten_bytes(&uses, &[], true), 0);
        assert_eq!(index_bytes(&uses, &[], 0), 0);
        let entries = 30 * INDEX_ENTRY_LEN as u64;
        let both = index_bytes(&uses, &[0, 1], 5000);
        assert!(both > 5000 + 2 * entries, "{both}");
    }
}
