//! Loop devices: getting one, finding it again, and giving it back.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::attach::sys;
use crate::attach::users::users;
use crate::error::{Error, ErrorKind, IoContext, Result};

const CONTROL: &str = "/dev/loop-control";
const BLOCK_DEVICES: &str = "/sys/block";
/// How far the kernel reads ahead, in KiB: two of the largest requests of the mount below. With one
/// alone, reading in order measured a third as fast.
const READ_AHEAD_KIB: &str = "2048";
/// Tries to get a device that others want, too.
const TRIES: u32 = 64;
/// For how long somebody may have a device open that only looks at it, as udev does.
const GLANCE: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(20);

/// How a disk is to be had as a loop device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LoopOptions {
    /// Lets it be written.
    pub(super) is_writable: bool,
    /// Has the kernel look for partitions.
    pub(super) has_partitions: bool,
}

/// A loop device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LoopDevice {
    /// Its node: `/dev/loop3`.
    pub(super) path: PathBuf,
}

impl LoopDevice {
    /// Puts a device that nobody has over `file`. It keeps `tag`, by which it is known again.
    pub(super) fn over(file: &File, options: LoopOptions, tag: &str) -> Result<Self> {
        let control = open(Path::new(CONTROL), options.is_writable)
            .context("cannot get a loop device", Path::new(CONTROL))?;
        let mut last = None;
        for _ in 0..TRIES {
            let number = sys::free_loop(&control)
                .context("there is no loop device left", Path::new(CONTROL))?;
            let path = PathBuf::from(format!("/dev/loop{number}"));
            let device = open(&path, options.is_writable).context("cannot open", &path)?;
            match sys::configure_loop(&device, file, flags(options), name_of(tag)) {
                Ok(()) => {
                    let this = Self { path };
                    this.raise_read_ahead();
                    return Ok(this);
                }
                // Somebody else was faster.
                Err(error) if error.raw_os_error() == Some(libc::EBUSY) => last = Some(error),
                Err(error) => return Err(error).context("cannot set up the loop device", &path),
            }
        }
        let error = Error::new(ErrorKind::Busy, "others take every loop device that is free");
        Err(last.into_iter().fold(error, Error::because))
    }

    /// The device that keeps this tag. `shown` is what the kernel showed of the file below it: of a
    /// mount that nobody serves any more the kernel no longer tells the tag.
    pub(super) fn find(tag: &str, shown: Option<&str>) -> Option<Self> {
        let names = fs::read_dir(BLOCK_DEVICES).into_iter().flatten().flatten();
        let names = names.filter_map(|entry| entry.file_name().into_string().ok());
        let mut devices = names.filter(|name| name.starts_with("loop"));
        devices.find_map(|name| {
            let device = Self { path: Path::new("/dev").join(name) };
            let file = device.shown_file()?;
            let opened = open(&device.path, false).ok()?;
            let is_it = match sys::loop_name(&opened) {
                Ok(name) => name == name_of(tag),
                Err(error) => error.raw_os_error() == Some(libc::ENOTCONN) && Some(&*file) == shown,
            };
            is_it.then_some(device)
        })
    }

    /// What the kernel shows of the file below; none if there is no such.
    pub(super) fn shown_file(&self) -> Option<String> {
        let shown = fs::read_to_string(self.about()?.join("loop/backing_file")).ok()?;
        Some(shown.trim_end_matches('\n').to_owned())
    }

    /// The nodes of its partitions, in their order.
    pub(super) fn partitions(&self) -> Vec<PathBuf> {
        let Some((name, about)) = self.name().zip(self.about()) else { return Vec::new() };
        let entries = fs::read_dir(about).into_iter().flatten().flatten();
        let mut found: Vec<(u32, PathBuf)> = entries
            .filter_map(|entry| {
                let partition = entry.file_name().into_string().ok()?;
                let number = partition.strip_prefix(name)?.strip_prefix('p')?.parse().ok()?;
                Some((number, Path::new("/dev").join(partition)))
            })
            .collect();
        found.sort();
        found.into_iter().map(|(_, path)| path).collect()
    }

    /// Gives the device back, with what was written to it handed down before, if somebody still
    /// serves what lies below. [`ErrorKind::Busy`], with who it is, while somebody uses it.
    pub(super) fn release(&self, is_served: bool) -> Result<()> {
        let began = Instant::now();
        let device = loop {
            let opened = open_alone(&self.path);
            let found = users(self.name().unwrap_or_default());
            match opened {
                Ok(device) if found.is_empty() => break device,
                Err(error) if error.raw_os_error() != Some(libc::EBUSY) => {
                    return Err(error).context("cannot open", &self.path);
                }
                _ if began.elapsed() > GLANCE => return Err(self.busy(&found)),
                _ => thread::sleep(PAUSE),
            }
        };
        let flushed = device.sync_all().context("cannot write all of what was changed", &self.path);
        // Whatever became of that: keeping the device would not help.
        self.clear(&device)?;
        if is_served { flushed } else { Ok(()) }
    }

    /// Gives the device back as soon as nobody uses it.
    pub(super) fn release_later(&self) -> Result<()> {
        self.clear(&open(&self.path, false).context("cannot open", &self.path)?)
    }

    fn clear(&self, device: &File) -> Result<()> {
        match sys::clear_loop(device) {
            // Somebody has done it already.
            Err(error) if error.raw_os_error() == Some(libc::ENXIO) => Ok(()),
            cleared => cleared.context("cannot give back the loop device", &self.path),
        }
    }

    fn busy(&self, users: &[String]) -> Error {
        let who = match users.is_empty() {
            true => "somebody out of sight, such as another mount namespace".to_owned(),
            false => users.join(", "),
        };
        Error::new(ErrorKind::Busy, format!("{} is in use: {who}", self.path.display()))
    }

    /// Only root may; without it, reading in order is slower.
    fn raise_read_ahead(&self) {
        let Some(about) = self.about() else { return };
        let opened = OpenOptions::new().write(true).open(about.join("queue/read_ahead_kb"));
        let _only_slower =
            opened.and_then(|mut file| io::Write::write_all(&mut file, READ_AHEAD_KIB.as_bytes()));
    }

    fn name(&self) -> Option<&str> {
        self.path.file_name()?.to_str()
    }

    /// The directory in which the kernel tells of it.
    fn about(&self) -> Option<PathBuf> {
        Some(Path::new(BLOCK_DEVICES).join(self.name()?))
    }
}

/// Direct, so that no page is kept twice.
const fn flags(options: LoopOptions) -> u32 {
    let read_only = if options.is_writable { 0 } else { sys::LO_FLAGS_READ_ONLY };
    let partitions = if options.has_partitions { sys::LO_FLAGS_PARTSCAN } else { 0 };
    read_only | partitions | sys::LO_FLAGS_DIRECT_IO
}

/// A tag as the device keeps it: cut, with NULs behind.
fn name_of(tag: &str) -> [u8; sys::NAME_BYTES] {
    let mut name = [0; sys::NAME_BYTES];
    let len = tag.len().min(sys::NAME_BYTES - 1);
    name[..len].copy_from_slice(&tag.as_bytes()[..len]);
    name
}

fn open(path: &Path, is_writable: bool) -> io::Result<File> {
    OpenOptions::new().read(true).write(is_writable).open(path)
}

/// EBUSY if it is mounted, or part of another device.
fn open_alone(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_EXCL).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_fits_into_what_the_device_keeps() {
        assert_eq!(&name_of("backstop:1")[..12], b"backstop:1\0\0");
        assert_eq!(name_of(&"x".repeat(100))[62..], *b"x\0");
    }

    #[test]
    fn a_disk_is_only_read_unless_it_is_to_be_written() {
        let read = LoopOptions { is_writable: false, has_partitions: false };
        assert_eq!(flags(read) & sys::LO_FLAGS_READ_ONLY, sys::LO_FLAGS_READ_ONLY);
        assert_eq!(flags(LoopOptions { is_writable: true, ..read }) & sys::LO_FLAGS_READ_ONLY, 0);
    }
}
