//! Dropping, holding and bringing back single restore points.
//!
//! Dropping one publishes a tombstone; its commit and its chunks stay until a prune takes them, so
//! that it can be brought back. A hold keeps a restore point from being dropped.

use std::collections::HashSet;

use crate::base::id::{ChunkId, PointId};
use crate::base::pack_set::PackSet;
use crate::base::units::ChunkGrid;
use crate::error::{Error, ErrorKind, Result};
use crate::format::commit::{Decision, PointRecord};
use crate::format::layout::{Area, ObjectName};
use crate::format::lists::{Forgotten, Hold};
use crate::format::session::SessionKind;
use crate::index::lookup::Index;
use crate::point;
use crate::prune::census::is_there;
use crate::prune::retention::{PointFacts, Policy, Reason};
use crate::prune::walk::{Visitor, Walk};
use crate::repo::{
    LentBallast, Registration, Repository, check_not_repaired, condemned_lists, condemned_packs,
};
use crate::store::Published;

/// A restore point, and why a policy keeps it; without a reason it is to be dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// The restore point.
    pub point: PointRecord,
    /// Why it is kept.
    pub reasons: Vec<Reason>,
}

/// What `policy` says of each restore point of `vms`, of all VMs where none is given. Each VM is
/// judged by itself. Drops nothing.
///
/// [`ErrorKind::NotFound`] if one of `vms` has no restore point.
pub fn judge(repo: &Repository, vms: &[String], policy: &Policy) -> Result<Vec<Judged>> {
    let mut points = repo.points()?;
    for vm in vms {
        if !points.iter().any(|point| point.vm == *vm) {
            let what = format!("there is no restore point of a VM named {vm:?}");
            return Err(Error::new(ErrorKind::NotFound, what));
        }
    }
    points.retain(|point| vms.is_empty() || vms.contains(&point.vm));
    let held = held(repo)?;
    let facts = |point: &PointRecord| PointFacts {
        id: point.id,
        time: point.time,
        is_complete: !point.is_incomplete(),
        is_held: held.contains(&point.id),
    };
    let mut reasons = Vec::with_capacity(points.len());
    for of_vm in points.chunk_by(|a, b| a.vm == b.vm) {
        reasons.extend(policy.judge(&of_vm.iter().map(facts).collect::<Vec<_>>()));
    }
    let judged = points.into_iter().zip(reasons);
    Ok(judged.map(|(point, reasons)| Judged { point, reasons }).collect())
}

/// Drops a restore point. It can be brought back until a prune takes it.
///
/// [`ErrorKind::NotFound`] if there is none of that id, [`ErrorKind::Refused`] if it is held.
pub fn forget(repo: &Repository, point: PointId) -> Result<()> {
    let store = &**repo.store();
    let _room = LentBallast::begin(repo)?;
    point::committed(store, point)?;
    if is_there(store, &ObjectName::hold(point))? {
        return Err(Error::new(ErrorKind::Refused, format!("restore point {point} is held")));
    }
    let time = repo.environment().clock.now();
    // That it was dropped by somebody else meanwhile is as good.
    let _existed =
        store.create(&ObjectName::forgotten(point), &Forgotten { point, time }.encode())?;
    Ok(())
}

/// The restore points that [`undo`] may bring back, ordered by VM, then from the oldest to the
/// newest. Commits that cannot be read are reported and left out.
pub fn dropped(repo: &Repository) -> Result<Vec<PointRecord>> {
    let points = repo.commits().dropped_points()?;
    points.problems.iter().for_each(|problem| repo.monitor().problem(problem));
    Ok(points.entries.into_iter().map(|entry| entry.record).collect())
}

/// Brings a restore point back that was dropped.
///
/// | step | what | why in this order |
/// |---|---|---|
/// | 1 | register | a prune that condemns later waits for this session, and then looks again |
/// | 2 | read what is condemned | a prune that condemned before may be deleting already |
/// | 3 | prove that every chunk has a copy that stays | an earlier prune may have died half way |
/// | 4 | delete the tombstone | the restore point exists again |
///
/// [`ErrorKind::NotFound`] if there is no such restore point any more, [`ErrorKind::Busy`] if a
/// prune has condemned it.
pub fn undo(repo: &Repository, id: PointId) -> Result<()> {
    let store = &**repo.store();
    let _room = LentBallast::begin(repo)?;
    let _registration = Registration::begin(repo, SessionKind::Undo, None)?;
    check_not_repaired(store)?;
    let lists = condemned_lists(store)?;
    let decision = point::decision(store, id)?;
    let record = decision.and_then(Decision::point).ok_or_else(|| gone(id))?;
    if lists.iter().any(|list| list.condemned.points.contains(&id)) {
        let what = format!("a prune has condemned restore point {id}");
        return Err(Error::new(ErrorKind::Busy, what));
    }
    let condemned = condemned_packs(&lists);
    prove_whole(repo, &record, &condemned).map_err(|error| {
        let what = format!("not all that restore point {id} needs is there to stay");
        Error::new(error.kind(), what).because(error)
    })?;
    store.delete(&ObjectName::forgotten(id))?;
    store.barrier(Area::Forgotten)
}

/// Keeps a restore point from being dropped. `note` says why, for people. That it is held already
/// is fine; the note of then stays.
pub fn hold(repo: &Repository, point: PointId, note: &str) -> Result<Published> {
    let store = &**repo.store();
    let _room = LentBallast::begin(repo)?;
    point::committed(store, point)?;
    let time = repo.environment().clock.now();
    let hold = Hold { point, time, note: note.to_owned() };
    let published = store.create(&ObjectName::hold(point), &hold.encode())?;
    // Somebody may have dropped it between the look and the hold.
    if let Err(error) = point::committed(store, point) {
        release(repo, point)?;
        return Err(error);
    }
    Ok(published)
}

/// Takes a hold back. That there is none is fine.
pub fn release(repo: &Repository, point: PointId) -> Result<()> {
    repo.store().delete(&ObjectName::hold(point))?;
    repo.store().barrier(Area::Holds)
}

/// The restore points that are held. The name of a hold counts, whatever its bytes are.
pub fn held(repo: &Repository) -> Result<HashSet<PointId>> {
    let names = repo.store().list(Area::Holds)?;
    Ok(names.iter().filter_map(ObjectName::session_id).collect())
}

fn gone(point: PointId) -> Error {
    let what = format!("there is no restore point {point} any more: a prune has taken it");
    Error::new(ErrorKind::NotFound, what)
}

/// Fails unless every chunk and map node of a restore point lies in a pack that is not condemned.
fn prove_whole(repo: &Repository, record: &PointRecord, condemned: &PackSet) -> Result<()> {
    let reader = repo.reader()?;
    let index = reader.index();
    let mut proof = Proof { index: &index, condemned, seen: HashSet::new() };
    let mut walk = Walk::new(&*reader, &mut proof);
    record.maps().try_for_each(|map| walk.map(map.root, ChunkGrid::new(map.size_bytes)))
}

struct Proof<'a> {
    index: &'a Index,
    condemned: &'a PackSet,
    /// Nodes that were met: a disk of zeros and copies has few.
    seen: HashSet<ChunkId>,
}

impl Visitor for Proof<'_> {
    fn expect(&self, nodes: &[ChunkId]) {
        self.index.will_need(nodes);
    }

    fn node(&mut self, node: ChunkId) -> Result<bool> {
        self.chunks(&[node])?;
        Ok(self.seen.insert(node))
    }

    fn chunks(&mut self, chunks: &[ChunkId]) -> Result<()> {
        let (mut are_known, mut are_kept) = (vec![false; chunks.len()], vec![false; chunks.len()]);
        self.index.find_copies(chunks, |position, copy| {
            are_known[position] = true;
            are_kept[position] = !self.condemned.contains(&copy.pack);
            are_kept[position]
        })?;
        let Some(lost) = are_kept.iter().position(|is_kept| !is_kept) else { return Ok(()) };
        let (kind, what) = match are_known[lost] {
            false => (ErrorKind::Corrupt, "the index knows no copy of the chunk"),
            true => (ErrorKind::Busy, "a prune has condemned every copy of the chunk"),
        };
        Err(Error::new(kind, what).chunk(chunks[lost]))
    }
}
