//! What a prune is asked for, and what became of it.

use std::time::Duration;

use crate::base::cancel::Cancel;
use crate::base::id::SessionId;

/// What a prune is asked for.
#[derive(Debug, Clone)]
pub struct PruneOptions {
    /// Only say what would be done. Nothing is written.
    pub dry_run: bool,
    /// How long to wait for sessions that may still refer to what is to go.
    pub wait: Duration,
    /// A pack of which less than this is needed is written anew, in percent of its length.
    pub live_percent: u8,
    /// Ends the run early; before the first deletion, as if it had not been.
    pub cancel: Cancel,
}

/// What became of a prune. Lengths are in bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PruneReport {
    /// Restore points that keep data alive.
    pub points: u64,
    /// Dropped restore points that nothing keeps: their commits go.
    pub dropped_points: u64,
    /// Packs that were there, and their lengths.
    pub packs: u64,
    /// Sum of their lengths.
    pub pack_bytes: u64,
    /// Packs in which nothing is needed.
    pub dead_packs: u64,
    /// Packs to write anew.
    pub compacted_packs: u64,
    /// Length of what was written in their place; of what would be, at most.
    pub rewritten_bytes: u64,
    /// What the new index takes beside the old one for a while, at most.
    pub index_bytes: u64,
    /// Packs that were not written anew for want of room.
    pub postponed_packs: u64,
    /// Packs that were to go and that a new restore point needs.
    pub kept_packs: u64,
    /// Packs that were deleted, or would be.
    pub deleted_packs: u64,
    /// Sum of their lengths.
    pub deleted_bytes: u64,
    /// What nothing needs in packs that stay because enough of them is needed.
    pub unneeded_bytes: u64,
    /// Sessions that the run did not wait for to the end. What they may refer to is condemned and
    /// not deleted; a later prune finishes.
    pub waits_for: Vec<SessionId>,
    /// Duration, in milliseconds.
    pub duration_ms: u64,
}
