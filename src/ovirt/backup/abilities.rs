//! What an engine can do, by its release.

use crate::error::Result;
use crate::ovirt::client::{ApiPath, Engine};
use crate::ovirt::wire::{Api, Version};

/// What an engine can do. One that does not say its release can do the least.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Abilities {
    /// Refuses to begin a backup where the guest cannot be frozen, if it is asked to (4.4.4).
    pub requires_consistency: bool,
    /// Knows policies for transfers that nobody uses (4.4.5).
    pub has_policies: bool,
    /// Deletes any checkpoint, not only the oldest (4.4.7).
    pub deletes_any_checkpoint: bool,
    /// Lets clients choose the id of a backup (4.5.0).
    pub takes_ids: bool,
    /// Locks the disks of a backup from its beginning (4.5.0).
    pub locks_disks: bool,
    /// May work by a snapshot, and does not where it is told to (4.5.0).
    pub has_hybrid: bool,
}

impl Abilities {
    /// Asks the engine for its release.
    pub fn ask(engine: &Engine) -> Result<Self> {
        let api: Api = engine.get(&ApiPath::new(&[]))?;
        Ok(Self::of(&api.product_info.version))
    }

    fn of(version: &Version) -> Self {
        let number = |part: Option<u64>| part.unwrap_or_default();
        let release = (number(version.major), number(version.minor), number(version.build));
        Self {
            requires_consistency: release >= (4, 4, 4),
            has_policies: release >= (4, 4, 5),
            deletes_any_checkpoint: release >= (4, 4, 7),
            takes_ids: release >= (4, 5, 0),
            locks_disks: release >= (4, 5, 0),
            has_hybrid: release >= (4, 5, 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn abilities_come_with_releases() {
        let of = |major, minor, build| {
            let version = Version { major, minor, build, full_version: None };
            Abilities::of(&version)
        };
        assert!(!of(None, None, None).requires_consistency);
        let old = of(Some(4), Some(4), Some(6));
        assert!(old.has_policies && !old.deletes_any_checkpoint && !old.takes_ids);
        assert!(of(Some(4), Some(5), Some(0)).takes_ids);
        assert!(of(Some(4), Some(5), None).has_hybrid);
    }
}
