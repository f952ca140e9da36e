//! The same chunks through the library, without a file system.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use backstop::base::cancel::Cancel;
use backstop::base::limits::{CHUNK_BYTES, SLICE_BYTES};
use backstop::base::units::{ChunkIndex, SliceIndex};
use backstop::chunk::CompressionLevel;
use backstop::diskmap::DiskMap;
use backstop::format::commit::DiskSource;
use backstop::ingest::open::{Backing, ImageFormat, open_image};
use backstop::ingest::{BackupOptions, DiskInput, Image, back_up};
use backstop::repo::{ChunkReader, Environment, Repository};
use backstop::store::DirStore;

use crate::Contender;
use crate::reads::{PAGE, Plan, Timed, Work, at_random, timed};

/// The name of the library alone.
pub(crate) const LIBRARY: &str = "library";

/// Threads that read in order: as many as there are processors.
pub(crate) fn threads() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from)
}

/// Makes a repository at `path` that holds the image as one disk, all of it in the page cache.
pub(crate) fn repository_of(path: PathBuf, image: &Path) -> Repository {
    let store = DirStore::create(path).expect("an empty directory");
    let repo = Repository::create(Arc::new(store), Environment::default()).expect("a repository");
    let opened = open_image(image, Some(ImageFormat::Raw), Backing::Refuse).expect("an image");
    let source = DiskSource {
        format: "raw".to_owned(),
        path: image.display().to_string(),
        backing_files: Vec::new(),
    };
    let disk = DiskInput {
        name: "disk".to_owned(),
        source,
        image: Image::Source(opened.source),
        parent: None,
        engine: None,
    };
    let options = BackupOptions {
        level: CompressionLevel::default(),
        threads: threads(),
        cancel: Cancel::default(),
    };
    back_up(&repo, "vm", vec![disk], &options).expect("the backup works");
    repo
}

/// The repository, opened again.
pub(crate) fn reopen(path: PathBuf) -> Repository {
    let store = DirStore::open(path).expect("the repository");
    Repository::open(Arc::new(store), Environment::default()).expect("the repository")
}

/// Decodes and verifies: whole chunks in order, single slices at random.
pub(crate) struct Library(Repository);

/// The same with whole chunks at random.
pub(crate) struct WholeChunks(pub(crate) Repository);

impl Library {
    pub(crate) fn new(repo: Repository) -> Self {
        Self(repo)
    }

    /// The chunks of the disk that are no holes.
    pub(crate) fn data_chunks(&self) -> Vec<u64> {
        let (_, map) = open(&self.0);
        map.leaves(ChunkIndex(0)).map(|leaf| leaf.expect("the map").0.0).collect()
    }
}

impl Contender for Library {
    fn name(&self) -> &str {
        LIBRARY
    }

    fn run(&self, work: Work, plan: &Plan) -> Timed {
        match work {
            Work::InOrder | Work::PastCache | Work::Again => in_order(&self.0, plan),
            Work::AtRandom(jobs) => pages(&self.0, plan, jobs, |reader, chunk, at, page| {
                let slice = SliceIndex((at / SLICE_BYTES) as u8);
                let slice = reader.slice(chunk, slice, Vec::new()).expect("the slice");
                page.copy_from_slice(&slice.bytes()[at % SLICE_BYTES..][..PAGE]);
            }),
        }
    }
}

impl Contender for WholeChunks {
    fn name(&self) -> &str {
        "library, whole chunks"
    }

    fn run(&self, work: Work, plan: &Plan) -> Timed {
        match work {
            Work::InOrder | Work::PastCache | Work::Again => in_order(&self.0, plan),
            Work::AtRandom(jobs) => pages(&self.0, plan, jobs, |reader, chunk, at, page| {
                let chunk = reader.chunk(chunk, Vec::new()).expect("the chunk");
                page.copy_from_slice(&chunk.bytes()[at..][..PAGE]);
            }),
        }
    }
}

/// A reader that has read nothing yet, and the map of the disk.
fn open(repo: &Repository) -> (Arc<ChunkReader>, DiskMap) {
    let reader = repo.reader().expect("the index");
    let points = repo.points().expect("commits");
    let map = repo.disk_map(&reader, &points[0].disks[0]);
    (reader, map)
}

/// Each thread takes the next chunk that is no hole.
fn in_order(repo: &Repository, plan: &Plan) -> Timed {
    let work = || {
        let (reader, map) = open(repo);
        let leaves = map.leaves(ChunkIndex(0)).collect::<Result<Vec<_>, _>>().expect("the map");
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..threads() {
                scope.spawn(|| {
                    let mut buffer = Vec::new();
                    while let Some((_, chunk)) = leaves.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let plain = reader.chunk(*chunk, std::mem::take(&mut buffer));
                        buffer = plain.expect("the chunk").into_buffer();
                    }
                });
            }
        });
    };
    let (timed, ()) = timed(&[std::process::id()], work);
    Timed { amount: plan.image_bytes as f64, ..timed }
}

/// Reads the pages of the plan: `read` gets the chunk of each, and its place in there.
fn pages(
    repo: &Repository,
    plan: &Plan,
    jobs: usize,
    read: impl Fn(&ChunkReader, backstop::base::id::ChunkId, usize, &mut [u8]) + Sync,
) -> Timed {
    let (reader, map) = open(repo);
    at_random(plan, jobs, &[std::process::id()], |offset, page| {
        let index = ChunkIndex(offset / CHUNK_BYTES as u64);
        let chunk = map.leaf(index).expect("the map").expect("data");
        read(&reader, chunk, (offset % CHUNK_BYTES as u64) as usize, page);
    })
}
