//! Disks out: a disk of a restore point to a sparse file, a block device or a stream.
//!
//! [`restore_disk`] verifies every chunk before it is written, and at the end compares the root of
//! the disk map with that of what it wrote.

mod block_device;
mod configuration;
mod disk;
mod ledger;
mod sink;
mod sparse_file;
mod stream;
mod sys;
mod target;
mod work;

pub use block_device::BlockDevice;
pub use configuration::stored_configuration;
pub use disk::{RestoreOptions, RestoreReport, data_bytes, restore_disk};
pub use sink::ImageSink;
pub use sparse_file::SparseFile;
pub use stream::StreamSink;
pub use target::Target;
