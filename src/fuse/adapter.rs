//! The kernel's requests to the tree, and its answers back. Decides nothing.

use std::ffi::OsStr;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fuser::{
    AccessFlags, BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, InitFlags, IoctlFlags, KernelConfig, LockOwner, OpenAccMode, OpenFlags,
    RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry,
    ReplyIoctl, ReplyLseek, ReplyOpen, ReplyStatfs, ReplyWrite, ReplyXattr, Request, TimeOrNow,
    WriteFlags,
};

use crate::base::clock::UtcTime;
use crate::base::limits::CHUNK_BYTES;
use crate::error::{Error, ErrorKind, Result};
use crate::fuse::errno::errno;
use crate::fuse::signals::Lifeline;
use crate::monitor::Monitor;
use crate::vfs::{Access, Attr, FileKind, HandleId, Ino, SAFE_NAME_BYTES_MAX, SeekKind, Tree};

/// How long the kernel may keep what never changes.
const KEPT_LONG: Duration = Duration::from_secs(3600);
/// How long it may keep what new restore points change.
const KEPT_SHORT: Duration = Duration::from_secs(1);
/// Largest read that the kernel sends, in bytes.
const READ_BYTES_MAX: u32 = 1 << 20;
/// Requests that the kernel may send without anybody waiting for them: its read-ahead.
const BACKGROUND_MAX: u16 = 64;
const BACKGROUND_CONGESTED: u16 = 48;
/// The unit in which `statfs` counts.
const STATFS_BLOCK_BYTES: u32 = 4096;

/// Serves a tree to the kernel.
pub(super) struct Adapter {
    pub(super) tree: Tree,
    pub(super) monitor: Arc<dyn Monitor>,
    /// Whether disks can be written; the kernel refuses it before where they cannot.
    pub(super) is_writable: bool,
    /// Owner of all files.
    pub(super) owner: (u32, u32),
    /// Dropped last, when the session is over, however it ends.
    pub(super) _lifeline: Lifeline,
}

impl Adapter {
    /// What `work` gives, as an error number where it fails. A panic is told and answered: the
    /// thread must go on, or the mount would stop answering when the last one is gone.
    fn guard<T>(&self, work: impl FnOnce() -> Result<T>) -> std::result::Result<T, Errno> {
        match catch_unwind(AssertUnwindSafe(work)) {
            Ok(result) => result.map_err(|error| errno(error.kind())),
            Err(_) => {
                let what = "a request of the kernel failed: there is a mistake in this program";
                self.monitor.problem(&Error::new(ErrorKind::Io, what));
                Err(Errno::EIO)
            }
        }
    }

    /// The kernel does not wait for the outcome of a close.
    fn close(&self, handle: FileHandle) {
        let _told_to_the_monitor = self.guard(|| {
            self.tree.close(HandleId(handle.0));
            Ok(())
        });
    }

    fn file_attr(&self, attr: &Attr) -> FileAttr {
        let time = system_time(attr.time);
        FileAttr {
            ino: INodeNo(attr.ino.0),
            size: attr.size_bytes,
            blocks: attr.blocks,
            atime: time,
            mtime: time,
            ctime: time,
            crtime: time,
            kind: file_type(attr.kind),
            perm: attr.mode,
            nlink: 1,
            uid: self.owner.0,
            gid: self.owner.1,
            rdev: 0,
            blksize: CHUNK_BYTES as u32,
            flags: 0,
        }
    }
}

impl Filesystem for Adapter {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // Each is a wish: an older kernel that does not know one serves without it.
        let _ = config.set_max_write(READ_BYTES_MAX);
        let _ = config.set_max_background(BACKGROUND_MAX);
        let _ = config.set_congestion_threshold(BACKGROUND_CONGESTED);
        for wish in [
            InitFlags::FUSE_PARALLEL_DIROPS,
            InitFlags::FUSE_ASYNC_DIO,
            InitFlags::FUSE_EXPLICIT_INVAL_DATA,
            InitFlags::FUSE_CACHE_SYMLINKS,
        ] {
            let _ = config.add_capabilities(wish);
        }
        Ok(())
    }

    fn destroy(&mut self) {
        if let Err(problem) = self.tree.flush_all() {
            self.monitor.problem(&problem);
        }
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.guard(|| self.tree.lookup(Ino(parent.0), name)) {
            Ok(attr) => reply.entry(&kept(&attr), &self.file_attr(&attr), Generation(0)),
            Err(errno) => reply.error(errno),
        }
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.guard(|| self.tree.attr(Ino(ino.0))) {
            Ok(attr) => reply.attr(&kept(&attr), &self.file_attr(&attr)),
            Err(errno) => reply.error(errno),
        }
    }

    fn readlink(&self, _: &Request, ino: INodeNo, reply: ReplyData) {
        match self.guard(|| self.tree.read_link(Ino(ino.0))) {
            Ok(target) => reply.data(target.as_bytes()),
            Err(errno) => reply.error(errno),
        }
    }

    fn open(&self, _: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let access = match flags.acc_mode() {
            OpenAccMode::O_RDONLY => Access::Read,
            _ if self.is_writable => Access::Write,
            _ => return reply.error(Errno::EROFS),
        };
        let open = || {
            let is_final = self.tree.attr(Ino(ino.0))?.is_final;
            self.tree.open(Ino(ino.0), access).map(|handle| (handle, is_final))
        };
        match self.guard(open) {
            // Bytes change only by what is written through the kernel: its pages stay good. Of what
            // does change, it keeps none.
            Ok((HandleId(id), is_final)) => {
                let pages = match is_final {
                    true => FopenFlags::FOPEN_KEEP_CACHE,
                    false => FopenFlags::FOPEN_DIRECT_IO,
                };
                reply.opened(FileHandle(id), pages | FopenFlags::FOPEN_NOFLUSH);
            }
            Err(errno) => reply.error(errno),
        }
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let mut reply = Some(reply);
        let answer = |bytes: &[u8]| reply.take().into_iter().for_each(|reply| reply.data(bytes));
        let read = || self.tree.read(HandleId(handle.0), offset, size as usize, answer);
        if let Err(errno) = self.guard(read)
            && let Some(reply) = reply
        {
            reply.error(errno);
        }
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.guard(|| self.tree.write(HandleId(handle.0), offset, data)) {
            Ok(()) => reply.written(data.len() as u32),
            Err(errno) => reply.error(errno),
        }
    }

    fn fallocate(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let zeroes = mode & (libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_ZERO_RANGE) != 0;
        let known =
            libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_ZERO_RANGE | libc::FALLOC_FL_KEEP_SIZE;
        if !zeroes || mode & !known != 0 {
            return reply.error(Errno::EOPNOTSUPP);
        }
        match self.guard(|| self.tree.zero(HandleId(handle.0), offset, length)) {
            Ok(()) => reply.ok(),
            Err(errno) => reply.error(errno),
        }
    }

    fn fsync(&self, _: &Request, _: INodeNo, handle: FileHandle, _: bool, reply: ReplyEmpty) {
        match self.guard(|| self.tree.flush(HandleId(handle.0))) {
            Ok(()) => reply.ok(),
            Err(errno) => reply.error(errno),
        }
    }

    /// Times are those of the restore point, whatever is wished; nothing else can be changed.
    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        match self.guard(|| self.tree.attr(Ino(ino.0))) {
            Ok(attr)
                if mode.or(uid).or(gid).is_some()
                    || size.is_some_and(|size| size != attr.size_bytes) =>
            {
                reply.error(Errno::EPERM);
            }
            Ok(attr) => reply.attr(&kept(&attr), &self.file_attr(&attr)),
            Err(errno) => reply.error(errno),
        }
    }

    fn lseek(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        let kind = match whence {
            libc::SEEK_DATA => SeekKind::Data,
            libc::SEEK_HOLE => SeekKind::Hole,
            _ => return reply.error(Errno::EINVAL),
        };
        let Ok(offset) = u64::try_from(offset) else { return reply.error(Errno::ENXIO) };
        match self.guard(|| self.tree.seek(HandleId(handle.0), offset, kind)) {
            Ok(Some(found)) => reply.offset(found.cast_signed()),
            Ok(None) => reply.error(Errno::ENXIO),
            Err(errno) => reply.error(errno),
        }
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.close(handle);
        reply.ok();
    }

    fn opendir(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.guard(|| self.tree.open_directory(Ino(ino.0))) {
            Ok(HandleId(id)) => reply.opened(FileHandle(id), FopenFlags::empty()),
            Err(errno) => reply.error(errno),
        }
    }

    fn readdir(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        match self.guard(|| self.tree.read_directory(HandleId(handle.0), offset)) {
            Ok(entries) => {
                for (entry, next) in entries.iter().zip(offset + 1..) {
                    let ino = INodeNo(entry.ino.0);
                    if reply.add(ino, next, file_type(entry.kind), &*entry.name) {
                        break;
                    }
                }
                reply.ok();
            }
            Err(errno) => reply.error(errno),
        }
    }

    fn releasedir(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        reply: ReplyEmpty,
    ) {
        self.close(handle);
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let name_bytes = SAFE_NAME_BYTES_MAX as u32;
        let unit = STATFS_BLOCK_BYTES;
        match self.guard(|| self.tree.space()) {
            Ok(space) => {
                let blocks = |bytes: u64| bytes / u64::from(unit);
                let total = space.map_or(0, |space| blocks(space.total_bytes));
                let free = space.map_or(0, |space| blocks(space.free_bytes));
                reply.statfs(total, free, free, 0, 0, unit, name_bytes, unit);
            }
            Err(errno) => reply.error(errno),
        }
    }

    // Names never change by a call. A mount that is not writable never hears of these.

    fn unlink(&self, _: &Request, _: INodeNo, _: &OsStr, reply: ReplyEmpty) {
        reply.error(Errno::EPERM);
    }

    fn rmdir(&self, _: &Request, _: INodeNo, _: &OsStr, reply: ReplyEmpty) {
        reply.error(Errno::EPERM);
    }

    fn mkdir(&self, _: &Request, _: INodeNo, _: &OsStr, _: u32, _: u32, reply: ReplyEntry) {
        reply.error(Errno::EPERM);
    }

    fn mknod(&self, _: &Request, _: INodeNo, _: &OsStr, _: u32, _: u32, _: u32, reply: ReplyEntry) {
        reply.error(Errno::EPERM);
    }

    fn create(
        &self,
        _: &Request,
        _: INodeNo,
        _: &OsStr,
        _: u32,
        _: u32,
        _: i32,
        reply: ReplyCreate,
    ) {
        reply.error(Errno::EPERM);
    }

    fn rename(
        &self,
        _: &Request,
        _: INodeNo,
        _: &OsStr,
        _: INodeNo,
        _: &OsStr,
        _: RenameFlags,
        reply: ReplyEmpty,
    ) {
        reply.error(Errno::EPERM);
    }

    // The kernel takes "no such call" for these to mean that it need not ask again.

    fn getxattr(&self, _: &Request, _: INodeNo, _: &OsStr, _: u32, reply: ReplyXattr) {
        reply.error(Errno::ENOSYS);
    }

    fn listxattr(&self, _: &Request, _: INodeNo, _: u32, reply: ReplyXattr) {
        reply.error(Errno::ENOSYS);
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.error(Errno::ENOSYS);
    }

    fn fsyncdir(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        reply.error(Errno::ENOSYS);
    }

    fn access(&self, _: &Request, _: INodeNo, _: AccessFlags, reply: ReplyEmpty) {
        reply.error(Errno::ENOSYS);
    }

    fn ioctl(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: IoctlFlags,
        _: u32,
        _: &[u8],
        _: u32,
        reply: ReplyIoctl,
    ) {
        reply.error(Errno::ENOTTY);
    }
}

fn file_type(kind: FileKind) -> FileType {
    match kind {
        FileKind::Directory => FileType::Directory,
        FileKind::File => FileType::RegularFile,
        FileKind::Link => FileType::Symlink,
    }
}

fn system_time(time: UtcTime) -> SystemTime {
    let epoch = SystemTime::UNIX_EPOCH;
    let seconds = Duration::from_secs(time.unix_seconds().unsigned_abs());
    let time = match time < UtcTime::EPOCH {
        true => epoch.checked_sub(seconds),
        false => epoch.checked_add(seconds),
    };
    time.unwrap_or(epoch)
}

fn kept(attr: &Attr) -> Duration {
    if attr.is_final { KEPT_LONG } else { KEPT_SHORT }
}
