//! Chunks as bytes: the zero test, and the way into and out of a pack entry.

mod decode;
mod encode;
mod zero;

pub use decode::ChunkDecoder;
pub use encode::{ChunkEncoder, CompressionLevel};
pub use zero::is_zero;
