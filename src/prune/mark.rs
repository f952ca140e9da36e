//! Finds out which chunks are needed: a mark on every entry of the index that a root reaches.

use std::sync::Arc;

use crate::base::cancel::Cancel;
use crate::base::id::ChunkId;
use crate::base::units::ChunkGrid;
use crate::error::{Error, ErrorKind, Result};
use crate::format::commit::{MapRef, PointRecord};
use crate::format::layout::ObjectName;
use crate::index::lookup::Index;
use crate::index::marks::{Marked, Marks};
use crate::prune::walk::{Visitor, Walk};
use crate::repo::Repository;

/// An index, with marks on what is needed.
pub(super) struct Live {
    pub(super) index: Arc<Index>,
    pub(super) marks: Marks,
}

/// Marks what `points` need. Nodes that several of them share are walked once, and of a node that
/// follows another one in its place only what is different is looked up.
///
/// Memory: two bits for each entry of the index. A node that cannot be read, a chunk that the index
/// does not know, and an index that is not whole are errors: what they hide might be deleted.
pub(super) fn mark(repo: &Repository, points: &[PointRecord], cancel: &Cancel) -> Result<Live> {
    let reader = repo.reader()?;
    let index = reader.index();
    if let Some(segment) = index.damaged_segments().first() {
        let what = "an index segment is damaged; `backstop rebuild-index` makes the index anew";
        return Err(Error::corrupt(what).at(ObjectName::segment(*segment).to_string()));
    }
    repo.monitor().phase("marking", None);
    let (marks, walked) = (index.no_marks(), index.no_marks());
    let mut marker = Marker { index: &index, marks, walked, cancel };
    let mut walk = Walk::new(&*reader, &mut marker);
    for (point, map) in in_order(points) {
        let walked = walk.map(map.root, ChunkGrid::new(map.size_bytes));
        walked.map_err(|error| unknown_needs(point, error))?;
    }
    let marks = marker.marks;
    Ok(Live { index, marks })
}

/// All maps, those of one disk after each other from the oldest to the newest.
fn in_order(points: &[PointRecord]) -> Vec<(&PointRecord, MapRef<'_>)> {
    let of_point = |point| PointRecord::maps(point).map(move |map| (point, map));
    let mut maps: Vec<_> = points.iter().flat_map(of_point).collect();
    maps.sort_by_key(|(point, map)| (&point.vm, map.name, point.sequence));
    maps
}

fn unknown_needs(point: &PointRecord, error: Error) -> Error {
    if error.kind() == ErrorKind::Cancelled {
        return error;
    }
    let (vm, time) = (&point.vm, point.time);
    let what = format!("cannot tell all that restore point {vm}@{time} needs; nothing was deleted");
    Error::new(error.kind(), what).because(error)
}

struct Marker<'a> {
    index: &'a Index,
    marks: Marks,
    /// Nodes that were walked. A chunk of a disk may have the bytes of a node, and a mark on it
    /// must not hide the node's children.
    walked: Marks,
    cancel: &'a Cancel,
}

impl Visitor for Marker<'_> {
    fn expect(&self, nodes: &[ChunkId]) {
        self.index.will_need(nodes);
    }

    fn node(&mut self, node: ChunkId) -> Result<bool> {
        if self.cancel.is_requested() {
            return Err(Error::new(ErrorKind::Cancelled, "the prune was interrupted"));
        }
        self.chunks(&[node])?;
        Ok(self.index.mark(node, &mut self.walked)? == Marked::New)
    }

    fn chunks(&mut self, chunks: &[ChunkId]) -> Result<()> {
        match self.index.mark_all(chunks, &mut self.marks)? {
            None => Ok(()),
            Some(missing) => {
                Err(Error::corrupt("the index knows no copy of the chunk").chunk(missing))
            }
        }
    }
}
