//! `commit/*`: the decision about a session. Where it says "committed", a restore point exists.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::base::clock::UtcTime;
use crate::base::id::{ChunkId, PointId, RepoId};
use crate::base::limits::{
    CONFIGURATION_BYTES_MAX, DISK_BYTES_MAX, DISKS_PER_POINT_MAX, NAME_BYTES_MAX,
};
use crate::format::codec::{DecodeError, require};
use crate::format::engine::{Configuration, EngineDisk, EngineRecord, LeftOut};
use crate::format::envelope::{SmallObject, open, seal};

/// How a session was decided, once and for ever.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "decision", rename_all = "lowercase", try_from = "DecisionFields")]
pub enum Decision {
    /// The restore point exists.
    Committed {
        /// The restore point.
        point: Box<PointRecord>,
    },
    /// Somebody else found the session dead and made sure that it can never commit.
    Fenced,
    /// The session gave up by itself.
    Aborted,
}

/// The fields of a decision as they are read: reading a tagged enum directly would first hold the
/// whole object as a tree of values, at up to 40 bytes of memory for each byte of it.
#[derive(Deserialize)]
struct DecisionFields {
    decision: DecisionWord,
    point: Option<Box<PointRecord>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum DecisionWord {
    Committed,
    Fenced,
    Aborted,
}

impl TryFrom<DecisionFields> for Decision {
    type Error = &'static str;

    fn try_from(fields: DecisionFields) -> Result<Self, &'static str> {
        match (fields.decision, fields.point) {
            (DecisionWord::Committed, Some(point)) => Ok(Self::Committed { point }),
            (DecisionWord::Committed, None) => Err("a commit without a restore point"),
            (_, Some(_)) => Err("a restore point of a session that did not commit"),
            (DecisionWord::Fenced, None) => Ok(Self::Fenced),
            (DecisionWord::Aborted, None) => Ok(Self::Aborted),
        }
    }
}

/// A restore point: one VM, or one set of images, at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PointRecord {
    /// Its name; the id of the session that made it.
    pub id: PointId,
    /// The repository that it belongs to.
    pub repo: RepoId,
    /// The VM.
    pub vm: String,
    /// When the session began, to the second.
    pub time: UtcTime,
    /// 1 for the first restore point of a VM, then one more each time.
    pub sequence: u64,
    /// The restore point of the VM before this one.
    pub previous: Option<Previous>,
    /// The disks, in the order given.
    pub disks: Vec<DiskRecord>,
    /// The configuration of the VM, where it came from an engine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configuration: Option<Configuration>,
    /// How the VM came from an engine, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<EngineRecord>,
    /// Disks of the VM that are not among `disks`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<LeftOut>,
    /// What the backup did.
    pub stats: BackupStats,
    /// Release that wrote it.
    pub written_by: String,
}

/// What the configuration of a VM is called where disks are named.
pub const CONFIGURATION_NAME: &str = "vm.json";

/// A map that a restore point needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MapRef<'a> {
    /// Name of the disk.
    pub name: &'a str,
    /// Length of what it maps, in bytes.
    pub size_bytes: u64,
    /// Its root.
    pub root: ChunkId,
}

/// A link to the restore point before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Previous {
    /// Its id.
    pub point: PointId,
    /// BLAKE3-256 of its commit object, in hexadecimal digits.
    pub commit_blake3: ChunkId,
}

/// One disk of a restore point.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskRecord {
    /// Its name, unique in the restore point.
    pub name: String,
    /// Its length, in bytes.
    pub size_bytes: u64,
    /// The root of its disk map.
    pub map_root: ChunkId,
    /// What it was read from, for people.
    pub source: DiskSource,
    /// The disk as the engine had it, if it came from one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<EngineDisk>,
}

/// What a disk was read from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskSource {
    /// `raw`, `qcow2`, `stream` or `engine`.
    pub format: String,
    /// The path as it was given; `-` for standard input; the id of a disk of an engine.
    pub path: String,
    /// Backing files that were read as part of the image, the nearest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub backing_files: Vec<String>,
}

/// What a backup did. Each byte of the disks is in exactly one of `zero`, `duplicate`, `new`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupStats {
    /// Bytes read from the sources.
    pub read_bytes: u64,
    /// Bytes in chunks that are all zero, read or known.
    pub zero_bytes: u64,
    /// Bytes in chunks that the repository already held.
    pub duplicate_bytes: u64,
    /// Bytes in chunks that are new, before compression.
    pub new_plain_bytes: u64,
    /// Bytes that the packs of this session add to the repository, disk maps included.
    pub stored_bytes: u64,
    /// Duration, in milliseconds.
    pub duration_ms: u64,
}

impl Decision {
    /// The bytes of the object.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        seal(SmallObject::Commit, self)
    }

    /// Reads the object.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let decision = open(SmallObject::Commit, bytes)?;
        if let Self::Committed { point } = &decision {
            point.check()?;
        }
        Ok(decision)
    }
}

impl Decision {
    /// The restore point, if it is a commit.
    #[must_use]
    pub fn point(self) -> Option<PointRecord> {
        match self {
            Self::Committed { point } => Some(*point),
            Self::Fenced | Self::Aborted => None,
        }
    }
}

impl PointRecord {
    fn check(&self) -> Result<(), DecodeError> {
        require(is_valid_name(&self.vm), "the name of the VM is not one")?;
        require(self.disks.len() <= DISKS_PER_POINT_MAX, "the restore point has too many disks")?;
        let names: BTreeSet<_> = self.disks.iter().map(|disk| &disk.name).collect();
        require(names.len() == self.disks.len(), "two disks have the same name")?;
        for disk in &self.disks {
            require(is_valid_name(&disk.name), "the name of a disk is not one")?;
            require(disk.size_bytes <= DISK_BYTES_MAX, "a disk is larger than any can be")?;
        }
        let configuration = self.configuration.as_ref().map_or(0, |one| one.size_bytes);
        require(configuration <= CONFIGURATION_BYTES_MAX, "the configuration is too long")?;
        require(self.left_out.len() <= DISKS_PER_POINT_MAX, "too many disks are left out")?;
        Ok(())
    }

    /// The disk of that name.
    #[must_use]
    pub fn disk(&self, name: &str) -> Option<&DiskRecord> {
        self.disks.iter().find(|disk| disk.name == name)
    }

    /// Whether it lacks a disk of its VM.
    #[must_use]
    pub fn is_incomplete(&self) -> bool {
        !self.left_out.is_empty()
    }

    /// Every map that it needs: those of its disks, and that of the configuration. Whatever keeps,
    /// checks or drops data goes by these.
    pub fn maps(&self) -> impl Iterator<Item = MapRef<'_>> {
        let disks = self.disks.iter().map(|disk| MapRef {
            name: &disk.name,
            size_bytes: disk.size_bytes,
            root: disk.map_root,
        });
        let configuration = self.configuration.as_ref().map(|configuration| MapRef {
            name: CONFIGURATION_NAME,
            size_bytes: configuration.size_bytes,
            root: configuration.map_root,
        });
        disks.chain(configuration)
    }

    /// The roots of those maps.
    pub fn map_roots(&self) -> impl Iterator<Item = ChunkId> {
        self.maps().map(|map| map.root)
    }

    /// The restore point as indented JSON, without a line break at its end.
    #[must_use]
    pub fn to_json(&self) -> String {
        match serde_json::to_string_pretty(self) {
            Ok(text) => text,
            Err(error) => unreachable!("the record has string keys and finite numbers: {error}"),
        }
    }

    /// Sum of the lengths of its disks, in bytes.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.disks.iter().map(|disk| disk.size_bytes).sum()
    }
}

/// Whether a VM or a disk may have this name: 1 to 255 bytes, no control characters.
#[must_use]
pub fn is_valid_name(name: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&name.len()) && !name.chars().any(char::is_control)
}
