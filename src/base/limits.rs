//! Every numeric limit of the format and of memory, with its reason.

/// Length of every chunk but a disk's last, in bytes. Fixed for all repositories.
pub const CHUNK_BYTES: usize = 1 << 20;
/// Length of every slice but a chunk's last, in bytes: the unit that a random read decodes.
///
/// A power of two, because the chaining values of slices must be nodes of BLAKE3's tree.
pub const SLICE_BYTES: usize = 64 << 10;
/// Most slices that a chunk can have.
pub const SLICES_PER_CHUNK: usize = CHUNK_BYTES / SLICE_BYTES;
/// Children of one disk map node. 256 keeps a node at 8 KiB and a 16 TiB disk at three levels.
pub const MAP_FANOUT: usize = 256;
/// Largest disk, in bytes. 64 TiB is far above what an engine allows for one disk, and bounds what
/// a hostile commit can make a reader walk.
pub const DISK_BYTES_MAX: u64 = 64 << 40;
/// Most disks in one restore point.
pub const DISKS_PER_POINT_MAX: usize = 1024;
/// Longest configuration of a VM, in bytes. Whoever reads one holds it in memory.
pub const CONFIGURATION_BYTES_MAX: u64 = 16 << 20;
/// Longest name of a VM or a disk, in bytes of UTF-8.
pub const NAME_BYTES_MAX: usize = 255;
/// Largest pack that a reader accepts, in bytes.
pub const PACK_BYTES_MAX: usize = 64 << 20;
/// A pack is sealed when the next entry might take it above this length, in bytes.
///
/// Packs are built in memory, and a few are built and written at once; 32 MiB keeps their sum far
/// below the 256 MiB that a backup may use, and a sync of one below a blink.
pub const PACK_TARGET_BYTES: usize = 32 << 20;
/// Largest small object (configuration, session, commit, ...) that a reader accepts, in bytes.
pub const SMALL_OBJECT_BYTES_MAX: usize = 16 << 20;
/// Commits up to this number are read one by one, and more are gathered in catalogues: so many
/// small reads take no time that people notice.
pub const FEW_COMMITS: usize = 64;
/// Largest catalogue of commits, in bytes: what a reader holds at once. About 3,000 commits of VMs.
pub const CATALOGUE_BYTES_MAX: usize = 4 << 20;
/// Largest commit that is copied into a catalogue, in bytes.
pub const CATALOGUED_COMMIT_BYTES_MAX: usize = CATALOGUE_BYTES_MAX / 4;
/// Index entries that a session keeps in memory before it publishes a segment.
pub const PENDING_ENTRIES_MAX: usize = 256 << 10;

const _: () = assert!(CHUNK_BYTES.is_multiple_of(SLICE_BYTES));
const _: () = assert!(SLICE_BYTES.is_power_of_two());
const _: () = assert!(PACK_TARGET_BYTES <= PACK_BYTES_MAX);
