//! The kernel's requests to whoever answers them. Decides nothing.

use std::ffi::OsStr;
use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use fuser::{
    AccessFlags, BsdFileFlags, Errno, FileHandle, Filesystem, FopenFlags, INodeNo, InitFlags,
    IoctlFlags, KernelConfig, LockOwner, OpenAccMode, OpenFlags, RenameFlags, ReplyAttr,
    ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyIoctl, ReplyLseek,
    ReplyOpen, ReplyStatfs, ReplyWrite, ReplyXattr, Request, TimeOrNow, WriteFlags,
};

use crate::fuse::served::{Refuse, Served};
use crate::fuse::standby::{Crew, Shares, Turn};
use crate::vfs::{Access, HandleId, Ino, SeekKind};

/// Largest read that the kernel sends, in bytes.
const READ_BYTES_MAX: u32 = 1 << 20;
/// Requests that the kernel sends before it lets others wait: its read-ahead, and with it all reads
/// that fill its pages. More than can be held up here, as reads of what is well would wait, too.
const BACKGROUND_MAX: u16 = 4096;
/// From so many of them on, it reads ahead no more than somebody waits for.
const BACKGROUND_CONGESTED: u16 = 48;

/// Serves a tree to the kernel.
pub(super) struct Adapter {
    served: Arc<Served>,
    crew: Crew,
}

impl Adapter {
    /// `receivers` threads will call this.
    pub(super) fn new(served: Served, receivers: usize) -> Self {
        let crew = Crew::new(Shares::beside(receivers), Arc::clone(&served.monitor));
        Self { served: Arc::new(served), crew }
    }

    /// Replies by `answer`, which may wait for a medium: here, or on another thread if this one is
    /// the last to receive requests.
    fn serve<R: Refuse>(&self, reply: R, answer: impl FnOnce(&Served, R) + Send + 'static) {
        match self.crew.seat() {
            Some(_seat) => answer(&self.served, reply),
            None => self.hand_over(reply, answer),
        }
    }

    fn hand_over<R: Refuse>(&self, reply: R, answer: impl FnOnce(&Served, R) + Send + 'static) {
        let served = Arc::clone(&self.served);
        self.crew.hand_over(Box::new(move |turn| match turn {
            Turn::Come => answer(&served, reply),
            Turn::GivenUp => reply.refuse(Errno::EIO),
        }));
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
        if let Err(problem) = self.served.tree.flush_all() {
            self.served.monitor.problem(&problem);
        }
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let name = name.to_owned();
        self.serve(reply, move |served, reply| {
            served.entry(reply, |tree| tree.lookup(Ino(parent.0), &name));
        });
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        self.serve(reply, move |served, reply| served.attr(reply, Ino(ino.0), |_| true));
    }

    /// Reads nothing: what a link says was found out when it was looked up.
    fn readlink(&self, _: &Request, ino: INodeNo, reply: ReplyData) {
        match self.served.guard(|| self.served.tree.read_link(Ino(ino.0))) {
            Ok(target) => reply.data(target.as_bytes()),
            Err(errno) => reply.error(errno),
        }
    }

    fn open(&self, _: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let access = match flags.acc_mode() {
            OpenAccMode::O_RDONLY => Access::Read,
            _ if self.served.is_writable => Access::Write,
            _ => return reply.error(Errno::EROFS),
        };
        self.serve(reply, move |served, reply| served.open(reply, Ino(ino.0), access));
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
        let handle = HandleId(handle.0);
        self.serve(reply, move |served, reply| served.read(reply, handle, offset, size));
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
        let handle = HandleId(handle.0);
        match self.crew.seat() {
            Some(_seat) => self.served.write(reply, handle, offset, data),
            // The bytes lie where this thread receives its next request.
            None => {
                let data = data.to_vec();
                self.hand_over(reply, move |served, reply| {
                    served.write(reply, handle, offset, &data);
                });
            }
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
        let handle = HandleId(handle.0);
        self.serve(reply, move |served, reply| {
            served.done(reply, |tree| tree.zero(handle, offset, length));
        });
    }

    fn fsync(&self, _: &Request, _: INodeNo, handle: FileHandle, _: bool, reply: ReplyEmpty) {
        let handle = HandleId(handle.0);
        self.serve(reply, move |served, reply| served.done(reply, |tree| tree.flush(handle)));
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
        let changes_owner_or_mode = mode.or(uid).or(gid).is_some();
        self.serve(reply, move |served, reply| {
            served.attr(reply, Ino(ino.0), |attr| {
                !changes_owner_or_mode && size.is_none_or(|size| size == attr.size_bytes)
            });
        });
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
        let handle = HandleId(handle.0);
        self.serve(reply, move |served, reply| served.seek(reply, handle, offset, kind));
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
        let handle = HandleId(handle.0);
        self.serve(reply, move |served, reply| served.close(reply, handle));
    }

    /// Reads nothing: that is done when the directory is read.
    fn opendir(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.served.guard(|| self.served.tree.open_directory(Ino(ino.0))) {
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
        reply: ReplyDirectory,
    ) {
        let handle = HandleId(handle.0);
        self.serve(reply, move |served, reply| served.read_directory(reply, handle, offset));
    }

    fn releasedir(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        reply: ReplyEmpty,
    ) {
        let handle = HandleId(handle.0);
        self.serve(reply, move |served, reply| served.close(reply, handle));
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        self.serve(reply, move |served, reply| served.statfs(reply));
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
