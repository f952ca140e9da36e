//! A repository: opening and making one, reading chunks, the order in which a backup commits, and
//! making derived data anew.

mod claims;
mod environment;
mod holder;
mod open;
mod reader;
mod rebuild;
mod segments;
mod session;
mod stats;

pub use environment::Environment;
pub use open::Repository;
pub use reader::ChunkReader;
pub use rebuild::{RebuildReport, rebuild_index};
pub use session::{BackupSession, Stored};
pub use stats::{RepoStats, stats};
