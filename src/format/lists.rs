//! The small objects that are lists: what a prune condemned, what a scrub found damaged; and what
//! is said of a restore point after its commit: that it is dropped, and that it is held.

use serde::{Deserialize, Serialize};

use crate::base::clock::UtcTime;
use crate::base::id::{ChunkId, PackId, PointId, SessionId};
use crate::format::codec::DecodeError;
use crate::format::envelope::{SmallObject, open, seal};

/// `gc/*.condemned`: packs that nobody may newly refer to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condemned {
    /// The packs.
    pub packs: Vec<PackId>,
    /// Dropped restore points whose commits go with the packs; they cannot be brought back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub points: Vec<PointId>,
    /// The only backups that may still refer to the packs, where that was found out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<Vec<SessionId>>,
}

/// `damaged/*`: copies of chunks that a scrub could not read. The next backup takes them as absent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Damaged {
    /// The copies.
    pub copies: Vec<DamagedCopy>,
    /// Packs that are missing, or of which nothing can be read.
    pub missing_packs: Vec<PackId>,
}

/// One stored copy of a chunk that is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DamagedCopy {
    /// The pack that holds it.
    pub pack: PackId,
    /// The chunk.
    pub chunk: ChunkId,
}

/// `forget/*`: the restore point of that name is no more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forgotten {
    /// The restore point.
    pub point: PointId,
    /// When it was dropped.
    pub time: UtcTime,
}

/// `hold/*`: the restore point of that name is not to be dropped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// The restore point.
    pub point: PointId,
    /// Since when.
    pub time: UtcTime,
    /// Why, for people.
    pub note: String,
}

impl Condemned {
    /// The bytes of the object.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        seal(SmallObject::Condemned, self)
    }

    /// Reads the object.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        open(SmallObject::Condemned, bytes)
    }
}

impl Damaged {
    /// The bytes of the object.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        seal(SmallObject::Damaged, self)
    }

    /// Reads the object.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        open(SmallObject::Damaged, bytes)
    }
}

impl Forgotten {
    /// The bytes of the object.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        seal(SmallObject::Forgotten, self)
    }

    /// Reads the object.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        open(SmallObject::Forgotten, bytes)
    }
}

impl Hold {
    /// The bytes of the object.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        seal(SmallObject::Hold, self)
    }

    /// Reads the object.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        open(SmallObject::Hold, bytes)
    }
}
