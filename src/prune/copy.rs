//! Copies what is needed out of packs that are to go (step G4), entry by entry, as it is stored.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use crate::base::cancel::Cancel;
use crate::base::id::{ChunkId, PackId};
use crate::base::limits::PENDING_ENTRIES_MAX;
use crate::base::sync::lock;
use crate::chunk::ChunkDecoder;
use crate::error::{Error, ErrorKind, Result};
use crate::format::entry::EntryKind;
use crate::format::layout::ObjectName;
use crate::format::location::Location;
use crate::format::pack::TableRow;
use crate::index::builder::publish_segment;
use crate::pack::{PackSink, PackWriter, read_entry, read_pack};
use crate::prune::census::{Packs, Uses};
use crate::prune::mark::Live;
use crate::repo::{MAP_COPIES, Repository};

/// Buffers of a writer: one grows while the other is published.
const BUFFERS: usize = 2;

/// What was copied.
#[derive(Debug, Default)]
pub(super) struct Copied {
    /// Numbers of packs that must stay because not all that is needed of them could be read.
    pub(super) unreadable: HashSet<u32>,
    /// Length of what was written, in bytes.
    pub(super) bytes: u64,
}

/// Copies the needed entries of `sources`, which are numbers of packs, and returns when the copies
/// are durable and indexed.
pub(super) fn copy_needed(
    repo: &Repository,
    live: &Live,
    packs: &Packs,
    uses: &Uses,
    sources: &[u32],
    cancel: &Cancel,
) -> Result<Copied> {
    let sink = Arc::new(Sink { repo: repo.clone(), pending: Mutex::default() });
    let mut copier = Copier {
        repo,
        live,
        packs,
        uses,
        data: repo.write_packs(EntryKind::Data, 1, BUFFERS, Arc::<Sink>::clone(&sink))?,
        map: repo.write_packs(
            EntryKind::MapNode,
            MAP_COPIES,
            BUFFERS,
            Arc::<Sink>::clone(&sink),
        )?,
        decoder: ChunkDecoder::new(repo.sealing())?,
        nodes: HashSet::new(),
    };
    let len = |pack: &u32| packs.lens[*pack as usize];
    repo.monitor().phase("compacting", Some(sources.iter().map(len).sum()));
    let mut result = Copied::default();
    let mut copied = Ok(());
    for pack in sources {
        if cancel.is_requested() {
            copied = Err(Error::new(ErrorKind::Cancelled, "the prune was interrupted"));
            break;
        }
        match copier.copy_pack(packs.id(*pack)) {
            Err(CopyError::Read(error))
                if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Io) =>
            {
                repo.monitor().problem(&error);
                result.unreadable.insert(*pack);
            }
            Err(CopyError::Read(error) | CopyError::Write(error)) => {
                copied = Err(error);
                break;
            }
            Ok(()) => {}
        }
        repo.monitor().advance(len(pack));
    }
    // Packs that were published are indexed in any case: they are found again by the next run.
    let finished = [copier.data.finish(), copier.map.finish()];
    let indexed = sink.flush();
    // Why a pack could not be published is a better reason than that no more is taken.
    for totals in finished {
        result.bytes += totals?.bytes;
    }
    copied?;
    indexed?;
    Ok(result)
}

/// On which side copying failed.
enum CopyError {
    Read(Error),
    Write(Error),
}

struct Copier<'a> {
    repo: &'a Repository,
    live: &'a Live,
    packs: &'a Packs,
    uses: &'a Uses,
    data: PackWriter,
    map: PackWriter,
    decoder: ChunkDecoder,
    /// Nodes that were copied: the other copy of one is in another pack.
    nodes: HashSet<ChunkId>,
}

impl Copier<'_> {
    fn copy_pack(&mut self, pack: PackId) -> std::result::Result<(), CopyError> {
        let store = &**self.repo.store();
        let contents = read_pack(store, self.repo.sealing(), pack).map_err(CopyError::Read)?;
        let (mut entry, mut plain) = (Vec::new(), Vec::new());
        for row in &contents.rows {
            let TableRow { chunk, offset, entry_len, plain_len, kind } = *row;
            let location = Location { pack, offset, entry_len, plain_len, kind };
            if !self.must_copy(chunk, &location).map_err(CopyError::Read)? {
                continue;
            }
            // What is copied must be good: the original goes.
            let read = read_entry(store, &location, &mut entry)
                .and_then(|()| self.decoder.decode(chunk, &entry, std::mem::take(&mut plain)));
            let name = ObjectName::pack(pack);
            let place = |error: Error| error.at(name.to_string()).at_byte(offset.into());
            plain = read.map_err(|error| CopyError::Read(place(error)))?.into_buffer();
            let writer = match kind {
                EntryKind::Data => &self.data,
                EntryKind::MapNode => &self.map,
            };
            writer.append(chunk, plain_len as usize, &entry).map_err(CopyError::Write)?;
            if kind == EntryKind::MapNode {
                self.nodes.insert(chunk);
            }
        }
        Ok(())
    }

    /// Whether this copy is one of those that are kept.
    fn must_copy(&self, chunk: ChunkId, location: &Location) -> Result<bool> {
        let live = self.live;
        if self.nodes.contains(&chunk) || !live.index.is_marked(chunk, &live.marks)? {
            return Ok(false);
        }
        let copies = live.index.locations(chunk)?;
        Ok(self.packs.is_chosen(self.uses, chunk, &copies, location))
    }
}

/// Makes segments of what was published.
struct Sink {
    repo: Repository,
    pending: Mutex<Vec<(ChunkId, Location)>>,
}

impl Sink {
    fn flush(&self) -> Result<()> {
        let entries = std::mem::take(&mut *lock(&self.pending));
        publish_segment(&**self.repo.store(), self.repo.sealing(), entries).map(drop)
    }
}

impl PackSink for Sink {
    fn published(&self, pack: PackId, rows: &[TableRow]) -> Result<()> {
        let is_full = {
            let mut pending = lock(&self.pending);
            pending.extend(rows.iter().map(|row| {
                let TableRow { chunk, offset, entry_len, plain_len, kind } = *row;
                (chunk, Location { pack, offset, entry_len, plain_len, kind })
            }));
            pending.len() >= PENDING_ENTRIES_MAX
        };
        if is_full { self.flush() } else { Ok(()) }
    }
}
