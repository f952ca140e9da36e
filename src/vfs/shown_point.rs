//! A restore point as the tree shows it: file names, and what is worked out on demand.

use std::sync::{Arc, Mutex, OnceLock, Weak};

use crate::base::sync::lock;
use crate::base::units::ChunkIndex;
use crate::diskmap::DiskMap;
use crate::error::Result;
use crate::format::commit::{CONFIGURATION_NAME, MapRef, PointRecord};
use crate::format::session::SessionKind;
use crate::repo::{Registration, Repository};
use crate::vfs::names::safe_name;

/// Name of the file that holds the restore point's facts.
pub(super) const JSON_NAME: &str = "point.json";
/// Name of the file that holds the engine's own description of the VM.
pub(super) const OVF_NAME: &str = "vm.ovf";
/// Bytes that a block of `stat` has, whatever the file system.
const BLOCK_BYTES: u64 = 512;
/// Chunks that are counted to tell how much of a disk is data: a second's work at most.
const COUNTED_MAX: usize = 1 << 20;

/// A restore point that the tree shows, or showed when somebody opened it.
pub(super) struct ShownPoint {
    /// What the commit says.
    pub(super) record: PointRecord,
    file_names: Vec<String>,
    blocks: Vec<OnceLock<u64>>,
    json: OnceLock<Arc<[u8]>>,
    /// Length of the engine's description; none where there is no such.
    ovf_bytes: OnceLock<Option<u64>>,
    /// What tells a prune that somebody has a disk open.
    reading: Mutex<Weak<Registration>>,
    /// Set once the commit itself is known to say what `record` does.
    confirmed: OnceLock<()>,
}

impl ShownPoint {
    /// Shows what a commit says, or a copy of it in a catalogue.
    pub(super) fn new(record: PointRecord, is_copy: bool) -> Self {
        // All but those of disks are names without that end, so that no two meet.
        let disks = record.disks.iter().map(|disk| format!("{}.raw", safe_name(&disk.name)));
        let configuration = record.configuration.iter().map(|_| CONFIGURATION_NAME.to_owned());
        let file_names: Vec<_> = disks.chain(configuration).collect();
        let blocks = file_names.iter().map(|_| OnceLock::new()).collect();
        Self {
            record,
            file_names,
            blocks,
            json: OnceLock::new(),
            ovf_bytes: OnceLock::new(),
            reading: Mutex::default(),
            confirmed: if is_copy { OnceLock::new() } else { OnceLock::from(()) },
        }
    }

    /// The names of the files that have maps: of the disks, in their order, and then of the
    /// configuration.
    pub(super) fn file_names(&self) -> impl Iterator<Item = &str> {
        self.file_names.iter().map(String::as_str)
    }

    /// The place of the file of that name among those.
    pub(super) fn place_of(&self, file_name: &str) -> Option<usize> {
        self.file_names.iter().position(|name| name == file_name)
    }

    /// What the file at a place maps.
    pub(super) fn map_at(&self, place: usize) -> Option<MapRef<'_>> {
        self.record.maps().nth(place)
    }

    /// The place of the configuration, where one is stored.
    pub(super) fn configuration_place(&self) -> Option<usize> {
        self.record.configuration.as_ref().map(|_| self.record.disks.len())
    }

    /// Length of the engine's description; `read` tells it the first time.
    pub(super) fn ovf_bytes(
        &self,
        read: impl FnOnce() -> Result<Option<u64>>,
    ) -> Result<Option<u64>> {
        match self.ovf_bytes.get() {
            Some(known) => Ok(*known),
            None => read().map(|len| *self.ovf_bytes.get_or_init(|| len)),
        }
    }

    /// Fails unless the commit says what is shown. Whoever opens something of the restore point
    /// asks for it, so that nothing is read by a catalogue alone.
    pub(super) fn confirm(&self, repo: &Repository) -> Result<()> {
        if self.confirmed.get().is_none() {
            repo.confirm(&self.record)?;
            let _again = self.confirmed.set(());
        }
        Ok(())
    }

    /// Keeps the restore point from being pruned as long as what is returned lives. Whoever opens a
    /// second disk shares it.
    pub(super) fn reading(&self, repo: &Repository) -> Result<Option<Arc<Registration>>> {
        let mut reading = lock(&self.reading);
        if let Some(shared) = reading.upgrade() {
            return Ok(Some(shared));
        }
        let new = Registration::reading(repo, SessionKind::Mount, self.record.id)?.map(Arc::new);
        *reading = new.as_ref().map(Arc::downgrade).unwrap_or_default();
        Ok(new)
    }

    /// The text of `point.json`.
    pub(super) fn json(&self) -> Arc<[u8]> {
        Arc::clone(self.json.get_or_init(|| (self.record.to_json() + "\n").into_bytes().into()))
    }

    /// Blocks that hold data of the file at a place; all of it where that cannot be told.
    ///
    /// A restore point of one disk knows it from its commit. Otherwise the leaves of the map
    /// are counted, once and up to a bound; `map` gives it.
    pub(super) fn blocks(&self, place: usize, map: impl FnOnce() -> Result<DiskMap>) -> u64 {
        let size_bytes = self.map_at(place).map_or(0, |map| map.size_bytes);
        let all = size_bytes.div_ceil(BLOCK_BYTES);
        let Some(known) = self.blocks.get(place) else { return all };
        *known.get_or_init(|| {
            let data_bytes = match (place, self.record.disks.len()) {
                (0, 1) => size_bytes.checked_sub(self.record.stats.zero_bytes),
                _ => map().and_then(|map| count_data_bytes(&map)).unwrap_or(None),
            };
            data_bytes.map_or(all, |bytes| bytes.div_ceil(BLOCK_BYTES))
        })
    }
}

/// Bytes in chunks that are no holes; none if they are too many to count.
fn count_data_bytes(map: &DiskMap) -> Result<Option<u64>> {
    let mut bytes = 0;
    for (count, leaf) in map.leaves(ChunkIndex(0)).enumerate() {
        if count >= COUNTED_MAX {
            return Ok(None);
        }
        let (index, _) = leaf?;
        bytes += map.grid().chunk_len(index) as u64;
    }
    Ok(Some(bytes))
}
