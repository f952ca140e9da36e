//! Writes down which copies are damaged, so that the next backup stores those chunks again.

use crate::base::id::{PackId, SessionId};
use crate::error::Result;
use crate::format::layout::ObjectName;
use crate::format::lists::{Damaged, DamagedCopy};
use crate::repo::Repository;
use crate::scrub::objects::Objects;
use crate::scrub::report::Recording;
use crate::store::Published;

/// Copies in one object: far below the limit of a small object's length, at 160 bytes for each.
const COPIES_PER_OBJECT: usize = 50_000;

/// Gathers damage that is not written down yet, and writes it down in objects of bounded length.
pub(super) struct Recorder<'a> {
    repo: &'a Repository,
    known: &'a Objects,
    pending: Damaged,
    copies: u64,
    packs: u64,
    failure: Option<String>,
}

impl<'a> Recorder<'a> {
    /// A recorder that leaves out what `known` has.
    pub(super) fn new(repo: &'a Repository, known: &'a Objects) -> Self {
        Self { repo, known, pending: Damaged::default(), copies: 0, packs: 0, failure: None }
    }

    /// A damaged copy.
    pub(super) fn copy(&mut self, copy: DamagedCopy) {
        let is_known =
            self.known.known_copies.contains(&copy) || self.known.known_packs.contains(&copy.pack);
        if !is_known {
            self.pending.copies.push(copy);
            self.flush_if(COPIES_PER_OBJECT);
        }
    }

    /// A pack that is missing or of which nothing can be read.
    pub(super) fn pack(&mut self, pack: PackId) {
        if !self.known.known_packs.contains(&pack) {
            self.pending.missing_packs.push(pack);
            self.flush_if(COPIES_PER_OBJECT);
        }
    }

    /// Writes down what is left, and says what became of all of it.
    pub(super) fn finish(mut self) -> Recording {
        self.flush_if(1);
        match self.failure {
            Some(problem) => Recording::Failed { problem },
            None if self.copies + self.packs == 0 => Recording::NothingNew,
            None => Recording::Recorded { copies: self.copies, packs: self.packs },
        }
    }

    fn flush_if(&mut self, at_least: usize) {
        if self.pending.copies.len() + self.pending.missing_packs.len() < at_least {
            return;
        }
        let damaged = std::mem::take(&mut self.pending);
        self.copies += damaged.copies.len() as u64;
        self.packs += damaged.missing_packs.len() as u64;
        // One failure is enough: a medium that cannot be written to is not tried again.
        if self.failure.is_none()
            && let Err(error) = self.publish(&damaged)
        {
            self.failure = Some(error.chain());
        }
    }

    fn publish(&self, damaged: &Damaged) -> Result<()> {
        let bytes = damaged.encode();
        loop {
            let id = SessionId::random(&*self.repo.environment().chance);
            match self.repo.store().create(&ObjectName::damaged(id), &bytes)? {
                Published::Created => return Ok(()),
                Published::Existed => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::id::ChunkId;
    use crate::format::layout::Area;
    use crate::repo::Environment;
    use crate::scrub::objects::check_objects;
    use crate::scrub::report::Named;
    use crate::store::Store;
    use crate::store::testing::MemoryStore;
    use std::sync::Arc;

    fn copy(number: usize) -> DamagedCopy {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&number.to_le_bytes());
        DamagedCopy { pack: PackId::from_bytes([1; 32]), chunk: ChunkId::from_bytes(id) }
    }

    #[test]
    fn much_damage_is_written_down_in_several_objects_and_only_once() {
        let store = Arc::new(MemoryStore::new());
        let repo = Repository::create(store.clone(), Environment::default()).unwrap();
        let pack = PackId::from_bytes([2; 32]);
        let count = 2 * COPIES_PER_OBJECT + 7;
        for expected in
            [Recording::Recorded { copies: count as u64, packs: 1 }, Recording::NothingNew]
        {
            let mut findings = Named::default();
            let known = check_objects(&repo, &mut findings).unwrap();
            assert_eq!(findings.list, []);
            let mut recorder = Recorder::new(&repo, &known);
            (0..count).for_each(|number| recorder.copy(copy(number)));
            recorder.pack(pack);
            assert_eq!(recorder.finish(), expected);
            assert_eq!(store.list(Area::Damaged).unwrap().len(), 3);
        }
        let known = check_objects(&repo, &mut Named::default()).unwrap();
        let mut recorder = Recorder::new(&repo, &known);
        recorder.copy(DamagedCopy { pack, chunk: ChunkId::from_bytes([3; 32]) });
        assert_eq!(recorder.finish(), Recording::NothingNew, "all of that pack is known");
    }
}
