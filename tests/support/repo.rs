//! Small disks in memory, and repositories to put them into.

#![allow(dead_code, reason = "each test binary uses its own part of this module")]

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use backstop::base::cancel::Cancel;
use backstop::base::clock::{Clock, UtcTime};
use backstop::base::limits::SLICES_PER_CHUNK;
use backstop::base::secret::SecretKey;
use backstop::base::units::{ChunkIndex, SliceIndex, slice_range};
use backstop::chunk::CompressionLevel;
use backstop::crypto::{Keyring, SlotSecret};
use backstop::error::Result;
use backstop::format::commit::{DiskRecord, DiskSource, PointRecord};
use backstop::format::vm_config::{Members, VmConfig};
use backstop::ingest::source::{Extent, ExtentKind, ImageSource};
use backstop::ingest::{BackupOptions, BackupRun, DiskInput, Image, PointFacts, back_up};
use backstop::monitor::Monitor;
use backstop::repo::{Environment, NewRepository, Repository, read_config, unlock};
use backstop::store::Store;
use backstop::store::testing::SeededChance;

pub(crate) const MIB: usize = 1 << 20;

/// A clock that moves on by a minute every time it is read.
pub(crate) struct MinuteClock(AtomicI64);

impl Default for MinuteClock {
    fn default() -> Self {
        Self(AtomicI64::new(1_795_397_400))
    }
}

impl Clock for MinuteClock {
    fn now(&self) -> UtcTime {
        UtcTime::from_unix_seconds(self.0.fetch_add(60, Ordering::Relaxed)).unwrap()
    }
}

/// A world that can be repeated from its seed.
pub(crate) fn environment(seed: u64) -> Environment {
    Environment {
        clock: Arc::new(MinuteClock::default()),
        chance: Arc::new(SeededChance::new(seed)),
        ..Environment::default()
    }
}

/// The same with an observer.
pub(crate) fn watched(seed: u64, monitor: Arc<dyn Monitor>) -> Environment {
    Environment { monitor, ..environment(seed) }
}

/// Whether the repositories of this run are encrypted: the suite runs once without and once with.
pub(crate) fn is_encrypted() -> bool {
    std::env::var_os("BACKSTOP_TEST_ENCRYPTED").is_some()
}

/// The keys of all encrypted repositories of the suite.
fn keyring() -> Option<Keyring> {
    is_encrypted().then(|| Keyring::generate(&SeededChance::new(5)))
}

/// What opens all encrypted repositories of the suite, those too that the program makes.
fn secret() -> SlotSecret {
    SlotSecret::KeyFile(SecretKey::new([7; 32]))
}

/// Makes a repository, encrypted if those of this run are.
pub(crate) fn create_repo(store: Arc<dyn Store>, environment: Environment) -> Result<Repository> {
    create_repo_as(store, environment, false)
}

/// The same for one whose packs have parity.
pub(crate) fn create_repo_with_parity(
    store: Arc<dyn Store>,
    environment: Environment,
) -> Result<Repository> {
    create_repo_as(store, environment, true)
}

fn create_repo_as(
    store: Arc<dyn Store>,
    environment: Environment,
    has_parity: bool,
) -> Result<Repository> {
    let (keyring, secret) = (keyring(), secret());
    let secret = keyring.is_some().then_some(&secret);
    let new = NewRepository { has_parity, keyring: keyring.as_ref(), secret };
    Repository::create_as(store, environment, &new)
}

/// Opens a repository that [`create_repo`] made.
pub(crate) fn open_repo(store: Arc<dyn Store>, environment: Environment) -> Result<Repository> {
    if !is_encrypted() {
        return Repository::open(store, environment);
    }
    let config = read_config(&*store, &environment)?;
    let unlocked = unlock(&*store, &environment, &config, vec![secret()])?;
    Repository::unlock(store, environment, &unlocked.keyring)
}

pub(crate) fn new_repo(store: Arc<dyn Store>) -> Repository {
    create_repo(store, environment(1)).unwrap()
}

/// A disk in memory. Chunks that are all zero are said to be holes if `has_holes`.
#[derive(Clone)]
pub(crate) struct MemoryDisk {
    pub(crate) bytes: Vec<u8>,
    pub(crate) has_holes: bool,
}

impl ImageSource for MemoryDisk {
    fn size_bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn extent_at(&self, offset_bytes: u64) -> Result<Extent> {
        let rest = &self.bytes[offset_bytes as usize..];
        let len = rest.len().min(64 << 10);
        let is_zero = self.has_holes && rest[..len].iter().all(|byte| *byte == 0);
        let kind = if is_zero { ExtentKind::Zero } else { ExtentKind::Data };
        Ok(Extent { len_bytes: len as u64, kind })
    }

    fn read_at(&self, offset_bytes: u64, out: &mut [u8]) -> Result<()> {
        let start = offset_bytes as usize;
        out.copy_from_slice(&self.bytes[start..start + out.len()]);
        Ok(())
    }

    fn finish(&self) -> Result<()> {
        Ok(())
    }
}

pub(crate) fn disk_input(name: &str, bytes: &[u8]) -> DiskInput {
    let image = MemoryDisk { bytes: bytes.to_vec(), has_holes: true };
    source_input(name, image)
}

pub(crate) fn source_input(name: &str, image: impl ImageSource + 'static) -> DiskInput {
    let source = DiskSource {
        format: "raw".to_owned(),
        path: format!("/dev/{name}"),
        backing_files: Vec::new(),
    };
    DiskInput {
        name: name.to_owned(),
        source,
        image: Image::Source(Box::new(image)),
        parent: None,
        engine: None,
    }
}

pub(crate) fn options() -> BackupOptions {
    BackupOptions { level: CompressionLevel::default(), threads: 2, cancel: Cancel::default() }
}

/// Backs up one disk named `disk`.
pub(crate) fn back_up_bytes(repo: &Repository, vm: &str, bytes: &[u8]) -> Result<PointRecord> {
    back_up(repo, vm, vec![disk_input("disk", bytes)], &options())
}

/// Backs up disks as one restore point with this configuration of its VM.
pub(crate) fn back_up_configured(
    repo: &Repository,
    vm: &str,
    disks: Vec<DiskInput>,
    configuration: &[u8],
) -> Result<PointRecord> {
    let mut run = BackupRun::begin(repo, vm, &options())?;
    disks.into_iter().try_for_each(|disk| run.store_disk(disk))?;
    run.store_configuration(configuration, true)?;
    run.commit(PointFacts::default())
}

/// A configuration of a VM with this description by its engine, if any.
pub(crate) fn configuration(ovf: Option<&str>) -> Vec<u8> {
    let mut config = VmConfig::new(Members::default());
    config.ovf = ovf.map(str::to_owned);
    config.encode()
}

/// Reads a disk back: chunk by chunk, or slice by slice.
pub(crate) fn read_back(repo: &Repository, disk: &DiskRecord, by_slices: bool) -> Result<Vec<u8>> {
    let reader = repo.reader()?;
    let map = repo.disk_map(&reader, disk);
    let mut out = vec![0; disk.size_bytes as usize];
    for leaf in map.leaves(ChunkIndex(0)) {
        let (index, chunk) = leaf?;
        let start = map.grid().chunk_offset(index) as usize;
        let len = map.grid().chunk_len(index);
        let out = &mut out[start..start + len];
        if !by_slices {
            out.copy_from_slice(reader.chunk(chunk, Vec::new())?.bytes());
            continue;
        }
        for slice in (0..SLICES_PER_CHUNK as u8).map(SliceIndex) {
            let range = slice_range(slice, len);
            if !range.is_empty() {
                out[range].copy_from_slice(reader.slice(chunk, slice, Vec::new())?.bytes());
            }
        }
    }
    Ok(out)
}

/// Bytes that do not compress, different for every seed.
pub(crate) fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut out = Vec::with_capacity(len + 8);
    while out.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.truncate(len);
    out
}
