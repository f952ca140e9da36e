//! A repository: opening and making one, reading chunks, the order in which a backup commits, and
//! making derived data anew.

mod claims;
mod environment;
mod holder;
mod journal;
mod open;
mod reader;
mod rebuild;
mod restore_session;
mod segments;
mod session;
mod stats;

pub use environment::Environment;
pub use holder::VmHolder;
pub use journal::{EngineJournal, LeftoverNote};
pub use open::Repository;
pub use reader::ChunkReader;
pub use rebuild::{RebuildReport, rebuild_index};
pub use restore_session::RestoreSession;
pub use session::{BackupSession, PointContents, Stored};
pub use stats::{RepoStats, stats};
