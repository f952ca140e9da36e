//! `backstop backup image`

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::base::cancel::Cancel;
use crate::chunk::CompressionLevel;
use crate::cli::exit::Exit;
use crate::cli::failure::{Advise, Failure, Result};
use crate::cli::output::shell_word;
use crate::cli::point_document::{
    PointDocument, StatsDocument, disk_table, point_name, stats_fields,
};
use crate::cli::repo_arg::{Run, default_threads};
use crate::cli::stdin::StdinStream;
use crate::error::ErrorKind;
use crate::format::commit::{DiskSource, PointRecord, is_valid_name};
use crate::ingest::open::{Backing, ImageFormat, open_image};
use crate::ingest::{BackupOptions, DiskInput, Image, back_up};

/// Name of the disk that standard input makes, unless another is given.
const STDIN_DISK: &str = "disk";

/// Back up disk images as one restore point of a VM
///
/// PATH is a raw or qcow2 image, a block device, or `-` for the raw bytes of standard input. The
/// restore point holds all of them or does not come to be. An image must not change while it is
/// read: back up a snapshot, or a VM that is off.
///
/// A disk is named DISK, or like its file without the last extension (`disk` for `-`). If there is
/// a file whose name is the whole argument, `=` and all, it is a PATH.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  backstop backup image --vm web /var/lib/libvirt/images/web.qcow2
  backstop backup image --vm db system=/dev/vg0/db-snap data=/srv/images/db-data.raw
  ssh host cat /dev/vg0/mail-snap | backstop backup image --vm mail system=-
  backstop backup image --vm lab --format qcow2 --backing /srv/images/lab-overlay.img")]
pub(super) struct BackupImageArgs {
    /// The VM that the restore point belongs to
    #[arg(long, value_name = "NAME", value_parser = parse_name)]
    vm: String,

    /// Format of the images [default: qcow2 if the name ends in .qcow2, raw otherwise]
    #[arg(long, value_name = "FORMAT", value_parser = parse_format)]
    format: Option<ImageFormat>,

    /// Read the backing files that a qcow2 image names; only for images that you trust
    #[arg(long)]
    backing: bool,

    /// How hard to compress, from -7 (fast) to 19 (small) [default: 1]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    #[arg(value_parser = clap::value_parser!(i32).range(-7..=19))]
    compression_level: Option<i32>,

    /// Threads that read, compress and store [default: one per processor]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: Option<u16>,

    /// Images, each with the name of its disk if it is not to be that of the file
    #[arg(required = true, value_name = "[DISK=]PATH")]
    disks: Vec<OsString>,
}

#[derive(Serialize)]
struct BackupDocument<'a> {
    point: PointDocument<'a>,
    stats: StatsDocument,
}

/// Where the bytes of a disk come from.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Input {
    Stdin,
    File(PathBuf),
}

/// A disk to back up, as typed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct DiskArg {
    name: String,
    input: Input,
}

pub(super) fn run(run: &Run, args: &BackupImageArgs) -> Result<Exit> {
    let disks = parse_disks(&args.disks, |path| path.symlink_metadata().is_ok())?;
    check_format(args.format, &disks)?;
    let repo = run.open_repo()?;
    let cancel = run.cancel_on_signal()?;
    let options = backup_options(args, &cancel);
    let inputs = disks.iter().map(|disk| open_disk(args, disk, &cancel));
    let inputs = inputs.collect::<Result<Vec<_>>>()?;
    let point = back_up(&repo, &args.vm, inputs, &options)
        .advise(
            ErrorKind::Cancelled,
            "what is stored is kept: the next backup does not store it again",
        )
        .advise(
            ErrorKind::Full,
            "`backstop forget` and `backstop prune` make room, on a full medium, too; what is \
             stored is kept: the next backup does not store it again",
        )?;
    let document = BackupDocument {
        point: PointDocument::new(&point),
        stats: StatsDocument::new(&point.stats),
    };
    run.answer(&document, &text(&point))?;
    Ok(Exit::Done)
}

fn backup_options(args: &BackupImageArgs, cancel: &Cancel) -> BackupOptions {
    // Out of range is refused by the parser.
    let level = args.compression_level.and_then(CompressionLevel::new).unwrap_or_default();
    let threads = args.threads.map_or_else(default_threads, usize::from);
    BackupOptions { level, threads, cancel: cancel.clone() }
}

fn open_disk(args: &BackupImageArgs, disk: &DiskArg, cancel: &Cancel) -> Result<DiskInput> {
    let name = disk.name.clone();
    let path = match &disk.input {
        Input::File(path) => path,
        Input::Stdin => {
            let source = disk_source("stream", "-".as_ref(), &[]);
            return Ok(DiskInput {
                name,
                source,
                image: image_of_stdin(cancel)?,
                parent: None,
                engine: None,
            });
        }
    };
    let backing = if args.backing { Backing::Follow } else { Backing::Refuse };
    let opened = open_image(path, args.format, backing)
        .advise(ErrorKind::NotFound, "check the path; [DISK=]PATH names an image")
        .advise(
            ErrorKind::Invalid,
            "--format says what an image is, --backing lets it name other files, and `-` reads a \
             stream",
        )?;
    let source = disk_source(&opened.format.to_string(), path, &opened.backing_files);
    Ok(DiskInput { name, source, image: Image::Source(opened.source), parent: None, engine: None })
}

fn image_of_stdin(cancel: &Cancel) -> Result<Image> {
    Ok(Image::Stream(Box::new(StdinStream::open(cancel)?)))
}

fn disk_source(format: &str, path: &Path, backing_files: &[PathBuf]) -> DiskSource {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    DiskSource {
        format: format.to_owned(),
        path: text(path),
        backing_files: backing_files.iter().map(|file| text(file)).collect(),
    }
}

/// A name of a VM.
fn parse_name(typed: &str) -> std::result::Result<String, String> {
    match is_valid_name(typed) {
        true => Ok(typed.to_owned()),
        false => Err("a name has 1 to 255 bytes and no control characters".to_owned()),
    }
}

fn parse_format(typed: &str) -> crate::error::Result<ImageFormat> {
    typed.parse()
}

/// Reads all [DISK=]PATH arguments, and refuses what cannot be one restore point.
fn parse_disks(typed: &[OsString], exists: impl Fn(&Path) -> bool) -> Result<Vec<DiskArg>> {
    let disks = typed.iter().map(|typed| parse_disk(typed, &exists)).collect::<Result<Vec<_>>>()?;
    for (number, disk) in disks.iter().enumerate() {
        let earlier = &disks[..number];
        if disk.input == Input::Stdin && earlier.iter().any(|other| other.input == Input::Stdin) {
            return Err(Failure::usage("standard input can be only one of the disks"));
        }
        if let Some(other) = earlier.iter().position(|other| other.name == disk.name) {
            let (first, second) = (typed[other].display(), typed[number].display());
            return Err(Failure::usage(format!(
                "two disks are named {:?}: {first} and {second}; write DISK=PATH to name them",
                disk.name
            )));
        }
    }
    Ok(disks)
}

/// Reads one [DISK=]PATH argument.
fn parse_disk(typed: &OsStr, exists: impl Fn(&Path) -> bool) -> Result<DiskArg> {
    let bytes = typed.as_bytes();
    let equals = bytes.iter().position(|byte| *byte == b'=');
    let (name, path) = match equals {
        Some(at) if !exists(Path::new(typed)) => {
            (Some(OsStr::from_bytes(&bytes[..at])), OsStr::from_bytes(&bytes[at + 1..]))
        }
        _ => (None, typed),
    };
    if path.is_empty() {
        return Err(Failure::usage(format!("{:?} has no path", typed.display().to_string())));
    }
    let input = match path == "-" {
        true => Input::Stdin,
        false => Input::File(path.into()),
    };
    let name = match (name, &input) {
        (Some(name), _) => Some(name),
        (None, Input::Stdin) => Some(STDIN_DISK.as_ref()),
        (None, Input::File(path)) => path.file_stem(),
    };
    match name.and_then(OsStr::to_str).filter(|name| is_valid_name(name)) {
        Some(name) => Ok(DiskArg { name: name.to_owned(), input }),
        None => Err(Failure::usage(format!(
            "{} gives a disk no name: write DISK=PATH, with a DISK of 1 to 255 bytes without \
             control characters",
            typed.display()
        ))),
    }
}

/// Standard input is a raw disk: the tables of a qcow2 image may come after the data.
fn check_format(format: Option<ImageFormat>, disks: &[DiskArg]) -> Result<()> {
    let reads_stdin = disks.iter().any(|disk| disk.input == Input::Stdin);
    match format {
        Some(ImageFormat::Qcow2) if reads_stdin => Err(Failure::usage(
            "standard input is read as a raw disk; give the path of a qcow2 image",
        )),
        _ => Ok(()),
    }
}

fn text(point: &PointRecord) -> String {
    let name = point_name(point);
    let word = shell_word(&name);
    format!(
        "backed up {name}\n\n{}\n{}\n\
         next: backstop show {word}\n      \
         backstop mount DIR    (its disks are files in DIR/vms)\n",
        disk_table(&point.disks),
        stats_fields(&point.stats)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(typed: &[&str], existing: &[&str]) -> Result<Vec<DiskArg>> {
        let typed: Vec<_> = typed.iter().map(OsString::from).collect();
        parse_disks(&typed, |path| existing.iter().any(|file| Path::new(file) == path))
    }

    fn file(name: &str, path: &str) -> DiskArg {
        DiskArg { name: name.to_owned(), input: Input::File(path.into()) }
    }

    fn stdin(name: &str) -> DiskArg {
        DiskArg { name: name.to_owned(), input: Input::Stdin }
    }

    #[test]
    fn a_disk_is_named_by_the_argument_or_like_its_file() {
        let typed = ["/i/web.qcow2", "data=/i/web.raw", "/dev/vg0/db-snap", "/i/a.b.img"];
        let disks = parse(&typed, &[]).unwrap();
        let expected = [
            file("web", "/i/web.qcow2"),
            file("data", "/i/web.raw"),
            file("db-snap", "/dev/vg0/db-snap"),
            file("a.b", "/i/a.b.img"),
        ];
        assert_eq!(disks, expected);
    }

    #[test]
    fn a_minus_is_standard_input_with_a_name_or_without_and_a_file_only_behind_a_directory() {
        assert_eq!(parse(&["-"], &[]).unwrap(), [stdin("disk")]);
        assert_eq!(parse(&["system=-"], &[]).unwrap(), [stdin("system")]);
        assert_eq!(parse(&["x=./-"], &[]).unwrap(), [file("x", "./-")]);
        assert!(parse(&["a=-", "b=-"], &[]).is_err());
    }

    #[test]
    fn an_argument_that_is_a_file_as_a_whole_is_not_split() {
        assert_eq!(parse(&["a=b.raw"], &[]).unwrap(), [file("a", "b.raw")]);
        assert_eq!(parse(&["a=b.raw"], &["a=b.raw"]).unwrap(), [file("a=b", "a=b.raw")]);
        assert_eq!(parse(&["x=a=b.raw"], &["a=b.raw"]).unwrap(), [file("x", "a=b.raw")]);
    }

    #[test]
    fn two_disks_of_one_name_are_refused_with_both_paths() {
        let failure = parse(&["a/disk.raw", "b/disk.raw"], &[]).unwrap_err().to_string();
        assert!(failure.contains("a/disk.raw and b/disk.raw"), "{failure}");
    }

    #[test]
    fn what_names_no_disk_is_refused() {
        for typed in ["=a.raw", "a=", "..", "a\nb=c", "", "/"] {
            assert!(matches!(parse(&[typed], &[]), Err(Failure::Usage(_))), "{typed:?}");
        }
        let not_text = OsStr::from_bytes(b"/i/\xff.raw");
        assert!(parse_disk(not_text, |_| false).is_err());
        let named = OsStr::from_bytes(b"web=/i/\xff.raw");
        assert_eq!(parse_disk(named, |_| false).unwrap().name, "web");
    }

    #[test]
    fn the_help_names_the_default_level() {
        assert_eq!(CompressionLevel::new(1), Some(CompressionLevel::default()));
    }

    #[test]
    fn a_stream_cannot_be_qcow2() {
        let disks = [stdin("a")];
        assert!(check_format(Some(ImageFormat::Qcow2), &disks).is_err());
        assert!(check_format(Some(ImageFormat::Raw), &disks).is_ok());
        assert!(check_format(Some(ImageFormat::Qcow2), &[file("a", "b")]).is_ok());
    }
}
