//! What a repair did, or would do.

use std::fmt;

use crate::base::id::PackId;
use crate::scrub::{AffectedDisk, Finding, Named};

/// One thing that a repair does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// A directory of the repository is missing and is made.
    MakeDirectory {
        /// Its path below the root.
        path: String,
    },
    /// A copy of the configuration is written from a good one.
    WriteConfig {
        /// The copy.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A copy of a key slot is written from the other one.
    WriteKeySlot {
        /// The copy.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// An object that is of no use any more is moved to the quarantine.
    SetAside {
        /// The object.
        name: String,
        /// Why.
        problem: String,
    },
    /// A damaged pack is brought back from its parity, byte for byte.
    RestorePack {
        /// The pack.
        pack: PackId,
        /// What is wrong with it.
        problem: String,
        /// Shards of it that are damaged.
        shards: u64,
    },
    /// The parity of a pack is written, for the first time or anew.
    WriteParity {
        /// The pack.
        pack: PackId,
        /// Why.
        problem: String,
    },
    /// A damaged pack is moved to the quarantine, after what is good in it was copied to a new one.
    ReplacePack {
        /// The pack.
        pack: PackId,
        /// What is wrong with it.
        problem: String,
        /// Chunks and map nodes that are copied. What is stored elsewhere, too, is not.
        saved: u64,
        /// Sum of the lengths of their entries.
        saved_bytes: u64,
    },
    /// The index is made anew from the packs; the old one is moved to the quarantine.
    RebuildIndex {
        /// Why.
        reasons: Vec<String>,
    },
    /// Catalogues of commits are moved to the quarantine, and made anew where there are many
    /// commits.
    RebuildCatalogues {
        /// Why.
        reasons: Vec<String>,
    },
    /// Map nodes of which there is but one copy are stored once more.
    CopyNodes {
        /// How many.
        nodes: u64,
    },
}

/// As it is told to people, in the form of a plan.
impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MakeDirectory { path } => write!(f, "make the missing directory {path}"),
            Self::WriteConfig { name, problem } => {
                write!(f, "write {name} from a good copy ({problem})")
            }
            Self::WriteKeySlot { name, problem } => {
                write!(f, "write {name} from its other copy ({problem})")
            }
            Self::SetAside { name, problem } => {
                write!(f, "move {name} to the quarantine ({problem})")
            }
            Self::RestorePack { pack, problem, .. } => {
                write!(f, "bring pack {pack} back from its parity, byte for byte ({problem})")
            }
            Self::WriteParity { pack, problem } => {
                write!(f, "write the parity of pack {pack} ({problem})")
            }
            Self::ReplacePack { pack, problem, saved, .. } => write!(
                f,
                "copy {saved} good entries out of pack {pack}, then move it to the quarantine \
                 ({problem})"
            ),
            Self::RebuildIndex { reasons } => {
                write!(f, "make the index anew from the packs ({})", reasons.join("; "))
            }
            Self::RebuildCatalogues { reasons } => {
                write!(f, "make catalogues anew from the commits ({})", reasons.join("; "))
            }
            Self::CopyNodes { nodes } => {
                write!(f, "store {nodes} map nodes a second time")
            }
        }
    }
}

/// What a repair did, or would do, and what it cannot heal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepairReport {
    /// Whether it was done.
    pub is_applied: bool,
    /// What was done or would be, in order.
    pub actions: Named<Action>,
    /// Objects that are damaged and have no other copy. They stay where they are.
    pub unhealed: Named<Finding>,
    /// Chunks and map nodes of which no copy can be read.
    pub lost: Named<Finding>,
    /// Disks that cannot be read in full; none where that is known only once the actions are done.
    pub affected: Option<Named<AffectedDisk>>,
    /// Duration, in milliseconds.
    pub duration_ms: u64,
}

impl RepairReport {
    /// Whether everything can be read, or can once the actions are done.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        let nothing_affected = self.affected.as_ref().is_none_or(|named| named.list.is_empty());
        self.unhealed.list.is_empty() && self.lost.list.is_empty() && nothing_affected
    }
}
