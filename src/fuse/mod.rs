//! The mounted tree through the kernel. Decides nothing about what the tree shows.

mod adapter;
mod errno;
mod mount_point;
mod mount_table;
mod served;
mod session;
mod signals;
mod standby;
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
    /// Threads that receive the kernel's requests; at least one. They answer in place what does
    /// not take the last one of them; more are started where that many requests are held up.
    pub threads: usize,
    /// Whether the mount shows what its readers have cost, as `.backstop/stats.json`.
    pub shows_stats: bool,
    /// Lets disks be written, each over a private overlay.
    pub overlay: Option<OverlayOptions>,
}

impl Default for MountOptions {
    /// For this user only and only to be read, 256 MiB of cache, and more threads than are busy at
    /// once unless a medium is slow, so that few requests are handed over. Threads that wait cost
    /// nothing.
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
