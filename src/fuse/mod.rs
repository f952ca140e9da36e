//! The mounted tree through the kernel. Decides nothing about what the tree shows.

mod adapter;
mod errno;
mod mount_point;
mod mount_table;
mod session;
mod signals;
mod sys;
mod unmount;

pub use mount_point::remove_dead;
pub use session::{Serving, serve};

use crate::vfs::OverlayOptions;

/// How to mount.
#[derive(Debug, Clone)]
pub struct MountOptions {
    /// Whether other users may read, too. All that the disks hold is then theirs to read.
    pub allow_other: bool,
    /// Plain bytes of chunks to keep, about.
    pub cache_bytes: usize,
    /// Threads that answer the kernel; at least one.
    pub threads: usize,
    /// Whether the mount shows what its readers have cost, as `.backstop/stats.json`.
    pub shows_stats: bool,
    /// Lets disks be written, each over a private overlay.
    pub overlay: Option<OverlayOptions>,
}

impl Default for MountOptions {
    /// For this user only and only to be read, 256 MiB of cache, and so many threads that some are
    /// left for others while a medium that hangs holds up a few readers, with the kernel's
    /// read-ahead. Threads that wait cost nothing.
    fn default() -> Self {
        Self {
            allow_other: false,
            cache_bytes: 256 << 20,
            threads: 16,
            shows_stats: false,
            overlay: None,
        }
    }
}
