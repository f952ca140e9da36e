//! Writers of packs, set up as a repository wants them.

use std::sync::Arc;

use crate::error::Result;
use crate::format::entry::EntryKind;
use crate::pack::{PackSink, PackWriter, PackWriterOptions};
use crate::repo::Repository;

impl Repository {
    /// Starts a writer of packs of `kind`. Each pack is stored `copies` times, and `buffers` of
    /// them, at least 2, are in memory at once.
    pub fn write_packs(
        &self,
        kind: EntryKind,
        copies: u8,
        buffers: usize,
        sink: Arc<dyn PackSink>,
    ) -> Result<PackWriter> {
        PackWriter::start(PackWriterOptions {
            store: Arc::clone(self.store()),
            sealing: self.sealing().clone(),
            chance: Arc::clone(&self.environment().chance),
            kind,
            has_parity: self.config().has_parity(),
            copies,
            buffers,
            sink,
        })
    }
}
