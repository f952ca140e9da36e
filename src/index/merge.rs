//! Several segments become one.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use crate::base::id::{PackId, SegmentId};
use crate::base::pack_set::PackSet;
use crate::crypto::Sealing;
use crate::error::Result;
use crate::format::layout::{Area, ObjectName};
use crate::index::kway::{KWay, LEFT_OUT, Source};
use crate::index::lookup::Index;
use crate::index::plan::{SegmentInfo, plan_merge};
use crate::index::segment::Segment;
use crate::index::writer::SegmentWriter;
use crate::store::Store;

/// The segments that should be merged now; none if there are few enough.
///
/// A segment that refers to a condemned pack is never among them: the prune that condemned the
/// pack replaces the segments that it has seen, and must not be left with one that it has not.
/// Neither is one whose table of packs is damaged.
#[must_use]
pub fn merge_due(index: &Index, condemned: &PackSet) -> Option<Vec<Arc<Segment>>> {
    let is_free = |segment: &&Arc<Segment>| {
        condemned.is_empty()
            || segment.packs().all(|pack| pack.is_ok_and(|pack| !condemned.contains(&pack)))
    };
    let free: Vec<&Arc<Segment>> = index.segments().iter().filter(is_free).collect();
    let info = |segment: &&Arc<Segment>| SegmentInfo { entry_count: segment.entry_count().into() };
    let infos: Vec<_> = free.iter().map(info).collect();
    let plan = plan_merge(&infos)?;
    Some(plan.into_iter().map(|number| Arc::clone(free[number])).collect())
}

/// Publishes one segment with every entry of `inputs` but those in the packs `without`, then
/// deletes the inputs. When it returns, both survive a crash. A copy that several inputs name is
/// written once; other copies of a chunk are all kept.
///
/// To be called within a registered session that read what is condemned before the index. `without`
/// is for a prune that is about to delete these packs; it is empty in every other merge.
///
/// Memory: the tables of packs, and the fan-out of the new segment. A damaged page of an input is
/// [`crate::error::ErrorKind::Corrupt`], and nothing was published or deleted then. A crash in
/// between leaves old and new segments, of which the old ones are ignored.
pub fn merge(
    store: &dyn Store,
    sealing: &Sealing,
    inputs: &[Arc<Segment>],
    without: &PackSet,
) -> Result<SegmentId> {
    let superseded = superseded_by(store, inputs)?;
    let packs = packs_of(inputs, without)?;
    let new_numbers = new_numbers(inputs, &packs)?;
    let entries_at_most = inputs.iter().map(|segment| u64::from(segment.entry_count())).sum();
    let mut writer = SegmentWriter::new(store, sealing, entries_at_most)?;
    let sources = inputs.iter().zip(&new_numbers);
    let sources = sources.map(|(input, new_numbers)| Source::new(input, new_numbers));
    KWay::new(sources.collect())?
        .each_chunk(|copies, _| copies.iter().try_for_each(|copy| writer.push(copy)))?;
    let merged = writer.finish(packs.ids(), &superseded)?;
    for id in &superseded {
        store.delete(&ObjectName::segment(*id))?;
    }
    store.barrier(Area::Index)?;
    Ok(merged)
}

/// The inputs, and what they supersede as far as it is still there.
///
/// A merge that was cut off leaves a segment `old` that one of the inputs replaces. That input goes
/// now, and with it the word that `old` is to be ignored; were `old` taken as valid again, it would
/// bring back entries of packs that a prune has deleted since. So the new segment says it, too, and
/// `old` is deleted with the inputs.
///
/// What the listing does not show was deleted before; the barrier makes that final, so it needs
/// not be carried on for ever.
fn superseded_by(store: &dyn Store, inputs: &[Arc<Segment>]) -> Result<Vec<SegmentId>> {
    let names = store.list(Area::Index)?;
    store.barrier(Area::Index)?;
    let listed: HashSet<SegmentId> = names.iter().filter_map(ObjectName::segment_id).collect();
    let mut superseded: BTreeSet<SegmentId> = inputs.iter().map(|input| input.id()).collect();
    for input in inputs {
        superseded.extend(input.superseded()?.into_iter().filter(|id| listed.contains(id)));
    }
    Ok(superseded.into_iter().collect())
}

/// All packs of the inputs that are kept: the table of packs of the new segment.
fn packs_of(inputs: &[Arc<Segment>], without: &PackSet) -> Result<PackSet> {
    let all = inputs.iter().flat_map(|input| input.packs());
    all.filter(|pack| !pack.as_ref().is_ok_and(|pack| without.contains(pack))).collect()
}

/// Of each input the new number of each of its packs.
fn new_numbers(inputs: &[Arc<Segment>], packs: &PackSet) -> Result<Vec<Vec<u32>>> {
    let number = |pack: Result<PackId>| Ok(packs.number(&pack?).unwrap_or(LEFT_OUT));
    inputs.iter().map(|input| input.packs().map(number).collect()).collect()
}
