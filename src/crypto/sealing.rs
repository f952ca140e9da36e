//! How the objects of one repository are sealed.

use std::fmt;
use std::sync::{Arc, LazyLock};

use crate::base::chance::Chance;
use crate::base::hash::IdHasher;
use crate::base::id::RepoId;
use crate::crypto::Keyring;
use crate::crypto::keys::Keys;
use crate::format::epoch::KeyEpoch;

/// Version of the sealing that is written; part of what every sealed text is bound to.
const VERSION: u16 = 1;

static PLAIN_IDS: LazyLock<IdHasher> = LazyLock::new(IdHasher::default);

/// How the objects of a repository are sealed: with its keys, or not at all. Cloning is cheap.
#[derive(Clone)]
pub struct Sealing {
    repo: RepoId,
    keys: Option<Arc<Keys>>,
}

/// What a text is. A text of one kind never opens as one of another.
#[derive(Debug, Clone, Copy)]
pub(super) enum Sealed {
    EntryHead,
    Slice,
    Table,
    Page,
    Object,
}

impl Sealed {
    fn code(self) -> u8 {
        match self {
            Self::EntryHead => 1,
            Self::Slice => 2,
            Self::Table => 3,
            Self::Page => 4,
            Self::Object => 5,
        }
    }
}

impl Sealing {
    /// Nothing is sealed.
    #[must_use]
    pub fn plain(repo: RepoId) -> Self {
        Self { repo, keys: None }
    }

    /// Everything is sealed with the newest keys of the keyring, and opened with any of them.
    /// `chance` gives the random bytes that no two objects share.
    #[must_use]
    pub fn keyed(repo: RepoId, keyring: &Keyring, chance: Arc<dyn Chance>) -> Self {
        Self { repo, keys: Some(Arc::new(Keys::new(keyring, chance))) }
    }

    /// The repository.
    #[must_use]
    pub fn repo(&self) -> RepoId {
        self.repo
    }

    /// Whether anything is sealed.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        self.keys.is_some()
    }

    /// What gives chunks their ids.
    #[must_use]
    pub fn ids(&self) -> &IdHasher {
        self.keys.as_ref().map_or(&PLAIN_IDS, |keys| &keys.ids)
    }

    pub(super) fn keys(&self) -> Option<&Keys> {
        self.keys.as_deref()
    }

    /// What every sealed text is bound to; more follows for each kind.
    pub(super) fn aad(&self, what: Sealed, epoch: KeyEpoch) -> Vec<u8> {
        let mut aad = Vec::with_capacity(128);
        aad.extend_from_slice(self.repo.as_bytes());
        aad.extend_from_slice(&VERSION.to_le_bytes());
        aad.push(what.code());
        aad.extend_from_slice(&epoch.number().to_le_bytes());
        aad
    }
}

impl fmt::Debug for Sealing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = if self.is_encrypted() { "sealed" } else { "plain" };
        write!(f, "{how} repository {}", self.repo)
    }
}
