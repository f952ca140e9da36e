//! Damage to the repository of a lab.

use std::fs;
use std::path::PathBuf;

use crate::support::Lab;

/// All packs, the smallest first.
pub(crate) fn packs(lab: &Lab) -> Vec<PathBuf> {
    let directories = fs::read_dir(lab.repo().join("packs")).unwrap().flatten();
    let files = directories.flat_map(|directory| fs::read_dir(directory.path()).unwrap().flatten());
    let mut packs: Vec<_> = files.map(|file| file.path()).collect();
    packs.sort_by_key(|path| fs::metadata(path).unwrap().len());
    packs
}

/// The largest pack, which holds data of the disks.
pub(crate) fn largest_pack(lab: &Lab) -> PathBuf {
    packs(lab).pop().unwrap()
}

/// Changes a byte in the largest pack.
pub(crate) fn flip_a_byte_of_the_largest_pack(lab: &Lab) {
    let path = largest_pack(lab);
    let mut bytes = fs::read(&path).unwrap();
    let place = bytes.len() / 4;
    bytes[place] ^= 0x10;
    // A pack is read-only: it is replaced.
    fs::remove_file(&path).unwrap();
    fs::write(&path, bytes).unwrap();
}
