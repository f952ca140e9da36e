//! A backup of images as one restore point.

use std::time::Instant;

use rayon::ThreadPoolBuilder;

use crate::base::cancel::Cancel;
use crate::base::limits::{DISK_BYTES_MAX, DISKS_PER_POINT_MAX};
use crate::chunk::CompressionLevel;
use crate::error::{Error, ErrorKind, Result};
use crate::format::commit::{BackupStats, DiskRecord, DiskSource, PointRecord, is_valid_name};
use crate::ingest::board::DiskCounts;
use crate::ingest::pipeline::{Pipeline, StoredDisk};
use crate::ingest::source::{ImageSource, ImageStream};
use crate::repo::{BackupSession, Repository};

/// A disk to back up.
pub struct DiskInput {
    /// Its name in the restore point.
    pub name: String,
    /// Where it came from, for people who look at the restore point.
    pub source: DiskSource,
    /// Its bytes.
    pub image: Image,
}

/// The bytes of a disk.
pub enum Image {
    /// Can be read anywhere.
    Source(Box<dyn ImageSource>),
    /// Arrives in order.
    Stream(Box<dyn ImageStream>),
}

/// How to back up.
#[derive(Debug, Clone)]
pub struct BackupOptions {
    /// How hard to compress new chunks.
    pub level: CompressionLevel,
    /// Threads of the data path.
    pub threads: usize,
    /// Ends the run early, without a restore point. A run that fails requests it, too, so that a
    /// stream which waits for its source gives up.
    pub cancel: Cancel,
}

/// Backs up `disks` as one restore point of `vm`.
///
/// A disk of which one byte cannot be read gives no restore point. What was stored by then is
/// kept, and found again by the next backup.
pub fn back_up(
    repo: &Repository,
    vm: &str,
    disks: Vec<DiskInput>,
    options: &BackupOptions,
) -> Result<PointRecord> {
    check_input(vm, &disks)?;
    let began = Instant::now();
    let pool = ThreadPoolBuilder::new()
        .num_threads(options.threads)
        .thread_name(|n| format!("backup-{n}"))
        .build()
        .map_err(|error| Error::new(ErrorKind::Io, "cannot start threads").because(error))?;
    let session = BackupSession::begin(repo, vm)?;
    let pipeline =
        Pipeline { session: &session, pool: &pool, level: options.level, cancel: &options.cancel };
    match store_disks(&pipeline, disks) {
        Ok((records, counts)) => {
            repo.monitor().phase("finishing", None);
            session.commit(records, |stored_bytes| stats(counts, stored_bytes, began))
        }
        Err(error) => {
            if let Err(problem) = session.abort() {
                repo.monitor().problem(&problem);
            }
            Err(error)
        }
    }
}

fn stats(counts: DiskCounts, stored_bytes: u64, began: Instant) -> BackupStats {
    BackupStats {
        read_bytes: counts.read_bytes,
        zero_bytes: counts.zero_bytes,
        duplicate_bytes: counts.duplicate_bytes,
        new_plain_bytes: counts.new_plain_bytes,
        stored_bytes,
        duration_ms: began.elapsed().as_millis() as u64,
    }
}

fn check_input(vm: &str, disks: &[DiskInput]) -> Result<()> {
    let invalid = |what: String| Err(Error::new(ErrorKind::Invalid, what));
    if !is_valid_name(vm) {
        return invalid(format!(
            "{vm:?} is no name for a VM: 1 to 255 bytes, no control characters"
        ));
    }
    if disks.is_empty() || disks.len() > DISKS_PER_POINT_MAX {
        return invalid(format!("a restore point has 1 to {DISKS_PER_POINT_MAX} disks"));
    }
    for (number, disk) in disks.iter().enumerate() {
        let name = &disk.name;
        if !is_valid_name(name) {
            return invalid(format!(
                "{name:?} is no name for a disk: 1 to 255 bytes, no control characters"
            ));
        }
        if disks[..number].iter().any(|other| other.name == *name) {
            return invalid(format!("two disks are named {name:?}; give one of them another name"));
        }
        if let Image::Source(source) = &disk.image
            && source.size_bytes() > DISK_BYTES_MAX
        {
            return invalid(format!("disk {name:?} is larger than 64 TiB"));
        }
    }
    Ok(())
}

fn store_disks(
    pipeline: &Pipeline<'_>,
    disks: Vec<DiskInput>,
) -> Result<(Vec<DiskRecord>, DiskCounts)> {
    let mut records = Vec::with_capacity(disks.len());
    let mut counts = DiskCounts::default();
    for disk in disks {
        let DiskInput { name, source, image } = disk;
        let stored = store_disk(pipeline, &name, image)?;
        counts.add(&stored.counts);
        let StoredDisk { size_bytes, map_root, .. } = stored;
        records.push(DiskRecord { name, size_bytes, map_root, source });
    }
    Ok((records, counts))
}

fn store_disk(pipeline: &Pipeline<'_>, name: &str, image: Image) -> Result<StoredDisk> {
    let monitor = pipeline.session.monitor();
    match image {
        Image::Source(source) => {
            monitor.phase(name, Some(source.size_bytes()));
            pipeline.store_image(&*source)
        }
        Image::Stream(mut stream) => {
            monitor.phase(name, None);
            pipeline.store_stream(&mut *stream)
        }
    }
}
