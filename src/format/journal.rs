//! `engine/*`: what a session creates on an engine, written down so that it can be ended after a
//! crash.

use serde::{Deserialize, Serialize};

use crate::format::codec::DecodeError;
use crate::format::envelope::{SmallObject, open, seal};

/// One thing that a session has created on an engine, or is about to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineNote {
    /// The engine's URL.
    pub url: String,
    /// Id of the VM that it belongs to; none if it belongs to no VM yet.
    pub vm_id: Option<String>,
    /// What it is.
    pub what: EngineThing,
    /// Its id in the engine.
    pub id: String,
    /// Id of the disk that a transfer is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_id: Option<String>,
    /// What it is for, for people.
    pub text: String,
}

/// Things on an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EngineThing {
    /// A backup that holds disks of a VM.
    Backup,
    /// A transfer of an image.
    Transfer,
    /// A disk.
    Disk,
    /// A VM.
    Vm,
}

impl EngineThing {
    /// The word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Backup => "backup",
            Self::Transfer => "transfer",
            Self::Disk => "disk",
            Self::Vm => "VM",
        }
    }
}

impl EngineNote {
    /// The bytes of the object.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        seal(SmallObject::EngineNote, self)
    }

    /// Reads the object.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        open(SmallObject::EngineNote, bytes)
    }
}
