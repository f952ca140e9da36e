//! The tree: from names and numbers to restore points, disks and bytes.

use std::ffi::OsStr;
use std::sync::{Arc, Mutex};

use crate::base::clock::UtcTime;
use crate::base::id::PointId;
use crate::base::sync::lock;
use crate::base::units::ChunkGrid;
use crate::diskmap::{DiskMap, NodeSource};
use crate::error::{Error, ErrorKind, Result};
use crate::repo::{Registration, Repository};
use crate::store::Space;
use crate::vfs::ahead::ReadAhead;
use crate::vfs::attr::{Attr, FileKind, Ino, mode};
use crate::vfs::chunks::Chunks;
use crate::vfs::extent::Extent;
use crate::vfs::gather::ReadPiece;
use crate::vfs::handles::{Handle, Handles};
use crate::vfs::inodes::{Inodes, Latest, Node};
use crate::vfs::listing::{Listing, VmDirectory, not_found};
use crate::vfs::open_disk::{OpenDisk, SeekKind, Shelf};
use crate::vfs::overlay::Overlays;
use crate::vfs::registration::register;
use crate::vfs::shown_point::{JSON_NAME, OVF_NAME, ShownPoint};
use crate::vfs::{Access, DirEntry, HandleId, TreeOptions};

const VMS_NAME: &str = "vms";
const ABOUT_NAME: &str = ".backstop";
const STATS_NAME: &str = "stats.json";
/// No restore point's directory has this name: theirs begin with a year.
const LATEST_NAME: &str = "latest";

/// All restore points of a repository as directories and files. Shared by many threads.
///
/// A running tree is a session of the repository, where that can be written.
pub struct Tree {
    repo: Repository,
    is_open_to_others: bool,
    shows_stats: bool,
    began: UtcTime,
    inodes: Inodes,
    listing: Listing,
    handles: Handles,
    shelf: Shelf,
    overlays: Option<Overlays>,
    _registration: Option<Registration>,
}

impl Tree {
    /// Registers the session and reads nothing.
    pub fn new(repo: Repository, options: &TreeOptions) -> Result<Self> {
        let overlay = options.overlay.clone();
        let overlays = overlay.map(|options| Overlays::new(repo.id(), options)).transpose()?;
        let registration = register(&repo);
        let chunks = Arc::new(Chunks::new(repo.clone(), options.cache_bytes));
        let ahead = ReadAhead::start(&chunks, options.read_ahead_threads)?;
        let monitor = Arc::clone(&repo.environment().monitor);
        Ok(Self {
            is_open_to_others: options.is_open_to_others,
            shows_stats: options.shows_stats,
            began: repo.environment().clock.now(),
            inodes: Inodes::default(),
            listing: Listing::new(repo.clone(), options.look_interval),
            handles: Handles::default(),
            shelf: Shelf::new(chunks, ahead, monitor),
            overlays,
            _registration: registration,
            repo,
        })
    }

    /// What `name` stands for in the directory `parent`. [`ErrorKind::NotFound`] if nothing.
    pub fn lookup(&self, parent: Ino, name: &OsStr) -> Result<Attr> {
        let nothing = || not_found("there is no file of that name");
        let name = name.to_str().ok_or_else(nothing)?;
        let node = match self.node(parent)? {
            Node::Root => match name {
                VMS_NAME => Some(Node::Vms),
                ABOUT_NAME => self.shows_stats.then_some(Node::About),
                _ => None,
            },
            Node::About => (name == STATS_NAME).then_some(Node::Stats),
            Node::Vms => {
                let snapshot = self.listing.snapshot()?;
                snapshot.vms.get_key_value(name).map(|(vm, _)| Node::Vm(Arc::clone(vm)))
            }
            Node::Vm(vm) => {
                let snapshot = self.listing.snapshot()?;
                snapshot.vms.get(&vm).and_then(|directory| in_vm(&vm, directory, name))
            }
            Node::Point(id) => self.in_point(&self.point(id)?, name)?,
            Node::Json(_) | Node::Ovf(_) | Node::Disk(..) | Node::Latest(_) | Node::Stats => {
                return Err(no_directory());
            }
        };
        self.attr_of(&node.ok_or_else(nothing)?)
    }

    /// The number of the disk of that name, as it was given, of a restore point.
    /// [`ErrorKind::NotFound`] if there is no such.
    pub fn disk(&self, id: PointId, name: &str) -> Result<Ino> {
        self.listing.snapshot()?;
        let point = self.point(id)?;
        let place = point.record.disks.iter().position(|disk| disk.name == name);
        let place = place.ok_or_else(|| not_found("the restore point has no disk of that name"))?;
        Ok(self.inodes.number(&Node::Disk(id, place)))
    }

    /// What `stat` tells. [`ErrorKind::NotFound`] if it is gone and nobody has it open.
    pub fn attr(&self, ino: Ino) -> Result<Attr> {
        self.attr_of(&self.node(ino)?)
    }

    /// Where a link leads, relative to its directory.
    pub fn read_link(&self, ino: Ino) -> Result<Arc<str>> {
        match self.node(ino)? {
            Node::Latest(latest) => Ok(latest.target),
            _ => Err(Error::new(ErrorKind::Invalid, "this is no link")),
        }
    }

    /// Opens a file. It stays readable until [`Tree::close`], whatever becomes of its restore
    /// point. Only disks can be written, and only where the tree has overlays.
    pub fn open(&self, ino: Ino, access: Access) -> Result<HandleId> {
        let handle = match self.node(ino)? {
            Node::Disk(id, place) => {
                let point = self.confirmed(id)?;
                let map = self.map(&point, place)?;
                let overlays = self.overlays.as_ref();
                let overlay = overlays.map(|overlays| overlays.disk(&point.record, place));
                let overlay = overlay.transpose().map_err(|error| self.told(error))?.flatten();
                if access == Access::Write && overlay.is_none() {
                    return Err(read_only());
                }
                let reading = point.reading(&self.repo)?;
                Handle::Disk(OpenDisk::new(point, place, map, overlay, reading), access)
            }
            Node::Json(_) | Node::Ovf(_) | Node::Stats if access == Access::Write => {
                return Err(read_only());
            }
            Node::Stats => Handle::Text(self.stats()),
            Node::Json(id) => Handle::Text(self.confirmed(id)?.json()),
            Node::Ovf(id) => {
                let ovf = self.ovf(&self.confirmed(id)?)?.ok_or_else(no_ovf)?;
                Handle::Text(ovf.into_bytes().into())
            }
            _ => return Err(Error::new(ErrorKind::Invalid, "this is no file")),
        };
        Ok(self.handles.insert(handle))
    }

    /// Opens a directory.
    pub fn open_directory(&self, ino: Ino) -> Result<HandleId> {
        match self.node(ino)? {
            node @ (Node::Root | Node::About | Node::Vms | Node::Vm(_) | Node::Point(_)) => {
                let nothing_yet = Mutex::new(Vec::new().into());
                Ok(self.handles.insert(Handle::Directory(node, nothing_yet)))
            }
            _ => Err(no_directory()),
        }
    }

    /// The entries of an open directory from the `from`-th on. Reading from the first one looks
    /// anew; the numbers of the others refer to what was seen then.
    pub fn read_directory(&self, handle: HandleId, from: u64) -> Result<Vec<DirEntry>> {
        match &*self.handles.get(handle)? {
            Handle::Directory(node, seen) => {
                if from == 0 {
                    let entries = self.entries(node)?.into();
                    *lock(seen) = entries;
                }
                let seen = Arc::clone(&lock(seen));
                let from = usize::try_from(from).unwrap_or(usize::MAX).min(seen.len());
                Ok(seen[from..].to_vec())
            }
            _ => Err(no_directory()),
        }
    }

    /// Calls `f` with the bytes of an open file from `offset` on: `size` of them, or those up to
    /// its end. Does not call it where that fails; damage was then told to the monitor.
    pub fn read<R>(
        &self,
        handle: HandleId,
        offset: u64,
        size: usize,
        f: impl FnOnce(&[u8]) -> R,
    ) -> Result<R> {
        match &*self.handles.get(handle)? {
            Handle::Disk(disk, _) => disk.read(&self.shelf, offset, size, f),
            Handle::Text(text) => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX).min(text.len());
                Ok(f(&text[start..start.saturating_add(size).min(text.len())]))
            }
            Handle::Directory(..) => Err(Error::new(ErrorKind::Invalid, "this is a directory")),
        }
    }

    /// As [`Tree::read`], with the bytes where they lie, so that holes can be told from zeros and
    /// nothing is copied.
    pub fn read_pieces<R>(
        &self,
        handle: HandleId,
        offset: u64,
        size: usize,
        f: impl FnOnce(&[ReadPiece<'_>]) -> R,
    ) -> Result<R> {
        match &*self.handles.get(handle)? {
            Handle::Disk(disk, _) => Ok(f(&disk.gather(&self.shelf, offset, size)?.pieces())),
            _ => Err(no_disk()),
        }
    }

    /// Whether an open disk has data or a hole at `offset`, and where that ends, at `end` at the
    /// latest; none where there is nothing more.
    pub fn extent(&self, handle: HandleId, offset: u64, end: u64) -> Result<Option<Extent>> {
        match &*self.handles.get(handle)? {
            Handle::Disk(disk, _) => disk.extent(&self.shelf, offset, end),
            _ => Err(no_disk()),
        }
    }

    /// Where the next data or hole at or after `offset` begins; none where there is nothing more,
    /// and beyond the end.
    pub fn seek(&self, handle: HandleId, offset: u64, kind: SeekKind) -> Result<Option<u64>> {
        match &*self.handles.get(handle)? {
            Handle::Disk(disk, _) => disk.seek(&self.shelf, offset, kind),
            Handle::Text(text) => {
                let end = text.len() as u64;
                let found = if kind == SeekKind::Data { offset } else { end };
                Ok((offset < end).then_some(found))
            }
            Handle::Directory(..) => Err(Error::new(ErrorKind::Invalid, "this is a directory")),
        }
    }

    /// Writes into an open disk, as a whole or not at all up to a chunk: what comes behind the one
    /// that fails is not written. [`ErrorKind::Full`] beyond the end of the disk.
    pub fn write(&self, handle: HandleId, offset: u64, bytes: &[u8]) -> Result<()> {
        self.change(handle, |disk| disk.write(&self.shelf, offset, bytes))
    }

    /// Makes a range of an open disk read as zero, and gives its space back.
    pub fn zero(&self, handle: HandleId, offset: u64, len: u64) -> Result<()> {
        self.change(handle, |disk| disk.zero(&self.shelf, offset, len))
    }

    /// Makes what was written into an open disk durable, where it is kept.
    pub fn flush(&self, handle: HandleId) -> Result<()> {
        match &*self.handles.get(handle)? {
            Handle::Disk(disk, _) => disk.flush().map_err(|error| self.told(error)),
            Handle::Text(_) | Handle::Directory(..) => Ok(()),
        }
    }

    /// Makes all that was written durable, where it is kept.
    pub fn flush_all(&self) -> Result<()> {
        self.overlays.as_ref().map_or(Ok(()), Overlays::flush)
    }

    /// Closes a file or directory.
    pub fn close(&self, handle: HandleId) {
        self.handles.remove(handle);
    }

    /// Files and directories that are open.
    #[must_use]
    pub fn open_count(&self) -> usize {
        self.handles.len()
    }

    /// Space of the medium that the repository lies on, where it has such a thing.
    pub fn space(&self) -> Result<Option<Space>> {
        self.repo.store().space()
    }

    fn change(&self, handle: HandleId, f: impl FnOnce(&OpenDisk) -> Result<()>) -> Result<()> {
        match &*self.handles.get(handle)? {
            Handle::Disk(disk, Access::Write) => f(disk).map_err(|error| self.told(error)),
            _ => Err(Error::new(ErrorKind::Denied, "this is not open to be written")),
        }
    }

    /// Tells what a program that writes can only be told as a number.
    fn told(&self, error: Error) -> Error {
        self.shelf.monitor.problem(&error);
        error
    }

    fn node(&self, ino: Ino) -> Result<Node> {
        self.inodes.node(ino).ok_or_else(|| not_found("nothing has that number"))
    }

    fn is_writable(&self, node: &Node) -> Result<bool> {
        match node {
            Node::Disk(id, place) if self.overlays.is_some() => {
                Ok(self.point(*id)?.configuration_place() != Some(*place))
            }
            _ => Ok(false),
        }
    }

    fn point(&self, id: PointId) -> Result<Arc<ShownPoint>> {
        self.listing.point(id).ok_or_else(|| not_found("the restore point was dropped"))
    }

    /// The same for whoever opens something of it.
    fn confirmed(&self, id: PointId) -> Result<Arc<ShownPoint>> {
        let point = self.point(id)?;
        match point.confirm(&self.repo) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(self.told(error)),
            confirmed => confirmed.map(|()| point),
        }
    }

    fn map(&self, point: &ShownPoint, place: usize) -> Result<DiskMap> {
        let map = point.map_at(place).ok_or_else(|| not_found("there is no such disk"))?;
        let nodes = Arc::clone(&self.shelf.chunks) as Arc<dyn NodeSource>;
        Ok(DiskMap::new(ChunkGrid::new(map.size_bytes), map.root, nodes))
    }

    /// The engine's description of the VM, out of the stored configuration.
    fn ovf(&self, point: &Arc<ShownPoint>) -> Result<Option<String>> {
        let Some(place) = point.configuration_place() else { return Ok(None) };
        let file = OpenDisk::new(Arc::clone(point), place, self.map(point, place)?, None, None);
        Ok(file.read_configuration(&self.shelf)?.ovf)
    }

    /// What readers have cost so far, as a text.
    fn stats(&self) -> Arc<[u8]> {
        self.shelf.chunks.counters.to_json().into_bytes().into()
    }

    fn ovf_bytes(&self, point: &Arc<ShownPoint>) -> Result<Option<u64>> {
        point.ovf_bytes(|| Ok(self.ovf(point)?.map(|ovf| ovf.len() as u64)))
    }

    fn in_point(&self, point: &Arc<ShownPoint>, name: &str) -> Result<Option<Node>> {
        let id = point.record.id;
        Ok(match name {
            JSON_NAME => Some(Node::Json(id)),
            OVF_NAME => self.ovf_bytes(point)?.map(|_| Node::Ovf(id)),
            _ => point.place_of(name).map(|place| Node::Disk(id, place)),
        })
    }

    fn attr_of(&self, node: &Node) -> Result<Attr> {
        let kind = kind(node);
        let (size_bytes, blocks, time) = match node {
            Node::Root | Node::About | Node::Vms => (0, 0, self.began),
            Node::Stats => {
                let len = self.stats().len() as u64;
                (len, len.div_ceil(512), self.began)
            }
            Node::Vm(vm) => {
                let snapshot = self.listing.snapshot()?;
                let newest = snapshot.vms.get(vm).and_then(VmDirectory::latest_point);
                let newest = newest.ok_or_else(|| not_found("the VM has no restore point"))?;
                (0, 0, newest.record.time)
            }
            Node::Point(id) => (0, 0, self.point(*id)?.record.time),
            Node::Json(id) => {
                let point = self.point(*id)?;
                let len = point.json().len() as u64;
                (len, len.div_ceil(512), point.record.time)
            }
            Node::Ovf(id) => {
                let point = self.point(*id)?;
                let len = self.ovf_bytes(&point)?.ok_or_else(no_ovf)?;
                (len, len.div_ceil(512), point.record.time)
            }
            Node::Disk(id, place) => {
                let point = self.point(*id)?;
                let size_bytes = point.map_at(*place).map_or(0, |map| map.size_bytes);
                let blocks = point.blocks(*place, || self.map(&point, *place));
                (size_bytes, blocks, point.record.time)
            }
            Node::Latest(latest) => (latest.target.len() as u64, 0, latest.time),
        };
        Ok(Attr {
            ino: self.inodes.number(node),
            kind,
            size_bytes,
            blocks,
            time,
            mode: mode(kind, self.is_writable(node)?, self.is_open_to_others),
            is_final: kind == FileKind::File && *node != Node::Stats,
        })
    }

    fn entries(&self, node: &Node) -> Result<Vec<DirEntry>> {
        let mut entries = Vec::new();
        let mut add = |name: &str, node: &Node| {
            let ino = self.inodes.number(node);
            entries.push(DirEntry { ino, kind: kind(node), name: name.into() });
        };
        add(".", node);
        match node {
            Node::Root => {
                add("..", node);
                add(VMS_NAME, &Node::Vms);
                if self.shows_stats {
                    add(ABOUT_NAME, &Node::About);
                }
            }
            Node::About => {
                add("..", &Node::Root);
                add(STATS_NAME, &Node::Stats);
            }
            Node::Vms => {
                add("..", &Node::Root);
                for vm in self.listing.snapshot()?.vms.keys() {
                    add(vm, &Node::Vm(Arc::clone(vm)));
                }
            }
            Node::Vm(vm) => {
                add("..", &Node::Vms);
                if let Some(directory) = self.listing.snapshot()?.vms.get(vm) {
                    for (name, point) in &directory.points {
                        add(name, &Node::Point(point.record.id));
                    }
                    let latest = in_vm(vm, directory, LATEST_NAME);
                    latest.iter().for_each(|node| add(LATEST_NAME, node));
                }
            }
            Node::Point(id) => {
                let point = self.point(*id)?;
                add("..", &Node::Vm(crate::vfs::safe_name(&point.record.vm).into()));
                for (place, name) in point.file_names().enumerate() {
                    add(name, &Node::Disk(*id, place));
                }
                // One that cannot be read is shown: whoever opens it learns why.
                if self.ovf_bytes(&point).unwrap_or(Some(0)).is_some() {
                    add(OVF_NAME, &Node::Ovf(*id));
                }
                add(JSON_NAME, &Node::Json(*id));
            }
            Node::Json(_) | Node::Ovf(_) | Node::Disk(..) | Node::Latest(_) | Node::Stats => {
                return Err(no_directory());
            }
        }
        Ok(entries)
    }
}

fn in_vm(vm: &Arc<str>, directory: &VmDirectory, name: &str) -> Option<Node> {
    if name != LATEST_NAME {
        return directory.points.get(name).map(|point| Node::Point(point.record.id));
    }
    let time = directory.latest_point()?.record.time;
    let (vm, target) = (Arc::clone(vm), Arc::clone(&directory.latest));
    Some(Node::Latest(Latest { vm, target, time }))
}

fn kind(node: &Node) -> FileKind {
    match node {
        Node::Root | Node::About | Node::Vms | Node::Vm(_) | Node::Point(_) => FileKind::Directory,
        Node::Json(_) | Node::Ovf(_) | Node::Disk(..) | Node::Stats => FileKind::File,
        Node::Latest(_) => FileKind::Link,
    }
}

fn read_only() -> Error {
    Error::new(ErrorKind::Denied, "this can only be read")
}

fn no_ovf() -> Error {
    not_found("the engine gave no description of this VM")
}

fn no_disk() -> Error {
    Error::new(ErrorKind::Invalid, "this is no disk")
}

fn no_directory() -> Error {
    Error::new(ErrorKind::Invalid, "this is no directory")
}
