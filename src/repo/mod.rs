//! A repository: opening and making one, reading chunks, and the order in which a backup commits.

mod claims;
mod environment;
mod open;
mod reader;

mod segments;
mod session;

pub use environment::Environment;
pub use open::Repository;
pub use reader::ChunkReader;

pub use session::{BackupSession, Stored};
