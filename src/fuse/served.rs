//! What answers a request, on whatever thread. Decides nothing.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fuser::{
    Errno, FileAttr, FileType, FopenFlags, Generation, INodeNo, ReplyAttr, ReplyData,
    ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyLseek, ReplyOpen, ReplyStatfs, ReplyWrite,
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
/// The unit in which `statfs` counts.
const STATFS_BLOCK_BYTES: u32 = 4096;

/// A reply that can say that there is none.
pub(super) trait Refuse: Send + 'static {
    /// Answers with an error number.
    fn refuse(self, errno: Errno);
}

macro_rules! refuse {
    ($($reply:ty),*) => {
        $(impl Refuse for $reply {
            fn refuse(self, errno: Errno) {
                self.error(errno);
            }
        })*
    };
}

refuse!(
    ReplyAttr,
    ReplyData,
    ReplyDirectory,
    ReplyEmpty,
    ReplyEntry,
    ReplyLseek,
    ReplyOpen,
    ReplyStatfs,
    ReplyWrite
);

/// A tree, and what else answers need. Requests that are still worked on keep it.
pub(super) struct Served {
    pub(super) tree: Tree,
    pub(super) monitor: Arc<dyn Monitor>,
    /// Whether disks can be written; the kernel refuses it before where they cannot.
    pub(super) is_writable: bool,
    /// Owner of all files.
    pub(super) owner: (u32, u32),
    /// Dropped last, when the session is over, however it ends.
    pub(super) _lifeline: Lifeline,
}

impl Served {
    /// What `work` gives, as an error number where it fails. A panic is told and answered: the
    /// thread must go on, or the mount would stop answering when the last one is gone.
    pub(super) fn guard<T>(
        &self,
        work: impl FnOnce() -> Result<T>,
    ) -> std::result::Result<T, Errno> {
        match catch_unwind(AssertUnwindSafe(work)) {
            Ok(result) => result.map_err(|error| errno(error.kind())),
            Err(_) => {
                let what = "a request of the kernel failed: there is a mistake in this program";
                self.monitor.problem(&Error::new(ErrorKind::Io, what));
                Err(Errno::EIO)
            }
        }
    }

    /// Replies with what `attr` finds.
    pub(super) fn entry(&self, reply: ReplyEntry, attr: impl FnOnce(&Tree) -> Result<Attr>) {
        match self.guard(|| attr(&self.tree)) {
            Ok(attr) => reply.entry(&kept(&attr), &self.file_attr(&attr), Generation(0)),
            Err(errno) => reply.error(errno),
        }
    }

    /// Replies with the attributes of `ino`, if they are those that are wished for.
    pub(super) fn attr(&self, reply: ReplyAttr, ino: Ino, is_wished: impl FnOnce(&Attr) -> bool) {
        match self.guard(|| self.tree.attr(ino)) {
            Ok(attr) if !is_wished(&attr) => reply.error(Errno::EPERM),
            Ok(attr) => reply.attr(&kept(&attr), &self.file_attr(&attr)),
            Err(errno) => reply.error(errno),
        }
    }

    pub(super) fn open(&self, reply: ReplyOpen, ino: Ino, access: Access) {
        let open = || {
            let is_final = self.tree.attr(ino)?.is_final;
            self.tree.open(ino, access).map(|handle| (handle, is_final))
        };
        match self.guard(open) {
            // Bytes change only by what is written through the kernel: its pages stay good. Of what
            // does change, it keeps none.
            Ok((HandleId(id), is_final)) => {
                let pages = match is_final {
                    true => FopenFlags::FOPEN_KEEP_CACHE,
                    false => FopenFlags::FOPEN_DIRECT_IO,
                };
                reply.opened(fuser::FileHandle(id), pages | FopenFlags::FOPEN_NOFLUSH);
            }
            Err(errno) => reply.error(errno),
        }
    }

    pub(super) fn read(&self, reply: ReplyData, handle: HandleId, offset: u64, size: u32) {
        let mut reply = Some(reply);
        let answer = |bytes: &[u8]| reply.take().into_iter().for_each(|reply| reply.data(bytes));
        if let Err(errno) = self.guard(|| self.tree.read(handle, offset, size as usize, answer))
            && let Some(reply) = reply
        {
            reply.error(errno);
        }
    }

    pub(super) fn write(&self, reply: ReplyWrite, handle: HandleId, offset: u64, data: &[u8]) {
        match self.guard(|| self.tree.write(handle, offset, data)) {
            Ok(()) => reply.written(data.len() as u32),
            Err(errno) => reply.error(errno),
        }
    }

    /// Replies whether `act` succeeds.
    pub(super) fn done(&self, reply: ReplyEmpty, act: impl FnOnce(&Tree) -> Result<()>) {
        match self.guard(|| act(&self.tree)) {
            Ok(()) => reply.ok(),
            Err(errno) => reply.error(errno),
        }
    }

    pub(super) fn seek(&self, reply: ReplyLseek, handle: HandleId, offset: u64, kind: SeekKind) {
        match self.guard(|| self.tree.seek(handle, offset, kind)) {
            Ok(Some(found)) => reply.offset(found.cast_signed()),
            Ok(None) => reply.error(Errno::ENXIO),
            Err(errno) => reply.error(errno),
        }
    }

    pub(super) fn read_directory(&self, mut reply: ReplyDirectory, handle: HandleId, offset: u64) {
        match self.guard(|| self.tree.read_directory(handle, offset)) {
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

    pub(super) fn statfs(&self, reply: ReplyStatfs) {
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

    /// The kernel does not wait for the outcome of a close.
    pub(super) fn close(&self, reply: ReplyEmpty, handle: HandleId) {
        let _told_to_the_monitor = self.guard(|| {
            self.tree.close(handle);
            Ok(())
        });
        reply.ok();
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
