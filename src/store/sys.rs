//! The calls of the operating system that the standard library does not offer.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::store::Space;

/// File systems whose files another machine can change, or that a program on this one makes up.
///
/// From `statfs(2)` and the file systems' own headers.
const FOREIGN_MAGICS: [u32; 14] = [
    0x0000_6969, // NFS
    0x0000_517b, // SMB
    0xff53_4d42, // CIFS
    0xfe53_4d42, // SMB 2 and 3
    0x6573_5546, // FUSE, virtiofs
    0x0102_1997, // 9P
    0x00c3_6400, // Ceph
    0x5346_414f, // AFS
    0x7375_7245, // Coda
    0x0bd0_0bd0, // Lustre
    0x4750_4653, // GPFS
    0x1983_0326, // BeeGFS
    0xaad7_aaea, // PanFS
    0x786f_4256, // shared folders of VirtualBox
];

/// Gives an open file that may have no name yet the name `target`, unless that is taken.
pub(super) fn link_open_file(file: &File, target: &Path) -> io::Result<()> {
    let source = c_path(Path::new(&format!("/proc/self/fd/{}", file.as_raw_fd())))?;
    let target = c_path(target)?;
    // SAFETY: both pointers are to strings that end in NUL and live until the call returns.
    let result = unsafe {
        libc::linkat(
            libc::AT_FDCWD,
            source.as_ptr(),
            libc::AT_FDCWD,
            target.as_ptr(),
            libc::AT_SYMLINK_FOLLOW,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Has the kernel begin to write the dirty pages of a file, and does not wait for it. Only advice:
/// what cannot be written is told by the next sync, which this call takes nothing from.
pub(super) fn begin_writing_back(file: &File) {
    let flags = libc::SYNC_FILE_RANGE_WRITE;
    // SAFETY: no pointers; the descriptor is open for as long as `file` is borrowed.
    let _ = unsafe { libc::sync_file_range(file.as_raw_fd(), 0, 0, flags) };
}

/// Lets the kernel forget the cached pages of a range of a file, if they reached the medium; a
/// length of zero reaches to the end. Only advice: no result.
pub(super) fn forget_pages(file: &File, offset_bytes: u64, len_bytes: u64) {
    let (offset, len) = (offset_bytes as libc::off_t, len_bytes as libc::off_t);
    // SAFETY: no pointers; the descriptor is open for as long as `file` is borrowed.
    let _ =
        unsafe { libc::posix_fadvise(file.as_raw_fd(), offset, len, libc::POSIX_FADV_DONTNEED) };
}

/// Pages of a range of a file that are in the page cache. All of them, where the kernel keeps that
/// from this user; an error where it cannot be known.
pub(super) fn cached_pages(file: &File, offset_bytes: u64, len_bytes: u64) -> io::Result<u64> {
    // Kernels before 6.5 do not have the first.
    cachestat(file, offset_bytes, len_bytes).or_else(|_| mincore(file, offset_bytes, len_bytes))
}

/// Length of a page of the page cache.
pub(super) fn page_bytes() -> u64 {
    // SAFETY: the call takes a number, and Linux knows the answer.
    unsafe { libc::sysconf(libc::_SC_PAGESIZE) as u64 }
}

/// The number of `cachestat(2)`, which is that of all architectures.
const SYS_CACHESTAT: libc::c_long = 451;

/// What `cachestat(2)` is asked and answers.
#[repr(C)]
#[derive(Default)]
struct CacheRange {
    offset_bytes: u64,
    len_bytes: u64,
}

#[repr(C)]
#[derive(Default)]
struct CacheState {
    cached: u64,
    _dirty: u64,
    _writeback: u64,
    _evicted: u64,
    _recently_evicted: u64,
}

fn cachestat(file: &File, offset_bytes: u64, len_bytes: u64) -> io::Result<u64> {
    let mut range = CacheRange { offset_bytes, len_bytes };
    let mut state = CacheState::default();
    let (range, out): (*mut CacheRange, *mut CacheState) = (&raw mut range, &raw mut state);
    // SAFETY: both pointers are to structures as the call lays them out, which outlive it; the
    // descriptor is open for as long as `file` is borrowed.
    let result = unsafe { libc::syscall(SYS_CACHESTAT, file.as_raw_fd(), range, out, 0) };
    if result == 0 { Ok(state.cached) } else { Err(io::Error::last_os_error()) }
}

/// The same by a mapping that nobody touches.
fn mincore(file: &File, offset_bytes: u64, len_bytes: u64) -> io::Result<u64> {
    let len = usize::try_from(len_bytes).map_err(io::Error::other)?;
    let offset = libc::off_t::try_from(offset_bytes).map_err(io::Error::other)?;
    let mut pages = vec![0u8; len.div_ceil(page_bytes() as usize)];
    let (kind, null) = (libc::MAP_SHARED, std::ptr::null_mut());
    // SAFETY: a new mapping at an address of the kernel's choice, of a descriptor that is open.
    let map = unsafe { libc::mmap(null, len, libc::PROT_READ, kind, file.as_raw_fd(), offset) };
    if map == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the mapping is `len` bytes long, and `pages` has a byte for each page of it.
    let result = unsafe { libc::mincore(map, len, pages.as_mut_ptr()) };
    let error = io::Error::last_os_error();
    // SAFETY: the mapping was made above, and nothing refers to it.
    unsafe { libc::munmap(map, len) };
    if result != 0 {
        return Err(error);
    }
    Ok(pages.iter().filter(|page| **page & 1 != 0).count() as u64)
}

/// Has writes to an open file go past the page cache, or through it again. Fails where the file
/// system has no such writes.
pub(super) fn set_direct(file: &File, is_direct: bool) -> io::Result<()> {
    // SAFETY: no pointers; the descriptor is open for as long as `file` is borrowed.
    let flags = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETFL) };
    if flags < 0 {
        return Err(io::Error::last_os_error());
    }
    let flags = if is_direct { flags | libc::O_DIRECT } else { flags & !libc::O_DIRECT };
    // SAFETY: as above.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFL, flags) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Occupies `bytes` of the medium for an open file from its beginning on, without writing them.
pub(super) fn allocate(file: &File, bytes: u64) -> io::Result<()> {
    let len = libc::off_t::try_from(bytes).map_err(io::Error::other)?;
    // SAFETY: no pointers; the descriptor is open for as long as `file` is borrowed.
    let result = unsafe { libc::fallocate(file.as_raw_fd(), 0, 0, len) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The user that this process acts as.
pub(super) fn effective_user() -> u32 {
    // SAFETY: no arguments, and the call cannot fail.
    unsafe { libc::geteuid() }
}

/// Whether the files at `path` may change under a mapping of them.
pub(super) fn is_foreign(path: &Path) -> io::Result<bool> {
    let path = c_path(path)?;
    let mut out = MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: the path ends in NUL, and `out` has room for what the call writes.
    if unsafe { libc::statfs(path.as_ptr(), out.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded, so it filled the structure.
    let out = unsafe { out.assume_init() };
    Ok(FOREIGN_MAGICS.contains(&(out.f_type as u32)))
}

/// Space of the file system that `path` lies on. What is kept back for root does not count as free.
pub(super) fn space(path: &Path) -> io::Result<Space> {
    let path = c_path(path)?;
    let mut out = MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: the path ends in NUL, and `out` has room for what the call writes.
    if unsafe { libc::statvfs(path.as_ptr(), out.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded, so it filled the structure.
    let out = unsafe { out.assume_init() };
    Ok(Space {
        free_bytes: out.f_bavail.saturating_mul(out.f_frsize),
        total_bytes: out.f_blocks.saturating_mul(out.f_frsize),
    })
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    #[test]
    fn older_kernels_are_asked_in_another_way_and_say_the_same() {
        let file = tempfile::tempfile().unwrap();
        let page = page_bytes();
        file.set_len(64 * page).unwrap();
        file.write_all_at(&[7; 100], 3 * page).unwrap();
        file.write_all_at(&[7; 100], 40 * page).unwrap();
        assert_eq!(mincore(&file, 0, 64 * page).unwrap(), 2);
        assert_eq!(mincore(&file, 4 * page, 36 * page).unwrap(), 0);
        for (from, pages) in [(0, 64), (4, 36), (3, 1), (40, 100)] {
            // One of the two is missing on kernels before 6.5.
            if let Ok(cached) = cachestat(&file, from * page, pages * page) {
                assert_eq!(cached, mincore(&file, from * page, pages * page).unwrap());
            }
        }
    }
}
