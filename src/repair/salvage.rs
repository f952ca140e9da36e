//! What is good in damaged packs goes to new ones, as it is.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use crate::base::cancel::Cancel;
use crate::base::hash::blake3_256;
use crate::base::id::{ChunkId, PackId};
use crate::base::limits::PACK_BYTES_MAX;
use crate::base::sync::lock;
use crate::chunk::{ChunkEncoder, CompressionLevel};
use crate::error::{Error, ErrorKind, Result};
use crate::format::entry::EntryKind;
use crate::format::layout::ObjectName;
use crate::format::location::Location;
use crate::format::pack::TableRow;
use crate::index::builder::publish_segment;
use crate::pack::{self, PackSink, PackWriter};
use crate::repo::Repository;
use crate::scrub::{EntryProof, Survey};
use crate::store::Store;

/// Buffers of a writer: one grows while the other is published.
const BUFFERS: usize = 2;

/// Writes entries to new packs, and then a segment over them.
pub(super) struct Writers<'a> {
    repo: &'a Repository,
    data: PackWriter,
    nodes: PackWriter,
    entries: Arc<Entries>,
}

/// The places of what was written.
#[derive(Default)]
struct Entries(Mutex<Vec<(ChunkId, Location)>>);

impl PackSink for Entries {
    fn published(&self, pack: PackId, rows: &[TableRow]) -> Result<()> {
        lock(&self.0).extend(rows.iter().map(|row| {
            let TableRow { chunk, offset, entry_len, plain_len, kind } = *row;
            (chunk, Location { pack, offset, entry_len, plain_len, kind })
        }));
        Ok(())
    }
}

impl<'a> Writers<'a> {
    pub(super) fn start(repo: &'a Repository) -> Result<Self> {
        let entries = Arc::new(Entries::default());
        let start = |kind| repo.write_packs(kind, 1, BUFFERS, Arc::<Entries>::clone(&entries));
        let (data, nodes) = (start(EntryKind::Data)?, start(EntryKind::MapNode)?);
        Ok(Self { repo, data, nodes, entries })
    }

    pub(super) fn append(&self, row: &TableRow, entry: &[u8]) -> Result<()> {
        let writer = match row.kind {
            EntryKind::Data => &self.data,
            EntryKind::MapNode => &self.nodes,
        };
        writer.append(row.chunk, row.plain_len as usize, entry)
    }

    /// Waits until everything is durable, and the index knows it.
    pub(super) fn finish(self) -> Result<()> {
        self.data.finish()?;
        self.nodes.finish()?;
        let entries = std::mem::take(&mut *lock(&self.entries.0));
        publish_segment(&**self.repo.store(), self.repo.sealing(), entries).map(drop)
    }
}

/// What was found in a pack that a survey does not call whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Examined {
    /// Nothing is wrong with it: the index is, or it was read wrong before.
    Sound,
    /// It is damaged, and this was taken out of it.
    Damaged {
        problem: String,
        /// Entries that were copied.
        saved: u64,
        /// Sum of their lengths.
        saved_bytes: u64,
    },
}

/// Takes what is good and nowhere else out of damaged packs, one after the other.
pub(super) struct Salvage<'a> {
    repo: &'a Repository,
    survey: &'a Survey<'a>,
    cancel: &'a Cancel,
    proof: EntryProof,
    bytes: Vec<u8>,
    /// What was taken: two packs may hold the same node.
    taken: HashSet<ChunkId>,
    /// Where it goes; none if it is only counted.
    writers: Option<Writers<'a>>,
}

impl<'a> Salvage<'a> {
    pub(super) fn new(
        repo: &'a Repository,
        survey: &'a Survey<'a>,
        cancel: &'a Cancel,
        is_applied: bool,
    ) -> Result<Self> {
        let writers = if is_applied { Some(Writers::start(repo)?) } else { None };
        let (bytes, taken) = (Vec::new(), HashSet::new());
        Ok(Self {
            repo,
            survey,
            cancel,
            proof: EntryProof::new(repo.sealing())?,
            bytes,
            taken,
            writers,
        })
    }

    /// Looks through a pack; none if it is not there any more.
    pub(super) fn pack(&mut self, pack: PackId) -> Result<Option<Examined>> {
        if self.cancel.is_requested() {
            return Err(Error::new(ErrorKind::Cancelled, "the repair was interrupted"));
        }
        let problem = match read_bytes(&**self.repo.store(), pack, &mut self.bytes) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            problem => problem?,
        };
        let bytes = std::mem::take(&mut self.bytes);
        let (rows, has_table) = match pack::parse_pack(self.repo.sealing(), pack, &bytes) {
            Ok(contents) => (contents.rows, true),
            Err(_) => (pack::scan_entries(self.repo.sealing(), &bytes), false),
        };
        let bad = rows.iter().filter(|row| !self.proof.is_good(row, &bytes)).count();
        let examined = match problem {
            None if has_table && bad == 0 => Examined::Sound,
            problem => {
                let problem = problem.unwrap_or_else(|| format!("{bad} entries are damaged"));
                let (saved, saved_bytes) = self.save(&rows, &bytes)?;
                Examined::Damaged { problem, saved, saved_bytes }
            }
        };
        self.bytes = bytes;
        Ok(Some(examined))
    }

    /// What was taken so far.
    pub(super) fn taken(&self) -> &HashSet<ChunkId> {
        &self.taken
    }

    /// Waits until what was taken is durable and indexed.
    pub(super) fn finish(self) -> Result<()> {
        self.writers.map_or(Ok(()), Writers::finish)
    }

    /// Copies entries of which there is no copy in a pack that is whole.
    fn save(&mut self, rows: &[TableRow], bytes: &[u8]) -> Result<(u64, u64)> {
        let (mut saved, mut saved_bytes) = (0, 0);
        for row in rows {
            // Where a damaged page hides a copy, one more does no harm.
            let locations = self.survey.index().locations(row.chunk).unwrap_or_default();
            let is_elsewhere = !self.survey.copies(row.chunk, &locations).sound.is_empty();
            if is_elsewhere || self.taken.contains(&row.chunk) {
                continue;
            }
            let Some(entry) = self.entry(row, bytes)? else { continue };
            if let Some(writers) = &self.writers {
                writers.append(row, &entry)?;
            }
            self.taken.insert(row.chunk);
            saved += 1;
            saved_bytes += entry.len() as u64;
        }
        Ok((saved, saved_bytes))
    }

    /// The entry of a row, as it is if all of it is good. Where only its head is damaged, so that
    /// the chunk can be decoded and single slices of it cannot, it is made anew.
    fn entry<'b>(&mut self, row: &TableRow, bytes: &'b [u8]) -> Result<Option<Cow<'b, [u8]>>> {
        let start = row.offset as usize;
        let Some(entry) = bytes.get(start..start + row.entry_len as usize) else {
            return Ok(None);
        };
        if self.proof.is_good(row, bytes) {
            return Ok(Some(Cow::Borrowed(entry)));
        }
        let Some(plain) = self.proof.plain_of(row.chunk, entry) else { return Ok(None) };
        let sealing = self.repo.sealing();
        let mut encoder = ChunkEncoder::new(CompressionLevel::default(), sealing)?;
        let entry = encoder.encode(row.kind, &sealing.ids().hash(plain), plain)?;
        Ok(Some(Cow::Owned(entry.to_vec())))
    }
}

/// Reads what can be read of a pack into `bytes`, the rest of them zero, and says what is wrong
/// with them.
pub(super) fn read_bytes(
    store: &dyn Store,
    pack: PackId,
    bytes: &mut Vec<u8>,
) -> Result<Option<String>> {
    let name = ObjectName::pack(pack);
    bytes.clear();
    let len = match store.len_bytes(&name) {
        // Something that is no file has the name of a pack.
        Err(error) if error.kind() == ErrorKind::Corrupt => return Ok(Some(error.to_string())),
        len => len?,
    };
    bytes.resize(len.min(PACK_BYTES_MAX as u64) as usize, 0);
    let failure = pack::read_what_can_be(store, &name, 0, bytes)?;
    Ok(match failure {
        Some(error) => Some(error.chain()),
        None if len == bytes.len() as u64 && blake3_256(bytes) == *pack.as_bytes() => None,
        None => Some("its bytes are not those of its name".to_owned()),
    })
}
