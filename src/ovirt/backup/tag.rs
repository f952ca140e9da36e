//! The description of a backup, which says whose it is.

use std::fmt;
use std::str::FromStr;

use crate::base::id::{ParseIdError, RepoId, SessionId};

const PRODUCT: &str = "backstop";

/// Whose a backup or a checkpoint is. Only what carries the tag of this repository is ever taken
/// for its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tag {
    /// The repository that the backup goes to.
    pub repo: RepoId,
    /// The session that began it.
    pub session: SessionId,
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PRODUCT} {} {}", self.repo, self.session)
    }
}

/// The text is not a tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoTag;

impl From<ParseIdError> for NoTag {
    fn from(_: ParseIdError) -> Self {
        Self
    }
}

impl FromStr for Tag {
    type Err = NoTag;

    fn from_str(text: &str) -> Result<Self, NoTag> {
        match text.split(' ').collect::<Vec<_>>()[..] {
            [PRODUCT, repo, session] => Ok(Self { repo: repo.parse()?, session: session.parse()? }),
            _ => Err(NoTag),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_reads_back_and_other_descriptions_are_none() {
        let repo = RepoId::from_bytes([1; 16]);
        let tag = Tag { repo, session: SessionId::from_bytes([2; 16]) };
        let text = tag.to_string();
        assert_eq!(text.parse(), Ok(tag));
        for other in ["", "backstop", "another product", &text[1..], &format!("{text} more")] {
            assert_eq!(other.parse::<Tag>(), Err(NoTag), "{other}");
        }
    }
}
