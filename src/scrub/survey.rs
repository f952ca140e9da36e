//! What a scrub finds, for whoever is going to heal it.

use crate::base::id::{ChunkId, PackId};
use crate::error::Result;
use crate::format::lists::DamagedCopy;
use crate::format::location::Location;
use crate::index::lookup::Index;
use crate::repo::Repository;
use crate::scrub::health::{PackDamage, Verdict};
use crate::scrub::listing::Contents;
use crate::scrub::objects::Objects;
use crate::scrub::report::{AffectedDisk, Finding, Named};
use crate::scrub::run::{Run, ScrubOptions};

/// Everything that is stored, looked at. Nothing was written, not even that something is damaged.
pub struct Survey<'a> {
    run: Run<'a>,
    objects: Objects,
    contents: Contents,
}

/// What can be told of the copies of one chunk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Copies {
    /// Good ones, in packs that are whole.
    pub sound: Vec<Location>,
    /// Good ones, in packs that are not.
    pub endangered: Vec<Location>,
    /// Such that cannot be read.
    pub bad: Vec<Location>,
}

/// Looks at everything, as deep as `options` say.
///
/// # Errors
///
/// As [`super::scrub`].
pub fn survey<'a>(repo: &'a Repository, options: &'a ScrubOptions) -> Result<Survey<'a>> {
    let mut run = Run::new(repo, options);
    let (objects, contents) = run.read_lists()?;
    run.check_packs(&contents)?;
    Ok(Survey { run, objects, contents })
}

impl Survey<'_> {
    /// What is wrong, as far as it is named.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.run.findings.list
    }

    /// The index as it was.
    #[must_use]
    pub fn index(&self) -> &Index {
        &self.contents.index
    }

    /// Whether all of the index could be read.
    #[must_use]
    pub fn is_index_whole(&self) -> bool {
        self.contents.is_whole
    }

    /// Packs that are there and not what they should be, or not what the index says; ascending.
    #[must_use]
    pub fn damaged_packs(&self) -> Vec<PackId> {
        self.packs_that(|damage| *damage != PackDamage::Missing)
    }

    /// Packs that the index names and that are not there; ascending.
    #[must_use]
    pub fn missing_packs(&self) -> Vec<PackId> {
        self.packs_that(|damage| *damage == PackDamage::Missing)
    }

    fn packs_that(&self, is_such: impl Fn(&PackDamage) -> bool) -> Vec<PackId> {
        let damaged = self.run.health.damaged.iter();
        let mut packs: Vec<_> =
            damaged.filter(|(_, damage)| is_such(damage)).map(|(pack, _)| *pack).collect();
        packs.sort_unstable();
        packs
    }

    /// Packs that are whole and that the index does not name.
    #[must_use]
    pub fn unindexed_packs(&self) -> u64 {
        let health = &self.run.health;
        let is_unindexed = |pack: &&PackId| {
            !health.damaged.contains_key(*pack) && !self.contents.packs.contains_key(*pack)
        };
        health.listed.iter().filter(is_unindexed).count() as u64
    }

    /// Whether the index names entries in the pack.
    #[must_use]
    pub fn is_indexed(&self, pack: PackId) -> bool {
        self.contents.packs.contains_key(&pack)
    }

    /// Packs that are there and have no good parity, but should have; each with the reason.
    #[must_use]
    pub fn packs_without_parity(&self) -> Vec<(PackId, String)> {
        self.run.without_parity.clone()
    }

    /// Takes note that a damaged pack was made whole.
    pub fn mark_whole(&mut self, pack: PackId) {
        self.run.health.damaged.remove(&pack);
    }

    /// What is known of these copies of a chunk. A pack that came later counts as whole.
    #[must_use]
    pub fn copies(&self, chunk: ChunkId, locations: &[Location]) -> Copies {
        let health = &self.run.health;
        let mut copies = Copies::default();
        for location in locations {
            let is_whole = !health.damaged.contains_key(&location.pack);
            match health.of(chunk, location) {
                Verdict::Bad => copies.bad.push(*location),
                _ if is_whole => copies.sound.push(*location),
                _ => copies.endangered.push(*location),
            }
        }
        copies
    }

    /// Finds out which disks cannot be read in full.
    pub fn affected(&mut self) -> Result<Named<AffectedDisk>> {
        self.run.walk(&self.objects.points)
    }

    /// The finding that a copy of a chunk is damaged and that there is no other.
    #[must_use]
    pub fn lost(chunk: ChunkId, location: &Location) -> Finding {
        Finding::DamagedChunk {
            copy: DamagedCopy { pack: location.pack, chunk },
            kind: location.kind,
            offset_bytes: location.offset,
            plain_len: location.plain_len,
            good_copies: 0,
        }
    }
}
