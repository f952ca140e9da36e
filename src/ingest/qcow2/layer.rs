//! One qcow2 file of a chain: what it says itself, and whom it asks about the rest.

use std::path::Path;
use std::sync::Arc;

use crate::error::Result;
use crate::ingest::file::ImageFile;
use crate::ingest::qcow2::entry::{EntryForm, Packed, Place};
use crate::ingest::qcow2::header::{Compression, Header};
use crate::ingest::qcow2::tables::Tables;
use crate::ingest::qcow2::unpack::unpack;
use crate::ingest::qcow2::unpacked::{ClusterKey, UnpackedClusters};
use crate::ingest::raw::{RawImage, check_disk_size};
use crate::ingest::source::{Extent, ExtentKind, ImageSource};

/// Most runs that are joined to one extent. It bounds what one question costs where an image is
/// fragmented, and still lets an extent of an empty disk reach over many L2 tables.
const RUNS_PER_EXTENT_MAX: usize = 128;
/// Data need not be joined beyond this many bytes: who reads them asks again soon enough, and a
/// caller that asks for each chunk should not walk a whole table every time.
const DATA_BYTES_ENOUGH: u64 = 16 << 20;

/// What unallocated clusters are read from.
#[derive(Debug)]
pub(super) enum Below {
    /// The end of a chain.
    Raw(RawImage),
    /// The rest of a chain.
    Qcow2(Box<Layer>),
}

/// A qcow2 file with everything behind it.
#[derive(Debug)]
pub(super) struct Layer {
    file: ImageFile,
    size_bytes: u64,
    form: EntryForm,
    compression: Compression,
    tables: Tables,
    below: Option<Below>,
    /// Its number in the chain; 0 is the lowest.
    number: usize,
    unpacked: Arc<UnpackedClusters>,
}

impl Layer {
    /// `unpacked` is shared by the layers of a chain, whose numbers differ.
    pub(super) fn new(
        file: ImageFile,
        header: &Header,
        below: Option<Below>,
        number: usize,
        unpacked: Arc<UnpackedClusters>,
    ) -> Result<Self> {
        check_disk_size(header.size_bytes, file.path())?;
        let tables = Tables::new(&file, header)?;
        let Header { size_bytes, form, compression, .. } = *header;
        Ok(Self { file, size_bytes, form, compression, tables, below, number, unpacked })
    }

    /// Length of the disk that the file describes, in bytes.
    pub(super) fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// The file itself.
    pub(super) fn path(&self) -> &Path {
        self.file.path()
    }

    /// Fails if a file of the chain is not what it was when it was opened.
    pub(super) fn check_unchanged(&self) -> Result<()> {
        self.file.check_unchanged()?;
        match &self.below {
            None => Ok(()),
            Some(Below::Raw(image)) => image.finish(),
            Some(Below::Qcow2(layer)) => layer.check_unchanged(),
        }
    }

    /// Reads exactly `out.len()` bytes, which lie on the disk.
    pub(super) fn read(&self, offset_bytes: u64, out: &mut [u8]) -> Result<()> {
        let mut at = offset_bytes;
        let mut rest = out;
        while !rest.is_empty() {
            let run = self.tables.run(&self.file, at, rest.len() as u64)?;
            let (part, behind) = rest.split_at_mut(run.len_bytes as usize);
            self.fill(at, run.place, part)?;
            at += run.len_bytes;
            rest = behind;
        }
        Ok(())
    }

    fn fill(&self, at: u64, place: Place, out: &mut [u8]) -> Result<()> {
        match place {
            Place::Zero => out.fill(0),
            Place::At(host) => self.file.read_exact_at(host, out)?,
            Place::Packed(packed) => self.fill_packed(at, packed, out)?,
            Place::Unallocated => self.fill_from_below(at, out)?,
        }
        Ok(())
    }

    /// The disk may have been made larger than what lies below; the difference is zero.
    fn fill_from_below(&self, at: u64, out: &mut [u8]) -> Result<()> {
        let Some(below) = &self.below else {
            out.fill(0);
            return Ok(());
        };
        let inside = below.size_bytes().saturating_sub(at).min(out.len() as u64);
        let (inside, beyond) = out.split_at_mut(inside as usize);
        beyond.fill(0);
        match below {
            _ if inside.is_empty() => Ok(()),
            Below::Raw(image) => image.read_at(at, inside),
            Below::Qcow2(layer) => layer.read(at, inside),
        }
    }

    fn fill_packed(&self, at: u64, packed: Packed, out: &mut [u8]) -> Result<()> {
        let cluster_bytes = self.form.cluster_bytes();
        if out.len() as u64 == cluster_bytes {
            return self.unpack(packed, out);
        }
        let key = ClusterKey { layer: self.number, packed };
        let cluster = self.unpacked.get(key, || {
            let mut cluster = vec![0; cluster_bytes as usize];
            self.unpack(packed, &mut cluster)?;
            Ok(Arc::new(cluster))
        })?;
        let within = (at % cluster_bytes) as usize;
        out.copy_from_slice(&cluster[within..within + out.len()]);
        Ok(())
    }

    /// `out` has the length of a cluster.
    fn unpack(&self, packed: Packed, out: &mut [u8]) -> Result<()> {
        let at = packed.offset_bytes;
        // The last sector of the last cluster need not be complete.
        let len = self.file.len_bytes().saturating_sub(at).min(packed.len_bytes);
        if len == 0 {
            return Err(self.file.damaged("a compressed cluster lies beyond the end", at));
        }
        let mut bytes = vec![0; len as usize];
        self.file.read_exact_at(at, &mut bytes)?;
        unpack(self.compression, &bytes, out).map_err(|error| {
            self.file.damaged("a compressed cluster cannot be unpacked", at).because(error)
        })
    }

    /// The extent that begins at `offset_bytes` and ends within `limit_bytes`. Both lie on the
    /// disk, and the limit is not zero.
    pub(super) fn extent_within(&self, offset_bytes: u64, limit_bytes: u64) -> Result<Extent> {
        let mut extent = self.run_extent(offset_bytes, limit_bytes)?;
        for _ in 1..RUNS_PER_EXTENT_MAX {
            let left = limit_bytes - extent.len_bytes;
            let enough = extent.kind == ExtentKind::Data && extent.len_bytes >= DATA_BYTES_ENOUGH;
            if left == 0 || enough {
                break;
            }
            let next = self.run_extent(offset_bytes + extent.len_bytes, left)?;
            if next.kind != extent.kind {
                break;
            }
            extent.len_bytes += next.len_bytes;
        }
        Ok(extent)
    }

    fn run_extent(&self, at: u64, limit: u64) -> Result<Extent> {
        let run = self.tables.run(&self.file, at, limit)?;
        let len_bytes = run.len_bytes;
        match run.place {
            Place::Zero => Ok(Extent { len_bytes, kind: ExtentKind::Zero }),
            Place::Unallocated => self.extent_below(at, len_bytes),
            // Clusters can be allocated and never written: holes of the file. What lies beyond its
            // end is no hole but damage, which the read will name.
            Place::At(host) if host.saturating_add(len_bytes) <= self.file.len_bytes() => {
                self.file.extent_within(host, len_bytes)
            }
            Place::At(_) | Place::Packed(_) => Ok(Extent { len_bytes, kind: ExtentKind::Data }),
        }
    }

    fn extent_below(&self, at: u64, limit: u64) -> Result<Extent> {
        let size = self.below.as_ref().map_or(0, Below::size_bytes);
        let limit_inside = size.saturating_sub(at).min(limit);
        match &self.below {
            Some(Below::Raw(image)) if limit_inside > 0 => image.extent_within(at, limit_inside),
            Some(Below::Qcow2(layer)) if limit_inside > 0 => layer.extent_within(at, limit_inside),
            _ => Ok(Extent { len_bytes: limit, kind: ExtentKind::Zero }),
        }
    }
}

impl Below {
    fn size_bytes(&self) -> u64 {
        match self {
            Self::Raw(image) => image.size_bytes(),
            Self::Qcow2(layer) => layer.size_bytes(),
        }
    }
}
