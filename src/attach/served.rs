//! A disk as a loop device over a private mount, from beginning to end; what servers write down.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};

use crate::attach::loop_device::{LoopDevice, LoopOptions};
use crate::attach::nbd::Server;
use crate::attach::registry::{Entry, Facts, Place};
use crate::error::{Error, ErrorKind, IoContext, Result};
use crate::format::commit::{DiskRecord, PointRecord};
use crate::fuse::{MountOptions, Serving};
use crate::repo::Repository;
use crate::vfs::safe_name;

/// What to attach.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// Where the repository lies.
    pub repo_path: &'a Path,
    /// The restore point.
    pub point: &'a PointRecord,
    /// A disk of it.
    pub disk: &'a DiskRecord,
}

/// Gives a disk as a loop device and serves it until the device is given back. Calls `ready` once
/// the device is there; if that fails, so does this, and nothing stays.
///
/// The mount below is private: it is out of sight before anybody can use the device, held by that
/// alone, and gone with it, whoever detaches it. A first signal gives the device back, or tells who
/// uses it; after a second one that happens as soon as nobody does.
pub fn attach_loop(
    repo: Repository,
    subject: Subject<'_>,
    entry: &Entry,
    options: &MountOptions,
    has_partitions: bool,
    ready: impl FnOnce(&Facts, &[PathBuf]) -> Result<()>,
) -> Result<()> {
    let loop_options = LoopOptions { is_writable: options.overlay.is_some(), has_partitions };
    let mount = entry.mount_dir();
    let serving = Serving::start(repo, Some(subject.repo_path), &mount, options, || {})?;
    let device = connect(&mount, subject, loop_options, &entry.tag());
    // From here on only the device holds it.
    let hidden = serving.unmount(true);
    let device = device?;
    let told = hidden.and_then(|()| {
        let facts = loop_facts(subject, &device, loop_options);
        entry.write(&facts)?;
        ready(&facts, &device.partitions())
    });
    if told.is_err() {
        device.release_later()?;
    }
    let end = serving.wait(|signals| match signals {
        1 => device.release(true),
        _ => device.release_later(),
    });
    told.and(end)
}

fn connect(
    mount: &Path,
    subject: Subject<'_>,
    options: LoopOptions,
    tag: &str,
) -> Result<LoopDevice> {
    let path = disk_path(mount, subject.point, subject.disk)?;
    let opened = OpenOptions::new().read(true).write(options.is_writable).open(&path);
    LoopDevice::over(&opened.context("cannot open the disk", &path)?, options, tag)
}

/// Where a mount shows a disk.
fn disk_path(mount: &Path, point: &PointRecord, disk: &DiskRecord) -> Result<PathBuf> {
    let vm = mount.join("vms").join(safe_name(&point.vm));
    let time = point.time.to_string();
    // Restore points that share a second have their ids behind it, except for the first.
    let names = [format!("{time}-{}", point.id), time];
    let dir = names.iter().map(|name| vm.join(name)).find(|dir| dir.is_dir());
    let dir = dir.ok_or_else(|| {
        let what = "the restore point was dropped just now";
        Error::new(ErrorKind::NotFound, what)
    })?;
    Ok(dir.join(format!("{}.raw", safe_name(&disk.name))))
}

fn loop_facts(subject: Subject<'_>, device: &LoopDevice, options: LoopOptions) -> Facts {
    let shown = device.shown_file().unwrap_or_default();
    facts(subject, Place::Device { path: device.path.clone(), shown }, options.is_writable)
}

/// What a process writes down that serves a disk over NBD.
#[must_use]
pub fn nbd_facts(subject: Subject<'_>, server: &Server, is_writable: bool) -> Facts {
    let address = server.address();
    let place = Place::Nbd { uri: address.uri(), address: address.to_string() };
    facts(subject, place, is_writable)
}

fn facts(subject: Subject<'_>, place: Place, is_writable: bool) -> Facts {
    let Subject { repo_path, point, disk } = subject;
    Facts {
        process: std::process::id(),
        place,
        repository: repo_path.to_owned(),
        point: point.id,
        vm: point.vm.clone(),
        time: point.time,
        disk: disk.name.clone(),
        size_bytes: disk.size_bytes,
        is_writable,
    }
}
