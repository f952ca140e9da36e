//! A directory with one file, whose writes and syncs are written down. Beneath a loop device it is
//! a medium that remembers everything that a file system asked of it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, LockOwner, MountOption, OpenFlags, ReplyAttr, ReplyData, ReplyEmpty,
    ReplyEntry, ReplyOpen, ReplyWrite, Request, WriteFlags,
};

use crate::filesystems::journal::{BLOCK_BYTES, Journal};

const DISK: INodeNo = INodeNo(2);
const NAME: &str = "disk";
/// Nothing changes but what the kernel itself writes.
const KEPT: Duration = Duration::from_secs(3600);

/// The medium, mounted for as long as the value lives.
pub(crate) struct Recorder {
    dir: PathBuf,
    journal: Arc<Mutex<Journal>>,
    session: Option<BackgroundSession>,
}

struct Disk {
    journal: Arc<Mutex<Journal>>,
    len_bytes: u64,
}

impl Recorder {
    pub(crate) fn mount(dir: &Path, len_bytes: u64) -> Self {
        let journal = Arc::<Mutex<Journal>>::default();
        let disk = Disk { journal: Arc::clone(&journal), len_bytes };
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("backstop-recorder".to_owned())];
        let session = fuser::spawn_mount(disk, dir, &config).unwrap();
        Self { dir: dir.to_owned(), journal, session: Some(session) }
    }

    /// The file.
    pub(crate) fn disk(&self) -> PathBuf {
        self.dir.join(NAME)
    }

    /// Do not touch the medium while this is held.
    pub(crate) fn journal(&self) -> MutexGuard<'_, Journal> {
        self.journal.lock().unwrap()
    }

    /// What was written down, after the end of the mount.
    pub(crate) fn finish(mut self) -> Journal {
        self.end();
        std::mem::take(&mut *self.journal())
    }

    fn end(&mut self) {
        let ended = self.session.take().map(BackgroundSession::umount_and_join);
        assert!(ended.is_none_or(|ended| ended.is_ok()), "the recorder was not unmounted");
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.end();
    }
}

impl Disk {
    fn attr(&self, ino: INodeNo) -> FileAttr {
        let is_disk = ino == DISK;
        let size = if is_disk { self.len_bytes } else { 0 };
        let time = SystemTime::UNIX_EPOCH;
        FileAttr {
            ino,
            size,
            blocks: size / 512,
            atime: time,
            mtime: time,
            ctime: time,
            crtime: time,
            kind: if is_disk { FileType::RegularFile } else { FileType::Directory },
            perm: 0o700,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: BLOCK_BYTES as u32,
            flags: 0,
        }
    }

    fn journal(&self) -> MutexGuard<'_, Journal> {
        self.journal.lock().unwrap()
    }
}

impl Filesystem for Disk {
    fn lookup(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match name == NAME {
            true => reply.entry(&KEPT, &self.attr(DISK), Generation(0)),
            false => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&KEPT, &self.attr(ino));
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        // Every write comes here at once, in the order in which the device got it.
        reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let rest = self.len_bytes.saturating_sub(offset);
        let mut out = vec![0; u64::from(size).min(rest) as usize];
        self.journal().read(offset, &mut out);
        reply.data(&out);
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        self.journal().write(offset, data);
        reply.written(data.len() as u32);
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.journal().flush();
        reply.ok();
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }
}
