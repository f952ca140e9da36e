//! The configuration of a VM out of its restore point.

use std::sync::Arc;

use crate::base::units::{ChunkGrid, ChunkIndex};
use crate::diskmap::DiskMap;
use crate::error::{Error, Result};
use crate::format::commit::PointRecord;
use crate::format::vm_config::VmConfig;
use crate::repo::Repository;

/// Reads the configuration that a restore point holds, verified; none where it holds none.
pub fn stored_configuration(repo: &Repository, point: &PointRecord) -> Result<Option<VmConfig>> {
    let Some(stored) = &point.configuration else { return Ok(None) };
    let grid = ChunkGrid::new(stored.size_bytes);
    let reader = repo.reader()?;
    let map = DiskMap::new(grid, stored.map_root, Arc::clone(&reader) as Arc<_>);
    // A commit bounds the length.
    let mut bytes = vec![0; stored.size_bytes as usize];
    for leaf in map.leaves(ChunkIndex(0)) {
        let (index, id) = leaf?;
        let chunk = reader.chunk(id, Vec::new())?;
        let from = grid.chunk_offset(index) as usize;
        let place = bytes.get_mut(from..from + grid.chunk_len(index));
        match place.filter(|place| place.len() == chunk.bytes().len()) {
            Some(place) => place.copy_from_slice(chunk.bytes()),
            None => return Err(Error::corrupt("a chunk has the wrong length").chunk(id)),
        }
    }
    let what = "the configuration of the VM";
    VmConfig::decode(&bytes).map(Some).map_err(|error| error.in_object(what))
}
