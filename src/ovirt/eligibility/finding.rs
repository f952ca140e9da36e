//! What a rule has found.

use std::fmt;

use crate::ovirt::eligibility::rule::Rule;
use crate::ovirt::facts::{DiskFacts, VmFacts};

/// The value of an attribute that the engine did not send.
pub const ABSENT: &str = "(absent)";

/// What a finding does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// There is no backup.
    Refuses,
    /// There is one without this disk.
    LeavesOut,
    /// There is one, and something is left out of the configuration that is stored with it.
    Redacts,
}

/// What kind of thing a finding is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each says what it is")]
pub enum ObjectKind {
    Vm,
    Disk,
    Snapshot,
    Backup,
    Transfer,
    Session,
    Engine,
}

impl ObjectKind {
    /// The word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Vm => "VM",
            Self::Disk => "disk",
            Self::Snapshot => "snapshot",
            Self::Backup => "backup",
            Self::Transfer => "transfer",
            Self::Session => "session",
            Self::Engine => "engine",
        }
    }
}

/// What a finding is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Its kind.
    pub kind: ObjectKind,
    /// Its id, where it has one.
    pub id: Option<String>,
    /// Its name, where it has one.
    pub name: Option<String>,
}

impl Object {
    pub(super) fn with_id(kind: ObjectKind, id: &str) -> Self {
        Self { kind, id: Some(id.to_owned()), name: None }
    }

    pub(super) const fn engine() -> Self {
        Self { kind: ObjectKind::Engine, id: None, name: None }
    }

    pub(super) const fn session(name: String) -> Self {
        Self { kind: ObjectKind::Session, id: None, name: Some(name) }
    }
}

impl From<&VmFacts> for Object {
    fn from(vm: &VmFacts) -> Self {
        Self { name: Some(vm.name.clone()), ..Self::with_id(ObjectKind::Vm, &vm.id) }
    }
}

impl From<&DiskFacts> for Object {
    fn from(disk: &DiskFacts) -> Self {
        Self { name: Some(disk.name.clone()), ..Self::with_id(ObjectKind::Disk, &disk.id) }
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.word())?;
        match (&self.name, &self.id) {
            (Some(name), _) => write!(f, " {name}"),
            (None, Some(id)) => write!(f, " {id}"),
            (None, None) => Ok(()),
        }
    }
}

/// What a rule has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The rule.
    pub rule: Rule,
    /// What it does to the backup.
    pub effect: Effect,
    /// What it is about.
    pub object: Object,
    /// The engine's attribute that decided.
    pub attribute: &'static str,
    /// What the attribute said.
    pub value: String,
    /// What that means: a clause without a full stop.
    pub why: String,
    /// What to do.
    pub remedy: String,
    /// Whether the disk may be left out without being named.
    pub(super) can_leave_out: bool,
}

impl Finding {
    /// A finding that refuses.
    pub(super) fn new(
        rule: Rule,
        object: impl Into<Object>,
        (attribute, value): (&'static str, &str),
        why: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            rule,
            effect: Effect::Refuses,
            object: object.into(),
            attribute,
            value: value.to_owned(),
            why: why.into(),
            remedy: remedy.into(),
            can_leave_out: false,
        }
    }

    /// Says that the disk may be left out without being named.
    pub(super) const fn can_leave_out(mut self) -> Self {
        self.can_leave_out = true;
        self
    }

    /// The disk that it is about, if it is about one.
    pub(super) fn disk_id(&self) -> Option<&str> {
        self.object.id.as_deref().filter(|_| self.object.kind == ObjectKind::Disk)
    }
}
