//! What a server offers: one disk, under its name.

use std::sync::Arc;

use crate::attach::nbd::BlockView;
use crate::attach::nbd::disk::{DiskOpener, describe};
use crate::error::Result;
use crate::format::commit::PointRecord;
use crate::vfs::{Access, Tree};

/// Opens the view once more: each connection has its own.
type Open = dyn Fn() -> Result<Box<dyn BlockView>> + Send + Sync;

/// A disk to serve.
pub struct Export {
    pub(super) facts: ExportFacts,
    open: Box<Open>,
}

/// What clients are told about an export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportFacts {
    /// Its name. Clients that give none mean it, too.
    pub name: String,
    /// A line for people.
    pub description: String,
    /// Its length.
    pub size_bytes: u64,
    /// Whether it can be written.
    pub is_writable: bool,
}

impl Export {
    /// Serves what `open` gives; all that it gives must be views of the same bytes.
    pub fn new(
        facts: ExportFacts,
        open: impl Fn() -> Result<Box<dyn BlockView>> + Send + Sync + 'static,
    ) -> Self {
        Self { facts, open: Box::new(open) }
    }

    /// Serves a disk of a restore point. It stays readable as long as this lives, whatever becomes
    /// of the restore point. To write it, the tree must have overlays.
    pub fn of_disk(
        tree: &Arc<Tree>,
        point: &PointRecord,
        name: &str,
        access: Access,
    ) -> Result<Self> {
        let opener = DiskOpener::new(tree, point, name, access)?;
        let facts = ExportFacts {
            name: name.to_owned(),
            description: describe(point, name),
            size_bytes: opener.size_bytes(),
            is_writable: access == Access::Write,
        };
        Ok(Self::new(facts, move || opener.open()))
    }

    pub(super) fn open(&self) -> Result<Box<dyn BlockView>> {
        (self.open)()
    }
}

impl ExportFacts {
    /// Whether a client means it by that name.
    pub(super) fn is_named(&self, name: &[u8]) -> bool {
        name.is_empty() || name == self.name.as_bytes()
    }
}
