//! What the necessary parts of a work take on this machine when nothing waits for anything, and
//! what its disk takes.

use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use backstop::base::hash::{IdHasher, blake3_256};
use backstop::base::id::RepoId;
use backstop::base::limits::{CHUNK_BYTES, PACK_BYTES_MAX, PACK_TARGET_BYTES};
use backstop::chunk::{ChunkDecoder, ChunkEncoder, CompressionLevel, is_zero};
use backstop::crypto::Sealing;
use backstop::format::entry::EntryKind;
use backstop::format::layout::{Area, ObjectName};
use backstop::pack::read_pack;
use backstop::repo::Repository;

/// Writes to the disk that are under way at once.
const DISK_WRITERS: usize = 4;
/// What unbuffered writes are aligned to: enough for every disk.
const ALIGNMENT: usize = 4096;

/// Seconds that a work cannot take less than.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limit {
    /// Its parts on the processor, one after the other.
    pub(crate) parts: f64,
    /// Making as many bytes durable in files of the same lengths, with nothing else to do.
    pub(crate) disk: f64,
}

/// Measures limits with a number of threads and files in a scratch directory.
pub(crate) struct Limits<'a> {
    pub(crate) scratch: &'a Path,
    pub(crate) threads: usize,
}

impl Limits<'_> {
    /// Storing an image that is new: read, zero test, hash, compress, decode again, write.
    pub(crate) fn of_new(&self, image: &Path) -> Limit {
        let stored = AtomicU64::new(0);
        let plain = Sealing::plain(RepoId::from_bytes([0; 16]));
        let file = File::open(image).expect("the image");
        let encoded = time(|| {
            each_worker(self.threads, chunks(image), |claim| {
                let mut encoder =
                    ChunkEncoder::new(CompressionLevel::default(), &plain).expect("zstd");
                let mut buffer = Vec::new();
                while let Some(index) = claim() {
                    read_chunk(&file, index, &mut buffer);
                    if is_zero(&buffer) {
                        continue;
                    }
                    let hash = IdHasher::default().hash(&buffer);
                    let entry = encoder.encode(EntryKind::Data, &hash, &buffer).expect("encodes");
                    stored.fetch_add(entry.len() as u64, Ordering::Relaxed);
                }
            });
        });
        let stored = stored.into_inner();
        // A backup gives the pages of a pack back once it is durable, so its window is a few packs.
        let write = self.write(stored, 2 * PACK_TARGET_BYTES as u64);
        Limit { parts: encoded + write, disk: self.disk(stored, PACK_TARGET_BYTES as u64) }
    }

    /// Looking through an image whose chunks are known: read, zero test, hash.
    pub(crate) fn of_known(&self, image: &Path) -> Limit {
        let file = File::open(image).expect("the image");
        let parts = time(|| {
            each_chunk(self.threads, chunks(image), |index, buffer| {
                read_chunk(&file, index, buffer);
                if !is_zero(buffer) {
                    std::hint::black_box(IdHasher::default().hash(buffer));
                }
            });
        });
        Limit { parts, disk: 0.0 }
    }

    /// Restoring an image from a repository: read, decode, hash, write.
    pub(crate) fn of_restore(&self, repo: &Repository, image: &Path) -> Limit {
        let data = data_bytes(image);
        // A restored file takes as many pages as it has.
        let parts = self.of_chunks(repo).parts + self.write(data, u64::MAX);
        Limit { parts, disk: self.disk(data, data) }
    }

    /// Reading every entry, decoding it and hashing what comes out.
    pub(crate) fn of_chunks(&self, repo: &Repository) -> Limit {
        let packs = repo.store().list(Area::Packs).expect("packs");
        let ids: Vec<_> = packs.iter().filter_map(ObjectName::pack_id).collect();
        let parts = time(|| {
            each_worker(self.threads, ids.len() as u64, |claim| {
                let mut decoder = ChunkDecoder::new(repo.sealing()).expect("zstd");
                let mut plain = Vec::new();
                while let Some(number) = claim() {
                    let id = ids[number as usize];
                    let name = ObjectName::pack(id);
                    let bytes = repo.store().read(&name, PACK_BYTES_MAX).expect("the pack");
                    let contents =
                        read_pack(&**repo.store(), repo.sealing(), id).expect("its table");
                    for row in contents.rows {
                        let entry = &bytes[row.offset as usize..][..row.entry_len as usize];
                        let decoded = decoder.decode(row.chunk, entry, std::mem::take(&mut plain));
                        plain = decoded.expect("what was stored").into_buffer();
                    }
                }
            });
        });
        Limit { parts, disk: 0.0 }
    }

    /// Reading every pack and hashing it.
    pub(crate) fn of_packs(&self, repo: &Repository) -> Limit {
        let packs = repo.store().list(Area::Packs).expect("packs");
        let parts = time(|| {
            each_worker(self.threads, packs.len() as u64, |claim| {
                while let Some(number) = claim() {
                    let pack = repo.store().read(&packs[number as usize], PACK_BYTES_MAX);
                    std::hint::black_box(blake3_256(&pack.expect("the pack")));
                }
            });
        });
        Limit { parts, disk: 0.0 }
    }

    /// Writes that many bytes to the page cache, in pieces of a chunk, over and over to the same
    /// `window` of a file.
    fn write(&self, bytes: u64, window: u64) -> f64 {
        let path = self.scratch.join("written");
        let file = File::create(&path).expect("a file");
        let pass = |bytes: u64| {
            each_chunk(self.threads, bytes.div_ceil(CHUNK_BYTES as u64), |index, buffer| {
                buffer.resize(CHUNK_BYTES, 0x5a);
                let offset = index * CHUNK_BYTES as u64 % window;
                file.write_all_at(buffer, offset).expect("room");
            });
        };
        if window < bytes {
            pass(window);
        }
        let seconds = time(|| pass(bytes));
        fs::remove_file(&path).expect("the file can be removed");
        seconds
    }

    /// Writes random bytes past the page cache to new files of that length, and syncs each.
    fn disk(&self, bytes: u64, file_bytes: u64) -> f64 {
        let directory = tempfile::tempdir_in(self.scratch).expect("a directory");
        let pieces = file_bytes.div_ceil(CHUNK_BYTES as u64);
        let files: Vec<_> = (0..bytes.div_ceil(file_bytes))
            .map(|number| (unbuffered(&directory.path().join(number.to_string())), pieces.into()))
            .collect::<Vec<(File, AtomicU64)>>();
        let noise = noise(CHUNK_BYTES + ALIGNMENT);
        time(|| {
            each_worker(DISK_WRITERS, files.len() as u64 * pieces, |claim| {
                let aligned = &noise[noise.as_ptr().align_offset(ALIGNMENT)..][..CHUNK_BYTES];
                while let Some(piece) = claim() {
                    let (file, left) = &files[(piece / pieces) as usize];
                    let offset = piece % pieces * CHUNK_BYTES as u64;
                    file.write_all_at(aligned, offset).expect("room");
                    if left.fetch_sub(1, Ordering::AcqRel) == 1 {
                        file.sync_all().expect("the disk works");
                    }
                }
            });
        })
    }
}

fn unbuffered(path: &Path) -> File {
    let mut options = OpenOptions::new();
    let options = options.write(true).create_new(true).custom_flags(libc::O_DIRECT);
    options.open(path).expect("a file system that writes past the page cache")
}

/// Random bytes.
pub(crate) fn noise(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    let mut random = File::open("/dev/urandom").expect("random bytes");
    random.read_exact(&mut bytes).expect("enough of them");
    bytes
}

/// Bytes of an image in chunks that are not zero.
fn data_bytes(image: &Path) -> u64 {
    let file = File::open(image).expect("the image");
    let mut buffer = Vec::new();
    let data = (0..chunks(image)).map(|index| {
        read_chunk(&file, index, &mut buffer);
        if is_zero(&buffer) { 0 } else { buffer.len() as u64 }
    });
    data.sum()
}

fn each_chunk(threads: usize, chunks: u64, work: impl Fn(u64, &mut Vec<u8>) + Sync) {
    each_worker(threads, chunks, |claim| {
        let mut buffer = Vec::new();
        while let Some(index) = claim() {
            work(index, &mut buffer);
        }
    });
}

fn each_worker(threads: usize, pieces: u64, work: impl Fn(&dyn Fn() -> Option<u64>) + Sync) {
    let next = AtomicU64::new(0);
    let claim = || {
        let index = next.fetch_add(1, Ordering::Relaxed);
        (index < pieces).then_some(index)
    };
    std::thread::scope(|scope| {
        (0..threads).for_each(|_| drop(scope.spawn(|| work(&claim))));
    });
}

/// Reads a chunk of an image.
pub(crate) fn read_chunk(file: &File, index: u64, buffer: &mut Vec<u8>) {
    buffer.resize(CHUNK_BYTES, 0);
    let len = file.read_at(buffer, index * CHUNK_BYTES as u64).expect("the image can be read");
    buffer.truncate(len);
}

fn chunks(image: &Path) -> u64 {
    image_bytes(image).div_ceil(CHUNK_BYTES as u64)
}

pub(crate) fn image_bytes(image: &Path) -> u64 {
    fs::metadata(image).expect("the image").len()
}

/// Seconds that something takes.
pub(crate) fn time(work: impl FnOnce()) -> f64 {
    let began = Instant::now();
    work();
    began.elapsed().as_secs_f64()
}
