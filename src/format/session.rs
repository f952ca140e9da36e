//! `sessions/*`: who is at work, and with what. That the session lives is a lock's matter.

use serde::{Deserialize, Serialize};

use crate::base::clock::UtcTime;
use crate::base::id::PointId;
use crate::format::codec::DecodeError;
use crate::format::envelope::{SmallObject, open, seal};

/// What a session does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SessionKind {
    /// Writes a restore point.
    Backup,
    /// Serves restore points.
    Mount,
    /// Makes the index anew.
    Rebuild,
    /// Brings a restore point back to an engine.
    Restore,
    /// Gives back the space of dropped restore points.
    Prune,
    /// Brings a dropped restore point back.
    Undo,
    /// Heals the repository. Only in the text of its lock: it registers no session.
    Repair,
    /// Changes key slots. Only in the text of its lock: it registers no session.
    Keys,
}

/// The registration of a session; also the text of a VM's lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRecord {
    /// What it does.
    pub kind: SessionKind,
    /// The VM that it is about, if one.
    pub vm: Option<String>,
    /// The restore point that it reads, if one: a prune keeps it, dropped or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub point: Option<PointId>,
    /// When it began.
    pub began: UtcTime,
    /// Host that it runs on.
    pub host: String,
    /// Process on that host.
    pub pid: u32,
}

impl SessionRecord {
    /// The bytes of the object.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        seal(SmallObject::Session, self)
    }

    /// Reads the object.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        open(SmallObject::Session, bytes)
    }
}
