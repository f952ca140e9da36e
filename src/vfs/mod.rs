//! The mounted tree, without a kernel: names, attributes, bytes.
//!
//! ```text
//! vms/<vm>/<time>/<disk>.raw     a disk, as raw bytes
//! vms/<vm>/<time>/point.json     the restore point's facts
//! vms/<vm>/<time>/vm.json        the configuration of the VM, where one is stored
//! vms/<vm>/<time>/vm.ovf         the engine's own description out of it
//! vms/<vm>/latest                a link to the newest restore point's directory
//! .backstop/stats.json           what readers have cost, where the tree was asked to count
//! ```
//!
//! Nothing is read from the repository before somebody looks: making a tree costs the same for one
//! restore point as for a million. Every byte of a disk was compared with its chunk's id. No lock
//! is held while anything is read or decoded, so no read waits for an unrelated one.
//! `docs/semantics.md` says what each call does.

mod ahead;
mod attr;
mod chunks;
mod counters;
mod extent;
mod failure;
mod gather;
mod handles;
mod inodes;
mod listing;
mod names;
mod open_disk;
mod overlay;
mod registration;
mod sequence;
mod shown_point;
mod tree;
mod writing;

use std::sync::Arc;
use std::time::Duration;

pub use attr::{Attr, FileKind, Ino};
pub use extent::Extent;
pub use gather::ReadPiece;
pub use names::{SAFE_NAME_BYTES_MAX, safe_name};
pub use open_disk::SeekKind;
pub use overlay::OverlayOptions;
pub use tree::Tree;

/// How a tree behaves.
#[derive(Debug, Clone)]
pub struct TreeOptions {
    /// Plain bytes of chunks and slices to keep, about.
    pub cache_bytes: usize,
    /// Threads that decode ahead of readers in order; none reads ahead if 0.
    pub read_ahead_threads: usize,
    /// For how long a look at the restore points counts as new.
    pub look_interval: Duration,
    /// Whether permission bits let others than the owner read.
    pub is_open_to_others: bool,
    /// Whether the tree shows what its readers have cost.
    pub shows_stats: bool,
    /// Lets disks be written, each over a private overlay; none without this.
    pub overlay: Option<OverlayOptions>,
}

impl Default for TreeOptions {
    /// 256 MiB of cache, a thread per processor up to four, a look per second, for the owner only,
    /// and only to be read.
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(2, usize::from);
        Self {
            cache_bytes: 256 << 20,
            read_ahead_threads: processors.clamp(1, 4),
            look_interval: Duration::from_secs(1),
            is_open_to_others: false,
            shows_stats: false,
            overlay: None,
        }
    }
}

/// The number of something open. Never used again for something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HandleId(pub u64);

/// What a file is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// To be read.
    Read,
    /// To be written, and read.
    Write,
}

/// A name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirEntry {
    /// The number of what it names.
    pub ino: Ino,
    /// What that is.
    pub kind: FileKind,
    /// The name; `.` and `..` come first.
    pub name: Arc<str>,
}
