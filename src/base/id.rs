//! Names of things: each kind of id is a type of its own.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::base::chance::Chance;

/// The text is not an id of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseIdError {
    expected_digits: usize,
}

impl fmt::Display for ParseIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not an id: expected {} lower-case hexadecimal digits", self.expected_digits)
    }
}

impl std::error::Error for ParseIdError {}

fn write_hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

fn parse_hex<const N: usize>(text: &str) -> Result<[u8; N], ParseIdError> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let error = ParseIdError { expected_digits: N * 2 };
    let text = text.as_bytes();
    if text.len() != N * 2 {
        return Err(error);
    }
    let mut out = [0; N];
    for (byte, pair) in out.iter_mut().zip(text.chunks_exact(2)) {
        let (Some(high), Some(low)) = (digit(pair[0]), digit(pair[1])) else {
            return Err(error);
        };
        *byte = high << 4 | low;
    }
    Ok(out)
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name([u8; $len]);

        impl $name {
            /// Length of the id, in bytes.
            pub const LEN: usize = $len;

            /// The id made of these bytes.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; $len]) -> Self {
                Self(bytes)
            }

            /// The bytes of the id.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_hex(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                parse_hex(text).map(Self)
            }
        }

        impl TryFrom<String> for $name {
            type Error = ParseIdError;

            fn try_from(text: String) -> Result<Self, ParseIdError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.to_string()
            }
        }
    };
}

id!(
    /// BLAKE3-256 of a chunk's plain bytes: what `b3sum` prints for them.
    ChunkId, 32
);
id!(
    /// BLAKE3-256 of a whole pack. Packs hold random salt, so a name never comes back.
    PackId, 32
);
id!(
    /// BLAKE3-256 of a whole index segment.
    SegmentId, 32
);
id!(
    /// One repository, from its creation on.
    RepoId, 16
);
id!(
    /// One key slot.
    SlotId, 16
);
id!(
    /// One catalogue of commits.
    CatalogueId, 16
);
id!(
    /// One session, and the restore point that it commits.
    SessionId, 16
);

/// A restore point is named by the session that committed it.
pub type PointId = SessionId;

impl RepoId {
    /// A new id, from `chance`.
    #[must_use]
    pub fn random(chance: &dyn Chance) -> Self {
        Self(chance.bytes())
    }
}

impl CatalogueId {
    /// A new id, from `chance`.
    #[must_use]
    pub fn random(chance: &dyn Chance) -> Self {
        Self(chance.bytes())
    }
}

impl SlotId {
    /// A new id, from `chance`.
    #[must_use]
    pub fn random(chance: &dyn Chance) -> Self {
        Self(chance.bytes())
    }
}

impl SessionId {
    /// A new id, from `chance`.
    #[must_use]
    pub fn random(chance: &dyn Chance) -> Self {
        Self(chance.bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_from_its_text_and_from_no_other_spelling() {
        let id = RepoId::from_bytes([0xab; 16]);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!(id.to_string().to_uppercase().parse::<RepoId>().is_err());
        assert!(id.to_string()[1..].parse::<RepoId>().is_err());
    }
}
