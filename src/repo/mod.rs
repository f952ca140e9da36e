//! A repository: opening and making one, reading chunks, and the order in which a backup commits.

mod claims;
mod environment;
mod open;
mod reader;
mod rebuild;
mod segments;
mod session;

pub use environment::Environment;
pub use open::Repository;
pub use reader::ChunkReader;
pub use rebuild::{RebuildReport, rebuild_index};
pub use session::{BackupSession, Stored};
