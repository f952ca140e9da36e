//! Scrubs, and the places of chunks.

#![allow(dead_code, reason = "each test binary uses its own part of this module")]

use backstop::base::cancel::Cancel;
use backstop::base::id::ChunkId;
use backstop::base::units::ChunkIndex;
use backstop::format::commit::PointRecord;
use backstop::format::layout::ObjectName;
use backstop::format::location::Location;
use backstop::repo::Repository;
use backstop::scrub::{ScrubLevel, ScrubOptions, ScrubReport, scrub};
use backstop::store::{Published, Store};

pub(crate) fn check(repo: &Repository, level: ScrubLevel) -> ScrubReport {
    let options = ScrubOptions { level, threads: 2, cancel: Cancel::default() };
    scrub(repo, &options).unwrap()
}

/// A chunk of the first disk, and the first place where it lies.
pub(crate) fn pack_of(repo: &Repository, point: &PointRecord, index: u64) -> (ChunkId, Location) {
    let reader = repo.reader().unwrap();
    let map = repo.disk_map(&reader, &point.disks[0]);
    let chunk = map.leaf(ChunkIndex(index)).unwrap().unwrap();
    (chunk, reader.index().locations(chunk).unwrap()[0])
}

pub(crate) fn published(store: &dyn Store, name: &ObjectName, bytes: &[u8]) {
    assert_eq!(store.create(name, bytes).unwrap(), Published::Created);
}
