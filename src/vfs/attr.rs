//! What `stat` tells of a file or directory of the tree.

use crate::base::clock::UtcTime;

/// The number of a file or directory, from 1. It names the same thing for as long as the tree
/// lives, and never another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ino(pub u64);

impl Ino {
    /// The root of the tree.
    pub const ROOT: Self = Self(1);
}

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A directory.
    Directory,
    /// A disk, or text.
    File,
    /// A symbolic link.
    Link,
}

/// What `stat` tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attr {
    /// Its number.
    pub ino: Ino,
    /// What it is.
    pub kind: FileKind,
    /// Length in bytes: of a disk, of a text, of a link's target; 0 for a directory.
    pub size_bytes: u64,
    /// Blocks of 512 bytes that hold data. Holes of a disk do not count.
    pub blocks: u64,
    /// The time of the restore point; for what is above restore points, that of the mount.
    pub time: UtcTime,
    /// Permission bits.
    pub mode: u16,
    /// Whether all of this, once told, holds for as long as the tree lives.
    pub is_final: bool,
}

/// Permission bits of what has that kind, and can be written or not.
pub(super) fn mode(kind: FileKind, is_writable: bool, is_open_to_others: bool) -> u16 {
    let for_owner = match (kind, is_writable) {
        (FileKind::Directory, _) => 0o500,
        (FileKind::File, false) => 0o400,
        (FileKind::File, true) => 0o600,
        (FileKind::Link, _) => return 0o777,
    };
    if is_open_to_others { for_owner | for_owner >> 3 | for_owner >> 6 } else { for_owner }
}
