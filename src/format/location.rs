//! Where a stored chunk lies. The value that the index gives and the pack reader takes.

use crate::base::id::PackId;
use crate::format::entry::EntryKind;

/// Where one stored copy of a chunk or map node lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Location {
    /// The pack.
    pub pack: PackId,
    /// First byte of the entry, from the start of the pack.
    pub offset: u32,
    /// Length of the whole entry, in bytes.
    pub entry_len: u32,
    /// Length of the plain bytes.
    pub plain_len: u32,
    /// What it is.
    pub kind: EntryKind,
}
