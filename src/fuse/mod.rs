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
    /// Lets disks be written, each over a private overlay.
    pub overlay: Option<OverlayOptions>,
}

impl Default for MountOptions {
    /// For this user only and only to be read, 256 MiB of cache, a thread per processor, but 2 to
    /// 8.
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(2, usize::from);
        Self {
            allow_other: false,
            cache_bytes: 256 << 20,
            threads: processors.clamp(2, 8),
            overlay: None,
        }
    }
}
