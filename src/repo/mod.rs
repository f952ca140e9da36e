//! A repository: opening and making one, reading chunks, the order in which a backup commits, and
//! making derived data anew.

mod alone;
mod catalogue;
mod claims;
mod condemned;
mod environment;
mod holder;
mod journal;
mod keys;
mod open;
mod packs;
mod reader;
mod rebuild;
mod registration;
mod restore_session;
mod room;
mod segments;
mod session;
mod slots;
mod stats;
mod trust;

pub use alone::{Alone, check_not_repaired, is_pruned, lock_prunes};
pub use catalogue::gather_commits;
pub use condemned::{CondemnedList, condemned_lists, condemned_packs};
pub use environment::Environment;
pub use holder::VmHolder;
pub use journal::{EngineJournal, LeftoverNote};
pub use keys::{KeyChange, lock_keys};
pub use open::{NewRepository, Repository, read_config};
pub use reader::ChunkReader;
pub use rebuild::{RebuildReport, rebuild_index, rebuild_index_without};
pub use registration::Registration;
pub use restore_session::RestoreSession;
pub use room::{LentBallast, reserve_bytes};
pub use session::{BackupSession, MAP_COPIES, PointContents, Stored, fence_dead_sessions};
pub use slots::{KEY_SLOTS_MAX, KeySlots, Unlocked, read_copy, unlock};
pub use stats::{RepoStats, stats};
pub use trust::{Newest, Seen, TrustStore};
