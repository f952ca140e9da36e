//! What each pack holds that is needed, counted from the index and the marks.

use std::cmp::Reverse;
use std::collections::HashSet;

use crate::base::id::{ChunkId, PackId};
use crate::base::limits::SMALL_OBJECT_BYTES_MAX;
use crate::error::{Error, ErrorKind, Result};
use crate::format::entry::EntryKind;
use crate::format::layout::{Area, ObjectName};
use crate::format::lists::{Damaged, DamagedCopy};
use crate::format::location::Location;
use crate::prune::mark::Live;
use crate::prune::pack_table::PackTable;
use crate::repo::{MAP_COPIES, Repository};
use crate::store::Store;

/// The packs that are there, and what is known against them.
#[derive(Debug, Default)]
pub(super) struct Packs {
    /// Those that are there, each with its length.
    pub(super) listed: PackTable<u64>,
    /// Those that the index names and that are gone, as somebody wrote down.
    pub(super) missing: HashSet<PackId>,
    /// Those that a scrub found to be gone.
    pub(super) lost: HashSet<PackId>,
    /// Copies that cannot be read, as a scrub wrote down.
    pub(super) damaged: HashSet<DamagedCopy>,
    /// The lists of damage.
    pub(super) damage_lists: Vec<(ObjectName, Damaged)>,
    /// Packs that another prune, which is at work, has condemned.
    pub(super) foreign: HashSet<PackId>,
    /// Packs that an earlier prune has condemned, which did not end.
    pub(super) carried: HashSet<PackId>,
}

/// What a pack holds. Lengths are of entries, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct PackUse {
    /// Length of the pack.
    pub(super) len: u64,
    /// All entries that the index names.
    pub(super) total: u64,
    /// Entries that are needed and of which there are no more copies than there should be.
    pub(super) sole: u64,
    /// Entries that are needed and that this pack was chosen to keep.
    pub(super) needed: u64,
    /// Number of those.
    pub(super) needed_entries: u64,
    /// Whether it holds map nodes, which are written twice.
    pub(super) is_map: bool,
    /// Whether the index names it.
    pub(super) is_indexed: bool,
    /// Whether it holds a copy that cannot be read.
    pub(super) is_damaged: bool,
    /// Whether it holds the only copy of something needed that cannot be read: it stays as it is,
    /// for whoever may still get something out of it.
    pub(super) is_last_resort: bool,
    /// Whether it must go if that can be.
    pub(super) must_go: bool,
}

impl PackUse {
    fn keep(&mut self, copy: &Location) {
        self.needed += u64::from(copy.entry_len);
        self.needed_entries += 1;
    }
}

/// The use of all packs.
pub(super) type Uses = PackTable<PackUse>;

impl Packs {
    /// Lists packs and damage. `explained` are packs that may be gone. What is condemned must have
    /// been read before.
    pub(super) fn look(
        repo: &Repository,
        live: &Live,
        explained: &HashSet<PackId>,
    ) -> Result<Self> {
        let store = &**repo.store();
        let mut packs = Self { damage_lists: read_damage(store)?, ..Self::default() };
        for (_, damaged) in &packs.damage_lists {
            packs.damaged.extend(&damaged.copies);
            packs.lost.extend(&damaged.missing_packs);
        }
        packs.listed = list_packs(store)?;
        for pack in live.index.segments().iter().flat_map(|segment| segment.packs()) {
            let pack = pack?;
            if !packs.listed.contains_key(&pack) && !packs.missing.contains(&pack) {
                let is_explained = packs.lost.contains(&pack) || explained.contains(&pack);
                check_gone(store, pack, is_explained)?;
                packs.missing.insert(pack);
            }
        }
        Ok(packs)
    }

    /// Whether a copy is there and can be read, as far as is known.
    pub(super) fn is_good(&self, chunk: ChunkId, copy: &Location) -> bool {
        self.listed.contains_key(&copy.pack)
            && !self.damaged.contains(&DamagedCopy { pack: copy.pack, chunk })
    }

    /// Those of `copies` of a chunk that should be kept.
    pub(super) fn chosen(&self, uses: &Uses, chunk: ChunkId, copies: &[Location]) -> Vec<Location> {
        let mut good: Vec<_> = copies.iter().filter(|copy| self.is_usable(chunk, copy)).collect();
        if good.len() > wanted(copies) {
            // The same for all chunks that lie in the same packs, so that others become empty.
            good.sort_by_key(|copy| {
                let of_pack = uses.get(&copy.pack).copied().unwrap_or_default();
                (of_pack.must_go, Reverse(of_pack.sole), copy.pack, copy.offset)
            });
            good.truncate(wanted(copies));
        }
        good.into_iter().copied().collect()
    }

    fn is_usable(&self, chunk: ChunkId, copy: &Location) -> bool {
        self.is_good(chunk, copy) && !self.foreign.contains(&copy.pack)
    }
}

/// Counts what is needed of each pack.
pub(super) fn count(live: &Live, packs: &Packs) -> Result<Uses> {
    let mut uses = packs.listed.map(|pack, len| {
        let must_go = packs.carried.contains(pack);
        PackUse { len: *len, must_go, ..PackUse::default() }
    });
    let mut has_surplus = false;
    each_chunk(live, |chunk, copies, is_live| {
        for copy in copies {
            if let Some(of_pack) = uses.get_mut(&copy.pack) {
                of_pack.is_indexed = true;
                of_pack.is_map |= copy.kind == EntryKind::MapNode;
                of_pack.total += u64::from(copy.entry_len);
                if !packs.is_good(chunk, copy) {
                    (of_pack.is_damaged, of_pack.must_go) = (true, true);
                }
            }
        }
        if !is_live {
            return Ok(());
        }
        let good = copies.iter().filter(|copy| packs.is_usable(chunk, copy));
        match good.clone().count() {
            0 => keep_unreadable(chunk, copies, packs, &mut uses)?,
            count if count <= wanted(copies) => good.for_each(|copy| {
                if let Some(of_pack) = uses.get_mut(&copy.pack) {
                    of_pack.sole += u64::from(copy.entry_len);
                    of_pack.keep(copy);
                }
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
    each_chunk(live, |chunk, copies, is_live| {
        let good = copies.iter().filter(|copy| packs.is_usable(chunk, copy)).count();
        if is_live && good > wanted(copies) {
            // What is kept changes nothing that the choice looks at.
            for copy in packs.chosen(uses, chunk, copies) {
                if let Some(of_pack) = uses.get_mut(&copy.pack) {
                    of_pack.keep(&copy);
                }
            }
        }
        Ok(())
    })
}

/// A chunk that is needed and has no copy that can be read: its packs stay. Fails where none of
/// them is there and nobody wrote that down.
fn keep_unreadable(
    chunk: ChunkId,
    copies: &[Location],
    packs: &Packs,
    uses: &mut Uses,
) -> Result<()> {
    for copy in copies {
        if let Some(of_pack) = uses.get_mut(&copy.pack) {
            of_pack.is_last_resort = true;
        } else if !packs.lost.contains(&copy.pack) {
            let name = ObjectName::pack(copy.pack).to_string();
            let what = "the pack of a chunk is gone that a restore point needs; nothing was \
                        deleted; `backstop scrub` writes down what is missing";
            return Err(Error::corrupt(what).at(name).chunk(chunk));
        }
    }
    Ok(())
}

/// Calls `f` with each chunk of the index, its copies and whether it is needed.
pub(super) fn each_chunk(
    live: &Live,
    mut f: impl FnMut(ChunkId, &[Location], bool) -> Result<()>,
) -> Result<()> {
    let mut hand_over = |group: &mut Vec<(ChunkId, Location)>| {
        let Some((chunk, _)) = group.first().copied() else { return Ok(()) };
        let copies: Vec<_> = group.drain(..).map(|(_, copy)| copy).collect();
        f(chunk, &copies, live.index.is_marked(chunk, &live.marks)?)
    };
    let mut group: Vec<(ChunkId, Location)> = Vec::new();
    for entry in live.index.entries() {
        let entry = entry?;
        if group.first().is_some_and(|first| first.0 != entry.0) {
            hand_over(&mut group)?;
        }
        group.push(entry);
    }
    hand_over(&mut group)
}

/// The packs that are there, each with its length.
fn list_packs(store: &dyn Store) -> Result<PackTable<u64>> {
    let mut listed = PackTable::default();
    // One by one: of a million packs the names would take more memory than all that is kept.
    store.each_name(Area::Packs, &mut |name| {
        let Some(pack) = name.pack_id() else { return Ok(()) };
        match store.len_bytes(&name) {
            Ok(len) => listed.insert(pack, len),
            // Deleted by another prune since it was listed.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        Ok(())
    })?;
    Ok(listed)
}

/// How many copies there should be.
fn wanted(copies: &[Location]) -> usize {
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
