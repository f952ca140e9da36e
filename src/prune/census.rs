//! What each pack holds that is needed, counted from the index and the marks.

use std::cmp::Reverse;
use std::collections::HashSet;

use crate::base::id::{ChunkId, PackId};
use crate::base::limits::SMALL_OBJECT_BYTES_MAX;
use crate::base::pack_set::PackSet;
use crate::error::{Error, ErrorKind, Result};
use crate::format::entry::EntryKind;
use crate::format::layout::{Area, ObjectName};
use crate::format::lists::{Damaged, DamagedCopy};
use crate::format::location::Location;
use crate::format::segment::IndexEntry;
use crate::index::lookup::Index;
use crate::prune::mark::Live;
use crate::repo::{MAP_COPIES, Repository};
use crate::store::Store;

/// The packs that are there, and what is known against them.
///
/// Here every pack goes by its number: first those that are there, then those that are missing,
/// each in the order of their ids. What is known of all packs is a list by number, not a set of
/// ids: 40 bytes for each pack that is there, and 4 for each that a segment names.
#[derive(Debug, Default)]
pub(super) struct Packs {
    /// Those that are there.
    pub(super) listed: PackSet,
    /// The length of each of those, in bytes.
    pub(super) lens: Vec<u64>,
    /// Those that the index names and that are gone, as somebody wrote down.
    pub(super) missing: PackSet,
    /// Of each segment of the index, the numbers of the packs that it names.
    named: Vec<Vec<u32>>,
    /// Those that a scrub found to be gone.
    pub(super) lost: PackSet,
    /// Copies that cannot be read, as a scrub wrote down.
    pub(super) damaged: HashSet<DamagedCopy>,
    /// The lists of damage.
    pub(super) damage_lists: Vec<(ObjectName, Damaged)>,
    /// Packs that another prune, which is at work, has condemned.
    pub(super) foreign: Flags,
    /// Packs that an earlier prune has condemned, which did not end.
    pub(super) carried: Flags,
}

/// Yes or no for each pack, by its number.
pub(super) type Flags = Vec<bool>;

/// What a pack holds. Lengths are of entries, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct PackUse {
    /// All entries that the index names.
    pub(super) total: u64,
    /// Entries that are needed and of which there are no more copies than there should be.
    pub(super) sole: u64,
    /// Entries that are needed and that this pack was chosen to keep.
    pub(super) needed: u64,
    /// Number of those.
    pub(super) needed_entries: u32,
    /// Whether it holds map nodes, which are written twice.
    pub(super) is_map: bool,
    /// Whether the index names it.
    pub(super) is_indexed: bool,
    /// Whether it holds the only copy of something needed that cannot be read: it stays as it is,
    /// for whoever may still get something out of it.
    pub(super) is_last_resort: bool,
    /// Whether it must go if that can be.
    pub(super) must_go: bool,
}

impl PackUse {
    fn keep(&mut self, copy: &IndexEntry) {
        self.needed += u64::from(copy.entry_len);
        // As many entries as a segment can hold are not in one pack.
        self.needed_entries = self.needed_entries.saturating_add(1);
    }
}

/// The use of each pack that is there, by its number.
pub(super) type Uses = Vec<PackUse>;

impl Packs {
    /// Lists packs and damage. `explained` are packs that may be gone. What is condemned must have
    /// been read before.
    pub(super) fn look(repo: &Repository, live: &Live, explained: &PackSet) -> Result<Self> {
        let store = &**repo.store();
        let mut packs = Self { damage_lists: read_damage(store)?, ..Self::default() };
        for (_, damaged) in &packs.damage_lists {
            packs.damaged.extend(&damaged.copies);
            packs.lost.extend(damaged.missing_packs.iter().copied());
        }
        (packs.listed, packs.lens) = list_packs(store)?;
        (packs.named, packs.missing) = number_packs(&live.index, &packs.listed)?;
        for pack in packs.missing.ids() {
            let is_explained = packs.lost.contains(pack) || explained.contains(pack);
            check_gone(store, *pack, is_explained)?;
        }
        (packs.foreign, packs.carried) = (packs.flags(&[]), packs.flags(&[]));
        Ok(packs)
    }

    /// The number of a pack that is there or missing.
    pub(super) fn number(&self, pack: &PackId) -> Option<u32> {
        let missing = || Some(self.listed.len() as u32 + self.missing.number(pack)?);
        self.listed.number(pack).or_else(missing)
    }

    /// The pack of that number.
    ///
    /// # Panics
    ///
    /// If there is none.
    pub(super) fn id(&self, number: u32) -> PackId {
        let missing = || self.missing.get(number - self.listed.len() as u32);
        self.listed.get(number).or_else(missing).expect("a number of a pack")
    }

    /// Those of all packs that are there or missing which are among `packs`.
    pub(super) fn flags<'a>(&self, packs: impl IntoIterator<Item = &'a PackId>) -> Flags {
        let mut flags = vec![false; self.listed.len() + self.missing.len()];
        packs.into_iter().filter_map(|pack| self.number(pack)).for_each(|number| {
            flags[number as usize] = true;
        });
        flags
    }

    /// Whether each segment of the index names one of these packs.
    pub(super) fn naming<'a>(&'a self, packs: &'a Flags) -> impl Iterator<Item = bool> + 'a {
        self.named.iter().map(|numbers| numbers.iter().any(|number| packs[*number as usize]))
    }

    fn is_listed(&self, copy: &IndexEntry) -> bool {
        (copy.pack_number as usize) < self.listed.len()
    }

    /// Whether a copy is there and can be read, as far as is known.
    pub(super) fn is_good(&self, copy: &IndexEntry) -> bool {
        let is_damaged = || {
            let pack = self.id(copy.pack_number);
            self.damaged.contains(&DamagedCopy { pack, chunk: copy.chunk })
        };
        self.is_listed(copy) && (self.damaged.is_empty() || !is_damaged())
    }

    fn is_usable(&self, copy: &IndexEntry) -> bool {
        self.is_good(copy) && !self.foreign[copy.pack_number as usize]
    }

    /// Those of `copies` of a chunk that should be kept.
    pub(super) fn chosen(&self, uses: &Uses, copies: &[IndexEntry]) -> Vec<IndexEntry> {
        let mut good: Vec<_> = copies.iter().copied().filter(|copy| self.is_usable(copy)).collect();
        if good.len() > wanted(copies) {
            // The same for all chunks that lie in the same packs, so that others become empty.
            good.sort_by_key(|copy| {
                let of_pack = &uses[copy.pack_number as usize];
                (of_pack.must_go, Reverse(of_pack.sole), copy.pack_number, copy.offset)
            });
            good.truncate(wanted(copies));
        }
        good
    }

    /// Whether a place is one of those in which `chunk` should be kept.
    pub(super) fn is_chosen(
        &self,
        uses: &Uses,
        chunk: ChunkId,
        copies: &[Location],
        place: &Location,
    ) -> bool {
        let numbered = |copy: &Location| {
            let Location { pack, offset, entry_len, plain_len, kind } = *copy;
            let pack_number = self.number(&pack)?;
            Some(IndexEntry { chunk, pack_number, offset, entry_len, plain_len, kind })
        };
        let copies: Vec<_> = copies.iter().filter_map(numbered).collect();
        let place = (self.number(&place.pack), place.offset);
        let mut chosen = self.chosen(uses, &copies).into_iter();
        chosen.any(|one| (Some(one.pack_number), one.offset) == place)
    }
}

/// Counts what is needed of each pack.
pub(super) fn count(live: &Live, packs: &Packs) -> Result<Uses> {
    let unused = |must_go: &bool| PackUse { must_go: *must_go, ..PackUse::default() };
    let mut uses: Uses = packs.carried.iter().take(packs.listed.len()).map(unused).collect();
    let mut has_surplus = false;
    each_chunk(live, packs, |copies, is_live| {
        for copy in copies {
            if let Some(of_pack) = uses.get_mut(copy.pack_number as usize) {
                of_pack.is_indexed = true;
                of_pack.is_map |= copy.kind == EntryKind::MapNode;
                of_pack.total += u64::from(copy.entry_len);
                of_pack.must_go |= !packs.is_good(copy);
            }
        }
        if !is_live {
            return Ok(());
        }
        let good = copies.iter().filter(|copy| packs.is_usable(copy));
        match good.clone().count() {
            0 => keep_unreadable(copies, packs, &mut uses)?,
            count if count <= wanted(copies) => good.for_each(|copy| {
                let of_pack = &mut uses[copy.pack_number as usize];
                of_pack.sole += u64::from(copy.entry_len);
                of_pack.keep(copy);
            }),
            _ => has_surplus = true,
        }
        Ok(())
    })?;
    if has_surplus {
        choose_among_surplus(live, packs, &mut uses)?;
    }
    Ok(uses)
}

fn choose_among_surplus(live: &Live, packs: &Packs, uses: &mut Uses) -> Result<()> {
    each_chunk(live, packs, |copies, is_live| {
        let good = copies.iter().filter(|copy| packs.is_usable(copy)).count();
        if is_live && good > wanted(copies) {
            // What is kept changes nothing that the choice looks at.
            for copy in packs.chosen(uses, copies) {
                uses[copy.pack_number as usize].keep(&copy);
            }
        }
        Ok(())
    })
}

/// A chunk that is needed and has no copy that can be read: its packs stay. Fails where none of
/// them is there and nobody wrote that down.
fn keep_unreadable(copies: &[IndexEntry], packs: &Packs, uses: &mut Uses) -> Result<()> {
    for copy in copies {
        if let Some(of_pack) = uses.get_mut(copy.pack_number as usize) {
            of_pack.is_last_resort = true;
            continue;
        }
        let pack = packs.id(copy.pack_number);
        if !packs.lost.contains(&pack) {
            let name = ObjectName::pack(pack).to_string();
            let what = "the pack of a chunk is gone that a restore point needs; nothing was \
                        deleted; `backstop scrub` writes down what is missing";
            return Err(Error::corrupt(what).at(name).chunk(copy.chunk));
        }
    }
    Ok(())
}

/// Calls `each` with the copies of each chunk of the index, which have the packs' numbers, and
/// whether the chunk is needed.
pub(super) fn each_chunk(
    live: &Live,
    packs: &Packs,
    each: impl FnMut(&[IndexEntry], bool) -> Result<()>,
) -> Result<()> {
    live.index.each_chunk(&packs.named, &live.marks, each)
}

/// The packs that are there, and the length of each.
fn list_packs(store: &dyn Store) -> Result<(PackSet, Vec<u64>)> {
    let mut listed = Vec::new();
    // One by one: of a million packs the names would take more memory than all that is kept.
    store.each_name(Area::Packs, &mut |name| {
        listed.extend(name.pack_id());
        Ok(())
    })?;
    let mut listed: PackSet = listed.into_iter().collect();
    let (mut lens, mut failure) = (Vec::with_capacity(listed.len()), None);
    listed.retain(|pack| match store.len_bytes(&ObjectName::pack(*pack)) {
        Ok(len) => {
            lens.push(len);
            true
        }
        // Deleted by another prune since it was listed.
        Err(error) if error.kind() == ErrorKind::NotFound => false,
        Err(error) => {
            failure.get_or_insert(error);
            false
        }
    });
    failure.map_or(Ok((listed, lens)), Err)
}

/// The numbers of the packs that each segment names, and those of them that are not listed, whose
/// numbers follow those of the listed.
fn number_packs(index: &Index, listed: &PackSet) -> Result<(Vec<Vec<u32>>, PackSet)> {
    let (listed_len, mut unlisted) = (listed.len(), Vec::new());
    let mut number = |pack: Result<PackId>| {
        let pack = pack?;
        Ok(listed.number(&pack).unwrap_or_else(|| {
            unlisted.push(pack);
            (listed_len + unlisted.len() - 1) as u32
        }))
    };
    let segments = index.segments().iter();
    let named: Result<Vec<Vec<u32>>> =
        segments.map(|segment| segment.packs().map(&mut number).collect()).collect();
    let mut named = named?;
    let missing: PackSet = unlisted.iter().copied().collect();
    for number in named.iter_mut().flatten().filter(|number| **number as usize >= listed_len) {
        let place = missing.number(&unlisted[*number as usize - listed_len]);
        *number = (listed_len as u32) + place.expect("it was put there");
    }
    Ok((named, missing))
}

/// How many copies there should be.
fn wanted(copies: &[IndexEntry]) -> usize {
    let is_node = copies.iter().any(|copy| copy.kind == EntryKind::MapNode);
    if is_node { usize::from(MAP_COPIES) } else { 1 }
}

/// A pack that the index names and a listing does not: gone, and somebody said so.
fn check_gone(store: &dyn Store, pack: PackId, is_explained: bool) -> Result<()> {
    let name = ObjectName::pack(pack);
    if is_there(store, &name)? {
        let what = "a listing left out a pack that is there; nothing was deleted";
        return Err(Error::new(ErrorKind::Io, what).at(name.to_string()));
    }
    if is_explained {
        return Ok(());
    }
    let what = "a pack is gone and nothing says why; nothing was deleted; `backstop scrub` writes \
                down what is missing";
    Err(Error::corrupt(what).at(name.to_string()))
}

/// Whether there is an object of that name.
pub(super) fn is_there(store: &dyn Store, name: &ObjectName) -> Result<bool> {
    match store.len_bytes(name) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// The lists of damage. One that cannot be read is an error: a copy that it names could be kept in
/// the place of a good one.
fn read_damage(store: &dyn Store) -> Result<Vec<(ObjectName, Damaged)>> {
    let mut lists = Vec::new();
    for name in store.list(Area::Damaged)? {
        match store.read(&name, SMALL_OBJECT_BYTES_MAX) {
            Ok(bytes) => {
                let list = Damaged::decode(&bytes).map_err(|error| error.in_object(&name))?;
                lists.push((name, list));
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(lists)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::base::chance::Chance;
    use crate::base::id::RepoId;
    use crate::crypto::Sealing;
    use crate::index::builder::publish_segment;
    use crate::monitor::VoidMonitor;
    use crate::store::testing::{MemoryStore, SeededChance};

    const PACKS: usize = 40;

    /// Chunks with their copies, of which some lie in several segments, and what is known of packs.
    struct Case {
        copies: BTreeMap<ChunkId, Vec<Location>>,
        needed: HashSet<ChunkId>,
        live: Live,
        packs: Packs,
    }

    fn pack(number: usize) -> PackId {
        let chance = SeededChance::new(1000 + number as u64);
        PackId::from_bytes((&chance as &dyn Chance).bytes())
    }

    fn some(chance: &SeededChance, of: usize) -> Vec<PackId> {
        (0..PACKS).filter(|_| chance.below(of) == 0).map(pack).collect()
    }

    fn case(seed: u64) -> Case {
        let chance = SeededChance::new(seed);
        let (store, sealing) = (MemoryStore::new(), Sealing::plain(RepoId::from_bytes([7; 16])));
        let mut copies: BTreeMap<ChunkId, Vec<Location>> = BTreeMap::new();
        let mut entries = Vec::new();
        for number in 0..600 {
            let chunk = ChunkId::from_bytes((&chance as &dyn Chance).bytes());
            let kind = if number % 7 == 0 { EntryKind::MapNode } else { EntryKind::Data };
            for _ in 0..1 + chance.below(4) * chance.below(2) {
                let (pack, offset) = (pack(chance.below(PACKS)), 1 + chance.below(2) as u32);
                let entry_len = 1000 + pack.as_bytes()[0] as u32 + offset;
                let copy = Location { pack, offset, entry_len, plain_len: 4096, kind };
                let of_chunk = copies.entry(chunk).or_default();
                if !of_chunk.contains(&copy) {
                    of_chunk.push(copy);
                }
                entries.push((chunk, copy));
            }
        }
        for part in [0..entries.len() / 2, entries.len() / 3..entries.len(), 5..90] {
            publish_segment(&store, &sealing, entries[part].to_vec()).unwrap();
        }
        let index = Index::load(&store, &sealing, &VoidMonitor).unwrap();
        let mut marks = index.no_marks();
        let needed: HashSet<_> = copies.keys().filter(|_| chance.below(3) > 0).copied().collect();
        let chunks: Vec<_> = needed.iter().copied().collect();
        assert_eq!(index.mark_all(&chunks, &mut marks).unwrap(), None);
        let gone = some(&chance, 10);
        let listed: PackSet = (0..PACKS + 3).map(pack).filter(|one| !gone.contains(one)).collect();
        let (named, missing) = number_packs(&index, &listed).unwrap();
        let mut damaged = HashSet::new();
        for (chunk, copies) in &copies {
            let of_chunk = copies.iter().filter(|_| chance.below(20) == 0);
            damaged.extend(of_chunk.map(|copy| DamagedCopy { pack: copy.pack, chunk: *chunk }));
        }
        let lost = gone.into_iter().collect();
        let lens = vec![0; listed.len()];
        let mut packs = Packs { listed, lens, missing, named, lost, damaged, ..Packs::default() };
        packs.foreign = packs.flags(&some(&chance, 8));
        packs.carried = packs.flags(&some(&chance, 8));
        let live = Live { index: std::sync::Arc::new(index), marks };
        Case { copies, needed, live, packs }
    }

    /// The same by sets of ids, chunk by chunk.
    fn count_simply(case: &Case) -> BTreeMap<PackId, PackUse> {
        let Case { copies, needed, packs, .. } = case;
        let number = |pack: &PackId| packs.listed.number(pack).map(|number| number as usize);
        let is_good = |chunk: ChunkId, pack: PackId| {
            packs.listed.contains(&pack) && !packs.damaged.contains(&DamagedCopy { pack, chunk })
        };
        let mut uses: BTreeMap<PackId, PackUse> = BTreeMap::new();
        for (pack, number) in packs.listed.ids().iter().zip(0..) {
            uses.entry(*pack).or_default().must_go = packs.carried[number];
        }
        let mut chosen: Vec<(Vec<Location>, usize)> = Vec::new();
        for (chunk, copies) in copies {
            let wanted = if copies[0].kind == EntryKind::MapNode { 2 } else { 1 };
            let usable = |copy: &&Location| {
                is_good(*chunk, copy.pack) && !number(&copy.pack).is_some_and(|n| packs.foreign[n])
            };
            let good: Vec<Location> = copies.iter().filter(usable).copied().collect();
            for copy in copies {
                let Some(of_pack) = uses.get_mut(&copy.pack) else { continue };
                of_pack.is_indexed = true;
                of_pack.is_map |= copy.kind == EntryKind::MapNode;
                of_pack.total += u64::from(copy.entry_len);
                of_pack.must_go |= !is_good(*chunk, copy.pack);
                of_pack.is_last_resort |= needed.contains(chunk) && good.is_empty();
                if needed.contains(chunk) && good.len() <= wanted && good.contains(copy) {
                    of_pack.sole += u64::from(copy.entry_len);
                }
            }
            if needed.contains(chunk) {
                chosen.push((good, wanted));
            }
        }
        let before = uses.clone();
        for (mut good, wanted) in chosen {
            good.sort_by_key(|copy| {
                let of_pack = before[&copy.pack];
                (of_pack.must_go, Reverse(of_pack.sole), copy.pack, copy.offset)
            });
            for copy in good.iter().take(wanted) {
                let of_pack = uses.get_mut(&copy.pack).unwrap();
                of_pack.needed += u64::from(copy.entry_len);
                of_pack.needed_entries += 1;
            }
        }
        uses
    }

    #[test]
    fn counting_in_order_says_what_counting_by_ids_says() {
        for seed in 0..40 {
            let case = case(seed);
            let Case { live, packs, .. } = &case;
            assert!(packs.damaged.len() > 5 && packs.listed.len() > 20);
            let uses = count(live, packs).unwrap();
            let by_id = packs.listed.ids().iter().copied().zip(uses.iter().copied());
            assert_eq!(by_id.collect::<BTreeMap<_, _>>(), count_simply(&case), "seed {seed}");
            for (chunk, copies) in &case.copies {
                let kept =
                    copies.iter().filter(|copy| packs.is_chosen(&uses, *chunk, copies, copy));
                let kind = copies[0].kind == EntryKind::MapNode;
                assert!(kept.count() <= if kind { 2 } else { 1 });
            }
        }
    }

    #[test]
    fn numbers_lead_to_packs_that_are_there_and_to_missing_ones_and_back() {
        let mut missing = 0;
        for seed in 0..10 {
            let Case { packs, live, .. } = case(seed);
            for (number, pack) in (0..).zip(packs.listed.ids().iter().chain(packs.missing.ids())) {
                assert_eq!((packs.number(pack), packs.id(number)), (Some(number), *pack));
            }
            for (segment, named) in live.index.segments().iter().zip(&packs.named) {
                let ids = segment.packs().map(Result::unwrap);
                assert!(ids.eq(named.iter().map(|number| packs.id(*number))));
            }
            missing += packs.missing.len();
        }
        assert!(missing > 10);
    }
}
