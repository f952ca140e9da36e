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
