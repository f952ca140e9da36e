//! Which stored copies can be read, as far as a scrub knows.

use std::collections::{HashMap, HashSet};

use crate::base::id::{ChunkId, PackId};
use crate::format::location::Location;

/// What is known of a pack that is not whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PackDamage {
    /// It is not there.
    Missing,
    /// It ends after so many bytes; nobody has looked at those.
    Cut(u64),
    /// Only these of its chunks can be read through the index; ascending.
    AllBut(Vec<ChunkId>),
}

/// What is known of a stored copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It was proven, as far as the level goes.
    Good,
    /// It cannot be read.
    Bad,
    /// Its pack came after the list of packs was made.
    Unknown,
}

/// What is known of all packs.
#[derive(Debug, Default)]
pub(super) struct Health {
    /// Packs that were there when they were listed.
    pub(super) listed: HashSet<PackId>,
    /// Those of them, and of the packs that the index names, that are not whole.
    pub(super) damaged: HashMap<PackId, PackDamage>,
}

impl Health {
    /// What is known of the copy of `chunk` at `location`.
    pub(super) fn of(&self, chunk: ChunkId, location: &Location) -> Verdict {
        let is_good = match self.damaged.get(&location.pack) {
            None if self.listed.contains(&location.pack) => true,
            None => return Verdict::Unknown,
            Some(PackDamage::Missing) => false,
            Some(PackDamage::Cut(len)) => {
                u64::from(location.offset) + u64::from(location.entry_len) <= *len
            }
            Some(PackDamage::AllBut(good)) => good.binary_search(&chunk).is_ok(),
        };
        if is_good { Verdict::Good } else { Verdict::Bad }
    }

    /// Whether nothing of the pack can be read, so that its chunks need not be named one by one.
    pub(super) fn is_lost(&self, pack: PackId) -> bool {
        match self.damaged.get(&pack) {
            Some(PackDamage::Missing | PackDamage::Cut(0)) => true,
            Some(PackDamage::AllBut(good)) => good.is_empty(),
            _ => false,
        }
    }
}
