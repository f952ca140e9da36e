//! What a repository holds and what it takes. Reads names, lengths and commits; no pack.

use std::collections::BTreeMap;

use crate::error::{ErrorKind, Result};
use crate::format::layout::Area;
use crate::index::lookup::Index;
use crate::repo::Repository;

/// What a repository holds and what it takes. Lengths are in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RepoStats {
    /// VMs that have a restore point.
    pub vms: u64,
    /// Restore points.
    pub points: u64,
    /// Disks of all restore points.
    pub disks: u64,
    /// Sum of the lengths of those disks: what all restore points show.
    pub logical_bytes: u64,
    /// The same for the newest restore point of each VM alone.
    pub latest_bytes: u64,
    /// Entries of the index: chunks and map nodes, of which every copy counts.
    pub entries: u64,
    /// Packs.
    pub packs: u64,
    /// Sum of their lengths.
    pub pack_bytes: u64,
    /// Index segments.
    pub segments: u64,
    /// Sum of their lengths.
    pub index_bytes: u64,
    /// Sum of the lengths of all other objects.
    pub other_bytes: u64,
}

impl RepoStats {
    /// Sum of the lengths of all objects, in bytes.
    #[must_use]
    pub fn stored_bytes(&self) -> u64 {
        self.pack_bytes + self.index_bytes + self.other_bytes
    }

    /// How many times over the repository's space the restore points show; none where there is
    /// none to show.
    #[must_use]
    pub fn ratio(&self) -> Option<f64> {
        (self.logical_bytes > 0).then(|| self.logical_bytes as f64 / self.stored_bytes() as f64)
    }
}

/// Counts what a repository holds and what it takes. What cannot be read is reported to its
/// monitor and left out.
pub fn stats(repo: &Repository) -> Result<RepoStats> {
    let mut stats = RepoStats::default();
    count_points(repo, &mut stats)?;
    stats.entries = Index::load(&**repo.store(), repo.sealing(), repo.monitor())?.entry_count();
    for area in Area::ALL {
        let (objects, bytes) = measure(repo, area)?;
        match area {
            Area::Packs => (stats.packs, stats.pack_bytes) = (objects, bytes),
            Area::Index => (stats.segments, stats.index_bytes) = (objects, bytes),
            _ => stats.other_bytes += bytes,
        }
    }
    Ok(stats)
}

fn count_points(repo: &Repository, stats: &mut RepoStats) -> Result<()> {
    let points = repo.points()?;
    // They come from the oldest to the newest of each VM, so the newest stays.
    let mut latest = BTreeMap::new();
    for point in &points {
        stats.points += 1;
        stats.disks += point.disks.len() as u64;
        stats.logical_bytes = stats.logical_bytes.saturating_add(point.size_bytes());
        latest.insert(&point.vm, point.size_bytes());
    }
    stats.vms = latest.len() as u64;
    stats.latest_bytes = latest.into_values().fold(0, u64::saturating_add);
    Ok(())
}

/// Number of objects of an area, and the sum of their lengths. One that vanishes meanwhile is left
/// out.
fn measure(repo: &Repository, area: Area) -> Result<(u64, u64)> {
    let (mut objects, mut bytes) = (0, 0);
    for name in repo.store().list(area)? {
        match repo.store().len_bytes(&name) {
            Ok(len) => {
                objects += 1;
                bytes += len;
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => repo.monitor().problem(&error),
        }
    }
    Ok((objects, bytes))
}
