//! How deep a scrub looks.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, ErrorKind, Result};

/// How deep a scrub looks. Each level does what those before it do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ScrubLevel {
    /// Small objects, and the lists of packs, index and restore points against each other. Reads
    /// no pack.
    List,
    /// The bytes of every pack and index segment against its name. Needs no key.
    Hash,
    /// Every chunk and map node decoded and hashed, and the tables of packs against the index.
    #[default]
    Chunks,
    /// Every disk map walked, and every restore point proven readable.
    Points,
}

impl ScrubLevel {
    /// All levels, the shallowest first.
    pub const ALL: [Self; 4] = [Self::List, Self::Hash, Self::Chunks, Self::Points];

    fn word(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Hash => "hash",
            Self::Chunks => "chunks",
            Self::Points => "points",
        }
    }
}

impl fmt::Display for ScrubLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Fails with [`ErrorKind::Invalid`] for every other word.
impl FromStr for ScrubLevel {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|level| level.word() == text).ok_or_else(|| {
            let what = format!("{text:?} is no scrub level: list, hash, chunks or points");
            Error::new(ErrorKind::Invalid, what)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_written_as_it_is_parsed_and_grows() {
        for level in ScrubLevel::ALL {
            assert_eq!(level.to_string().parse::<ScrubLevel>().unwrap(), level);
        }
        assert!(ScrubLevel::ALL.is_sorted());
        assert_eq!("deep".parse::<ScrubLevel>().unwrap_err().kind(), ErrorKind::Invalid);
    }
}
