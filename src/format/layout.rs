//! Where each object of a repository lies. The names are also the directory layout on disk.

use std::fmt;

use crate::base::id::{CatalogueId, PackId, SegmentId, SessionId, SlotId};

/// A directory of the repository; every object lies in one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Area {
    /// `config.0` to `config.2`, directly in the repository's root.
    Config,
    /// `keys/<slot id>.0` and `.1`: the key slots of an encrypted repository, two copies of each.
    Keys,
    /// `packs/<hh>/<pack id>`, where `hh` are the first two digits of the id.
    Packs,
    /// `parity/<pack id>`: what brings a damaged pack back, in repositories made with parity.
    Parity,
    /// `index/<segment id>`: derived, rebuildable.
    Index,
    /// `sessions/<session id>`: who is at work.
    Sessions,
    /// `commit/<session id>`: how each session was decided; a restore point where it committed.
    Commits,
    /// `catalogue/<catalogue id>`: copies of many commits in one object; derived, rebuildable.
    Catalogues,
    /// `forget/<session id>`: restore points that are no more.
    Forgotten,
    /// `hold/<session id>`: restore points that are not to be dropped.
    Holds,
    /// `gc/<session id>.condemned`, `gc/<session id>.<part>.condemned`: packs that a prune is about
    /// to delete.
    Condemned,
    /// `damaged/<session id>`: what a scrub found damaged.
    Damaged,
    /// `engine/<session id>.<n>`: what a session creates on an engine.
    Engine,
    /// `locks/<vm key>`: one backup of a VM at a time.
    Locks,
    /// `quarantine/<old path, with dots>`: what a repair replaced. Nothing reads it.
    Quarantine,
}

impl Area {
    /// All areas.
    pub const ALL: [Self; 15] = [
        Self::Config,
        Self::Keys,
        Self::Packs,
        Self::Parity,
        Self::Index,
        Self::Sessions,
        Self::Commits,
        Self::Catalogues,
        Self::Forgotten,
        Self::Holds,
        Self::Condemned,
        Self::Damaged,
        Self::Engine,
        Self::Locks,
        Self::Quarantine,
    ];

    /// The directory below the repository's root; empty for the root itself.
    #[must_use]
    pub fn directory(self) -> &'static str {
        match self {
            Self::Config => "",
            Self::Keys => "keys",
            Self::Packs => "packs",
            Self::Parity => "parity",
            Self::Index => "index",
            Self::Sessions => "sessions",
            Self::Commits => "commit",
            Self::Catalogues => "catalogue",
            Self::Forgotten => "forget",
            Self::Holds => "hold",
            Self::Condemned => "gc",
            Self::Damaged => "damaged",
            Self::Engine => "engine",
            Self::Locks => "locks",
            Self::Quarantine => "quarantine",
        }
    }
}

/// The name of one object. Names consist of digits, lower-case letters and dots, never of anything
/// that a user or a guest chose.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName {
    area: Area,
    leaf: String,
}

impl ObjectName {
    /// One of the copies of the configuration.
    #[must_use]
    pub fn config(copy: u8) -> Self {
        Self { area: Area::Config, leaf: format!("config.{copy}") }
    }

    /// One of the copies of a key slot.
    #[must_use]
    pub fn key_slot(id: SlotId, copy: u8) -> Self {
        Self { area: Area::Keys, leaf: format!("{id}.{copy}") }
    }

    /// A pack.
    #[must_use]
    pub fn pack(id: PackId) -> Self {
        Self { area: Area::Packs, leaf: id.to_string() }
    }

    /// The parity of a pack.
    #[must_use]
    pub fn parity(id: PackId) -> Self {
        Self { area: Area::Parity, leaf: id.to_string() }
    }

    /// An index segment.
    #[must_use]
    pub fn segment(id: SegmentId) -> Self {
        Self { area: Area::Index, leaf: id.to_string() }
    }

    /// The registration of a session.
    #[must_use]
    pub fn session(id: SessionId) -> Self {
        Self { area: Area::Sessions, leaf: id.to_string() }
    }

    /// The decision about a session.
    #[must_use]
    pub fn commit(id: SessionId) -> Self {
        Self { area: Area::Commits, leaf: id.to_string() }
    }

    /// A catalogue of commits.
    #[must_use]
    pub fn catalogue(id: CatalogueId) -> Self {
        Self { area: Area::Catalogues, leaf: id.to_string() }
    }

    /// The tombstone of a restore point.
    #[must_use]
    pub fn forgotten(id: SessionId) -> Self {
        Self { area: Area::Forgotten, leaf: id.to_string() }
    }

    /// The hold on a restore point.
    #[must_use]
    pub fn hold(id: SessionId) -> Self {
        Self { area: Area::Holds, leaf: id.to_string() }
    }

    /// The packs that a prune condemned: its first list.
    #[must_use]
    pub fn condemned(id: SessionId) -> Self {
        Self::condemned_part(id, 0)
    }

    /// The same for a list of that number; a prune makes more than one where they are long.
    #[must_use]
    pub fn condemned_part(id: SessionId, part: u32) -> Self {
        let leaf = match part {
            0 => format!("{id}{CONDEMNED_SUFFIX}"),
            _ => format!("{id}.{part}{CONDEMNED_SUFFIX}"),
        };
        Self { area: Area::Condemned, leaf }
    }

    /// The damage that a scrub found.
    #[must_use]
    pub fn damaged(id: SessionId) -> Self {
        Self { area: Area::Damaged, leaf: id.to_string() }
    }

    /// What a session creates on an engine; each thing has a number.
    #[must_use]
    pub fn engine_note(id: SessionId, number: u32) -> Self {
        Self { area: Area::Engine, leaf: format!("{id}.{number}") }
    }

    /// The lock of a VM. The key is a hash of the VM's name: names of users are never paths.
    #[must_use]
    pub fn vm_lock(vm: &str) -> Self {
        let hash = crate::base::hash::blake3_256(vm.as_bytes());
        Self { area: Area::Locks, leaf: lock_leaf(std::array::from_fn(|i| hash[i])) }
    }

    /// The lock of a VM in an encrypted repository. The key is made of the VM's name and a secret.
    #[must_use]
    pub fn keyed_lock(key: [u8; 16]) -> Self {
        Self { area: Area::Locks, leaf: lock_leaf(key) }
    }

    /// The lock of whoever must be the only one at work. Its name is the key of no VM.
    #[must_use]
    pub fn exclusive_lock() -> Self {
        Self { area: Area::Locks, leaf: SessionId::from_bytes([0; 16]).to_string() }
    }

    /// The lock of a prune. Its name is the key of no VM.
    #[must_use]
    pub fn prune_lock() -> Self {
        Self { area: Area::Locks, leaf: format!("{:032x}", 1) }
    }

    /// The lock of whoever changes key slots. Its name is the key of no VM.
    #[must_use]
    pub fn keys_lock() -> Self {
        Self { area: Area::Locks, leaf: format!("{:032x}", 2) }
    }

    /// Where `name` goes that a repair replaced; with a number above 0 where that is taken.
    #[must_use]
    pub fn quarantined(name: &Self, number: u32) -> Self {
        let path = name.to_string().replace('/', ".");
        let leaf = if number == 0 { path } else { format!("{path}.{number}") };
        Self { area: Area::Quarantine, leaf }
    }

    /// The object that a directory entry names, if it is one that could stand in `area`.
    #[must_use]
    pub fn listed(area: Area, leaf: &str) -> Option<Self> {
        let known = match area {
            Area::Config => matches!(leaf, "config.0" | "config.1" | "config.2"),
            Area::Keys => parse_slot(leaf).is_some(),
            Area::Packs | Area::Parity | Area::Index => leaf.parse::<PackId>().is_ok(),
            Area::Sessions
            | Area::Commits
            | Area::Catalogues
            | Area::Forgotten
            | Area::Holds
            | Area::Damaged
            | Area::Locks => leaf.parse::<SessionId>().is_ok(),
            Area::Condemned => parse_condemned(leaf)
                .is_some_and(|(id, part)| Self::condemned_part(id, part).leaf == leaf),
            Area::Engine => parse_note(leaf)
                .is_some_and(|(id, number)| Self::engine_note(id, number).leaf == leaf),
            Area::Quarantine => is_quarantined(leaf),
        };
        known.then(|| Self { area, leaf: leaf.to_owned() })
    }

    /// The area that the object lies in.
    #[must_use]
    pub fn area(&self) -> Area {
        self.area
    }

    /// The last part of the name.
    #[must_use]
    pub fn leaf(&self) -> &str {
        &self.leaf
    }

    /// The key slot that this is a copy of, if it is one.
    #[must_use]
    pub fn slot_id(&self) -> Option<SlotId> {
        (self.area == Area::Keys).then(|| parse_slot(&self.leaf)).flatten()
    }

    /// The pack, if this is one.
    #[must_use]
    pub fn pack_id(&self) -> Option<PackId> {
        (self.area == Area::Packs).then(|| self.leaf.parse().ok()).flatten()
    }

    /// The pack that this is the parity of, if it is one.
    #[must_use]
    pub fn protected_pack(&self) -> Option<PackId> {
        (self.area == Area::Parity).then(|| self.leaf.parse().ok()).flatten()
    }

    /// The index segment, if this is one.
    #[must_use]
    pub fn segment_id(&self) -> Option<SegmentId> {
        (self.area == Area::Index).then(|| self.leaf.parse().ok()).flatten()
    }

    /// The catalogue of commits, if this is one.
    #[must_use]
    pub fn catalogue_id(&self) -> Option<CatalogueId> {
        (self.area == Area::Catalogues).then(|| self.leaf.parse().ok()).flatten()
    }

    /// The session that the object belongs to, if it is one that a session names.
    #[must_use]
    pub fn session_id(&self) -> Option<SessionId> {
        match self.area {
            Area::Sessions | Area::Commits | Area::Forgotten | Area::Holds | Area::Damaged => {
                self.leaf.parse().ok()
            }
            Area::Condemned => parse_condemned(&self.leaf).map(|(id, _)| id),
            Area::Engine => parse_note(&self.leaf).map(|(id, _)| id),
            Area::Config
            | Area::Keys
            | Area::Packs
            | Area::Parity
            | Area::Index
            | Area::Catalogues
            | Area::Locks
            | Area::Quarantine => None,
        }
    }
}

fn lock_leaf(key: [u8; 16]) -> String {
    key.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The slot that a copy is of.
fn parse_slot(leaf: &str) -> Option<SlotId> {
    let (id, copy) = leaf.split_once('.')?;
    matches!(copy, "0" | "1").then(|| id.parse().ok()).flatten()
}

/// The session and the number in the name of a note, in other spellings of the number as well.
fn parse_note(leaf: &str) -> Option<(SessionId, u32)> {
    let (id, number) = leaf.split_once('.')?;
    Some((id.parse().ok()?, number.parse().ok()?))
}

/// Whether a name in the quarantine is the path of an object, with dots between its parts.
fn is_quarantined(leaf: &str) -> bool {
    let is_part = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9'))
    };
    let is_area =
        |first: &str| first == "config" || Area::ALL.iter().any(|area| first == area.directory());
    leaf.split('.').all(is_part) && leaf.split('.').next().is_some_and(is_area)
}

const CONDEMNED_SUFFIX: &str = ".condemned";

/// The prune and the number of its list that a name tells of; other spellings of the number too.
fn parse_condemned(leaf: &str) -> Option<(SessionId, u32)> {
    let stem = leaf.strip_suffix(CONDEMNED_SUFFIX)?;
    match stem.split_once('.') {
        None => Some((stem.parse().ok()?, 0)),
        Some((id, part)) => Some((id.parse().ok()?, part.parse().ok()?)),
    }
}

/// The path below the repository's root, with `/` between its parts.
impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.area {
            Area::Config => f.write_str(&self.leaf),
            Area::Packs => write!(f, "packs/{}/{}", &self.leaf[..2], self.leaf),
            area => write!(f, "{}/{}", area.directory(), self.leaf),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_an_area_can_hold_are_listed() {
        let id = SessionId::from_bytes([0xab; 16]);
        let name = ObjectName::condemned(id);
        assert_eq!(name.to_string(), format!("gc/{id}.condemned"));
        assert_eq!(ObjectName::listed(Area::Condemned, name.leaf()), Some(name.clone()));
        assert_eq!(name.session_id(), Some(id));
        let part = ObjectName::condemned_part(id, 12);
        assert_eq!(part.to_string(), format!("gc/{id}.12.condemned"));
        assert_eq!(ObjectName::listed(Area::Condemned, part.leaf()), Some(part.clone()));
        assert_eq!(part.session_id(), Some(id));
        for leaf in [format!("{id}.0.condemned"), format!("{id}.+1.condemned")] {
            assert_eq!(ObjectName::listed(Area::Condemned, &leaf), None);
        }
        let aside = ObjectName::quarantined(&ObjectName::pack(PackId::from_bytes([7; 32])), 2);
        assert_eq!(aside.to_string(), format!("quarantine/packs.07.{}.2", "07".repeat(32)));
        assert_eq!(ObjectName::listed(Area::Quarantine, aside.leaf()), Some(aside.clone()));
        for leaf in ["", ".", "../config.0", "packs..x", "lost+found", "AB"] {
            assert!(Area::ALL.iter().all(|area| ObjectName::listed(*area, leaf).is_none()));
        }
    }
}
