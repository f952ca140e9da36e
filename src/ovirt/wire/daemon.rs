//! The documents of the service for transfers. Unlike those of the engine they are plain JSON.

use serde::{Deserialize, Serialize};

/// What can be done with a ticket.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Abilities {
    /// Names of what the daemon can do beyond reading and writing.
    #[serde(default)]
    pub features: Vec<String>,
    /// Where it listens on its own host: a path, or a zero byte and a name without a file.
    pub unix_socket: Option<String>,
    /// Most connections that may read.
    pub max_readers: Option<u64>,
    /// Most connections that may write.
    pub max_writers: Option<u64>,
}

impl Abilities {
    /// Whether the daemon can do `feature`.
    #[must_use]
    pub fn can(&self, feature: &str) -> bool {
        self.features.iter().any(|one| one == feature)
    }
}

/// A part of an image and what is known of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct ImageExtent {
    /// First byte.
    pub start: u64,
    /// Number of bytes.
    pub length: u64,
    /// Whether it reads as zeros. Old daemons do not say that together with `dirty`.
    pub zero: Option<bool>,
    /// Whether it changed since the checkpoint.
    pub dirty: Option<bool>,
}

/// The checksum of an image.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ImageChecksum {
    /// The hash of the hashes of all blocks, in hexadecimal digits.
    pub checksum: String,
}

/// A change of an image that carries no data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "op", rename_all = "lowercase")]
pub enum ImageChange {
    /// Makes bytes zero.
    Zero {
        /// First byte.
        offset: u64,
        /// Number of bytes.
        size: u64,
        /// Whether they must be durable before the answer.
        flush: bool,
    },
    /// Makes everything durable that was written before.
    Flush,
}
