//! Reads chunks, slices and map nodes: through the index, from any good copy, verified.

use std::sync::{Arc, Mutex, PoisonError, RwLock};

use crate::base::cache::BoundedCache;
use crate::base::id::ChunkId;
use crate::base::sync::lock;
use crate::base::units::SliceIndex;
use crate::base::verified::{VerifiedChunk, VerifiedSlice};
use crate::chunk::ChunkDecoder;
use crate::diskmap::NodeSource;
use crate::error::{Error, ErrorKind, Result};
use crate::format::layout::ObjectName;
use crate::format::location::Location;
use crate::format::mapnode::MapNode;
use crate::index::lookup::Index;
use crate::pack;
use crate::repo::Repository;
use crate::store::Store;

/// Decoded map nodes that a reader keeps: up to 17 MiB, which reach 512 GiB of disk.
const NODES_KEPT: usize = 2048;
/// Workspaces that a reader keeps. On a medium that hangs there may be hundreds of reads at once,
/// and the megabyte that each may have needed is not kept for good.
const IDLE_KEPT: usize = 32;

/// Reads what packs hold. Shared by many threads.
pub struct ChunkReader {
    repo: Repository,
    index: RwLock<Arc<Index>>,
    idle: Mutex<Vec<Workspace>>,
    nodes: Mutex<BoundedCache<ChunkId, Arc<MapNode>>>,
}

/// What one read needs for itself; kept for the next one.
struct Workspace {
    decoder: ChunkDecoder,
    /// Stored bytes: of an entry, or of one slice of it.
    stored: Vec<u8>,
}

impl ChunkReader {
    pub(super) fn open(repo: &Repository) -> Result<Self> {
        let index = Index::load(&**repo.store(), repo.sealing(), repo.monitor())?;
        Ok(Self {
            repo: repo.clone(),
            index: RwLock::new(Arc::new(index)),
            idle: Mutex::default(),
            nodes: Mutex::new(BoundedCache::new(NODES_KEPT)),
        })
    }

    /// The index as this reader sees it.
    #[must_use]
    pub fn index(&self) -> Arc<Index> {
        Arc::clone(&self.index.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// A whole chunk. `buffer` is used for its bytes, whatever it holds.
    pub fn chunk(&self, chunk: ChunkId, buffer: Vec<u8>) -> Result<VerifiedChunk> {
        let mut buffer = Some(buffer);
        self.with_any_copy(chunk, |work, location| {
            pack::read_entry(self.store(), location, &mut work.stored)?;
            work.decoder.decode(chunk, &work.stored, buffer.take().unwrap_or_default())
        })
    }

    /// One slice of a chunk. Reads, decodes and hashes no more than that slice. `buffer` is used
    /// for its bytes, whatever it holds.
    pub fn slice(
        &self,
        chunk: ChunkId,
        slice: SliceIndex,
        buffer: Vec<u8>,
    ) -> Result<VerifiedSlice> {
        let mut buffer = Some(buffer);
        self.with_any_copy(chunk, |work, location| {
            let head = pack::read_head(self.store(), self.repo.sealing(), chunk, location)?;
            pack::read_stored(self.store(), location, &head, slice, &mut work.stored)?;
            let buffer = buffer.take().unwrap_or_default();
            work.decoder.decode_slice(chunk, &head, slice, &work.stored, buffer)
        })
    }

    /// Tries the copies of a chunk one after the other. Where all fail, the index is read again
    /// once: a prune may have moved the chunk, a backup stored it anew, or a rebuild found it.
    fn with_any_copy<T>(
        &self,
        chunk: ChunkId,
        mut read: impl FnMut(&mut Workspace, &Location) -> Result<T>,
    ) -> Result<T> {
        let mut work = self.workspace()?;
        let index = self.index();
        let mut result = self.try_copies(&index, chunk, &mut work, &mut read);
        if result.as_ref().is_err_and(|error| may_lie_elsewhere(error.kind())) {
            self.reload_index()?;
            let newer = self.index();
            if newer.locations(chunk).ok() != index.locations(chunk).ok() {
                result = self.try_copies(&newer, chunk, &mut work, &mut read);
            }
        }
        self.keep(work);
        result.map_err(|error| match error.kind() {
            // A restore point refers to it, so that it cannot be found is damage.
            ErrorKind::NotFound => {
                Error::corrupt("the chunk is in no pack that is here").chunk(chunk).because(error)
            }
            _ => error,
        })
    }

    fn try_copies<T>(
        &self,
        index: &Index,
        chunk: ChunkId,
        work: &mut Workspace,
        read: &mut impl FnMut(&mut Workspace, &Location) -> Result<T>,
    ) -> Result<T> {
        let mut failure = None;
        let read = index.find_copy(chunk, |location| match read(work, location) {
            Ok(value) => Some(value),
            Err(error) => {
                let name = ObjectName::pack(location.pack).to_string();
                let error = error.at(name).at_byte(location.offset.into());
                failure = Some(worse(failure.take(), error));
                None
            }
        })?;
        read.ok_or_else(|| {
            failure.unwrap_or_else(|| {
                Error::new(ErrorKind::NotFound, "the index does not know the chunk").chunk(chunk)
            })
        })
    }

    /// Reads the index again, as other sessions have left it.
    pub fn reload_index(&self) -> Result<()> {
        let index = self.index().reload(self.store(), self.repo.monitor())?;
        *self.index.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(index);
        Ok(())
    }

    fn store(&self) -> &dyn Store {
        &**self.repo.store()
    }

    fn workspace(&self) -> Result<Workspace> {
        match lock(&self.idle).pop() {
            Some(work) => Ok(work),
            None => Ok(Workspace {
                decoder: ChunkDecoder::new(self.repo.sealing())?,
                stored: Vec::new(),
            }),
        }
    }

    fn keep(&self, work: Workspace) {
        let mut idle = lock(&self.idle);
        if idle.len() < IDLE_KEPT {
            idle.push(work);
        }
    }
}

impl NodeSource for ChunkReader {
    fn node(&self, id: ChunkId) -> Result<Arc<MapNode>> {
        if let Some(node) = lock(&self.nodes).get(&id) {
            return Ok(node);
        }
        let bytes = self.chunk(id, Vec::new())?;
        let node = MapNode::decode(bytes.bytes()).map_err(|error| {
            Error::corrupt("a disk map node is damaged").chunk(id).because(error)
        })?;
        let node = Arc::new(node);
        lock(&self.nodes).put(id, Arc::clone(&node), 1);
        Ok(node)
    }
}

/// Whether such a failure leaves it open that there is a good copy which an older index does not
/// show.
fn may_lie_elsewhere(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::NotFound | ErrorKind::Corrupt | ErrorKind::Io)
}

/// Of two failures the one that tells more: damage rather than absence.
fn worse(first: Option<Error>, second: Error) -> Error {
    match first {
        Some(first) if first.kind() != ErrorKind::NotFound => first,
        _ => second,
    }
}
