//! A backup of images as one restore point.

use std::sync::Arc;
use std::time::Instant;

use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::base::cancel::Cancel;
use crate::base::id::SessionId;
use crate::base::limits::{CONFIGURATION_BYTES_MAX, DISK_BYTES_MAX, DISKS_PER_POINT_MAX};
use crate::chunk::CompressionLevel;
use crate::error::{Error, ErrorKind, Result};
use crate::format::commit::{BackupStats, DiskRecord, DiskSource, PointRecord, is_valid_name};
use crate::format::engine::{Configuration, EngineDisk, EngineRecord, LeftOut};
use crate::ingest::board::DiskCounts;
use crate::ingest::parent::ParentDisk;
use crate::ingest::pipeline::{Pipeline, StoredDisk};
use crate::ingest::source::{ImageSource, ImageStream};
use crate::repo::{BackupSession, ChunkReader, PointContents, Repository};

/// A disk to back up.
pub struct DiskInput {
    /// Its name in the restore point.
    pub name: String,
    /// Where it came from, for people who look at the restore point.
    pub source: DiskSource,
    /// Its bytes.
    pub image: Image,
    /// The disk of a restore point before that it inherits from, where the source says what did
    /// not change since.
    pub parent: Option<ParentDisk>,
    /// The disk as an engine had it, if it came from one.
    pub engine: Option<EngineDisk>,
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
    check_count(disks.len())?;
    for (number, disk) in disks.iter().enumerate() {
        check_disk(disk, disks[..number].iter().map(|earlier| earlier.name.as_str()))?;
    }
    let mut run = BackupRun::begin(repo, vm, options)?;
    match disks.into_iter().try_for_each(|disk| run.store_disk(disk)) {
        Ok(()) => run.commit(PointFacts::default()),
        Err(error) => {
            run.abort();
            Err(error)
        }
    }
}

/// What a restore point holds beside the bytes of disks.
#[derive(Debug, Clone, Default)]
pub struct PointFacts {
    /// How the VM came from an engine.
    pub engine: Option<EngineRecord>,
    /// Disks of the VM that were not stored.
    pub left_out: Vec<LeftOut>,
}

/// A backup under way: disks are stored one after the other, then all of them become a restore
/// point. Ends with [`BackupRun::commit`] or [`BackupRun::abort`].
pub struct BackupRun {
    session: BackupSession,
    pool: ThreadPool,
    options: BackupOptions,
    began: Instant,
    contents: PointContents,
    counts: DiskCounts,
    /// Reads what disks inherit.
    reader: Option<Arc<ChunkReader>>,
}

impl BackupRun {
    /// Takes the VM and registers the session. [`ErrorKind::Busy`] if somebody has the VM.
    pub fn begin(repo: &Repository, vm: &str, options: &BackupOptions) -> Result<Self> {
        if !is_valid_name(vm) {
            return Err(invalid(format!(
                "{vm:?} is no name for a VM: 1 to 255 bytes, no control characters"
            )));
        }
        let began = Instant::now();
        let pool = ThreadPoolBuilder::new()
            .num_threads(options.threads)
            .thread_name(|n| format!("backup-{n}"))
            .build()
            .map_err(|error| Error::new(ErrorKind::Io, "cannot start threads").because(error))?;
        Ok(Self {
            session: BackupSession::begin(repo, vm)?,
            pool,
            options: options.clone(),
            began,
            contents: PointContents::default(),
            counts: DiskCounts::default(),
            reader: None,
        })
    }

    /// Which session it is: the id of the restore point, if it comes to be.
    #[must_use]
    pub fn session_id(&self) -> SessionId {
        self.session.id()
    }

    /// The restore points of the VM that were there when the run began, the newest last.
    #[must_use]
    pub fn parent_points(&self) -> Vec<PointRecord> {
        self.session.points().cloned().collect()
    }

    /// A disk to inherit from. It must be of one of [`BackupRun::parent_points`]: others may be on
    /// their way out of the repository.
    pub fn parent_disk(&mut self, disk: &DiskRecord) -> Result<ParentDisk> {
        let reader = match &self.reader {
            Some(reader) => Arc::clone(reader),
            None => Arc::clone(self.reader.insert(self.session.repo().reader()?)),
        };
        Ok(ParentDisk::new(self.session.repo(), reader, disk))
    }

    /// Stores a disk. After a failure the run can only be aborted.
    pub fn store_disk(&mut self, disk: DiskInput) -> Result<()> {
        check_count(self.contents.disks.len() + 1)?;
        check_disk(&disk, self.contents.disks.iter().map(|earlier| earlier.name.as_str()))?;
        let DiskInput { name, source, image, parent, engine } = disk;
        let stored = store_image(&self.pipeline(), &name, image, parent.as_ref())?;
        let StoredDisk { size_bytes, map_root, counts } = stored;
        self.counts.add(&counts);
        self.contents.disks.push(DiskRecord { name, size_bytes, map_root, source, engine });
        Ok(())
    }

    /// Stores the configuration of the VM.
    pub fn store_configuration(&mut self, bytes: &[u8], redacted: bool) -> Result<()> {
        if bytes.len() as u64 > CONFIGURATION_BYTES_MAX {
            return Err(invalid("the configuration of the VM is too long".to_owned()));
        }
        let stored = self.pipeline().store_stream(&mut Whole(bytes))?;
        let StoredDisk { size_bytes, map_root, .. } = stored;
        self.contents.configuration = Some(Configuration { size_bytes, map_root, redacted });
        Ok(())
    }

    /// Makes the restore point.
    pub fn commit(self, facts: PointFacts) -> Result<PointRecord> {
        let Self { session, mut contents, counts, began, .. } = self;
        if let Err(error) = check_count(contents.disks.len()) {
            abort(session);
            return Err(error);
        }
        contents.engine = facts.engine;
        contents.left_out = facts.left_out;
        session.monitor().phase("finishing", None);
        session.commit(contents, |stored_bytes| stats(counts, stored_bytes, began))
    }

    /// Ends the run without a restore point. What was stored is kept, and found by the next one.
    pub fn abort(self) {
        abort(self.session);
    }

    fn pipeline(&self) -> Pipeline<'_> {
        Pipeline {
            session: &self.session,
            pool: &self.pool,
            level: self.options.level,
            cancel: &self.options.cancel,
        }
    }
}

/// What fails here is told, and is not why the run failed.
fn abort(session: BackupSession) {
    let repo = session.repo().clone();
    if let Err(problem) = session.abort() {
        repo.monitor().problem(&problem);
    }
}

/// All bytes of something, as a stream.
struct Whole<'a>(&'a [u8]);

impl ImageStream for Whole<'_> {
    fn read(&mut self, out: &mut [u8]) -> Result<usize> {
        let (now, later) = self.0.split_at(self.0.len().min(out.len()));
        out[..now.len()].copy_from_slice(now);
        self.0 = later;
        Ok(now.len())
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

fn invalid(what: String) -> Error {
    Error::new(ErrorKind::Invalid, what)
}

fn check_count(disks: usize) -> Result<()> {
    match (1..=DISKS_PER_POINT_MAX).contains(&disks) {
        true => Ok(()),
        false => Err(invalid(format!("a restore point has 1 to {DISKS_PER_POINT_MAX} disks"))),
    }
}

fn check_disk<'a>(disk: &DiskInput, mut earlier: impl Iterator<Item = &'a str>) -> Result<()> {
    let name = &disk.name;
    if !is_valid_name(name) {
        return Err(invalid(format!(
            "{name:?} is no name for a disk: 1 to 255 bytes, no control characters"
        )));
    }
    if earlier.any(|other| other == name) {
        return Err(invalid(format!(
            "two disks are named {name:?}; give one of them another name"
        )));
    }
    if let Image::Source(source) = &disk.image
        && source.size_bytes() > DISK_BYTES_MAX
    {
        return Err(invalid(format!("disk {name:?} is larger than 64 TiB")));
    }
    Ok(())
}

fn store_image(
    pipeline: &Pipeline<'_>,
    name: &str,
    image: Image,
    parent: Option<&ParentDisk>,
) -> Result<StoredDisk> {
    let monitor = pipeline.session.monitor();
    match image {
        Image::Source(source) => {
            monitor.phase(name, Some(source.size_bytes()));
            pipeline.store_image(&*source, parent)
        }
        Image::Stream(mut stream) => {
            monitor.phase(name, None);
            pipeline.store_stream(&mut *stream)
        }
    }
}
