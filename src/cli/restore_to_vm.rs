//! `backstop restore disk --to-vm`

use serde::Serialize;

use crate::base::id::{ChunkId, PointId};
use crate::cli::config::EngineConfig;
use crate::cli::engine_arg::open_engine;
use crate::cli::exit::Exit;
use crate::cli::failure::{Advise, Result};
use crate::cli::output::fields;
use crate::cli::point_document::point_name;
use crate::cli::repo_arg::{Run, default_threads};
use crate::cli::restore_disk::find_disk;
use crate::cli::size::{Rate, Size};
use crate::cli::transfer_arg::TransferArgs;
use crate::error::{Error, ErrorKind};
use crate::format::commit::{DiskRecord, PointRecord};
use crate::job::restore::{Destination, DiskToVm, RestoredDisk, Uploaded, restore_disk_to_vm};
use crate::job::transfer::TransferSettings;
use crate::ovirt::backup::abilities::Abilities;
use crate::ovirt::client::Engine;
use crate::ovirt::wire::DiskFormat;
use crate::point::PointSelector;
use crate::repo::Repository;
use crate::restore::RestoreOptions;

/// Options of a disk that becomes one of a VM.
#[derive(clap::Args, Debug)]
#[command(next_help_heading = "To a VM of the engine")]
pub(super) struct ToVmArgs {
    /// Make it a new disk of this VM: its name or id
    #[arg(long, value_name = "VM")]
    to_vm: Option<String>,

    /// Name of the new disk [default: DISK_TIME]
    #[arg(long, value_name = "NAME", requires = "to_vm")]
    name: Option<String>,

    /// Name or id of the storage domain [default: the one that the disk was on]
    #[arg(long, value_name = "DOMAIN", requires = "to_vm")]
    storage_domain: Option<String>,

    /// How the disk is stored [default: as it was]
    #[arg(long, value_name = "FORMAT", value_enum, requires = "to_vm")]
    format: Option<FormatWord>,

    /// How the VM sees it, as in virtio_scsi [default: as it was]
    #[arg(long, value_name = "INTERFACE", requires = "to_vm")]
    interface: Option<String>,

    /// Plug the disk in at once
    #[arg(long, requires = "to_vm")]
    activate: bool,

    #[command(flatten)]
    transfer: TransferArgs,
}

#[derive(clap::ValueEnum, Debug, Clone, Copy)]
enum FormatWord {
    /// QCOW2, of which changes can be backed up
    Cow,
    /// Plain bytes
    Raw,
}

impl From<FormatWord> for DiskFormat {
    fn from(word: FormatWord) -> Self {
        match word {
            FormatWord::Cow => Self::Cow,
            FormatWord::Raw => Self::Raw,
        }
    }
}

#[derive(Serialize)]
struct RestoreDocument<'a> {
    restore: ToVmDocument<'a>,
}

#[derive(Serialize)]
struct ToVmDocument<'a> {
    point: PointId,
    disk: &'a str,
    vm: VmDocument<'a>,
    #[serde(flatten)]
    uploaded: UploadedDocument<'a>,
}

#[derive(Serialize)]
struct VmDocument<'a> {
    id: &'a str,
    name: &'a str,
}

/// A new disk of the engine.
#[derive(Serialize)]
pub(super) struct UploadedDocument<'a> {
    disk_id: &'a str,
    disk_name: &'a str,
    storage_domain: &'a str,
    size_bytes: u64,
    data_bytes: u64,
    zero_bytes: u64,
    sent_bytes: u64,
    transport: &'a str,
    fallbacks: &'a [String],
    is_verified: bool,
    seconds: f64,
    map_root: ChunkId,
}

impl<'a> UploadedDocument<'a> {
    pub(super) fn new(disk: &'a Uploaded) -> Self {
        Self {
            disk_id: &disk.id,
            disk_name: &disk.name,
            storage_domain: &disk.storage_domain,
            size_bytes: disk.report.size_bytes(),
            data_bytes: disk.report.data_bytes,
            zero_bytes: disk.report.zero_bytes,
            sent_bytes: disk.sent_bytes,
            transport: &disk.transport,
            fallbacks: &disk.fallbacks,
            is_verified: disk.is_verified,
            seconds: disk.report.duration_ms as f64 / 1000.0,
            map_root: disk.report.map_root,
        }
    }
}

/// What to do when an engine refuses a user.
pub(super) const ADVICE: &str = "check user, password and permissions with `backstop engine test`";

/// The way from a repository to an engine.
pub(super) struct EngineWay {
    engine: Engine,
    abilities: Abilities,
    transfer: TransferSettings,
    restore: RestoreOptions,
}

impl EngineWay {
    /// Finds out what the engine can do.
    pub(super) fn open(run: &Run, config: &EngineConfig, transfer: &TransferArgs) -> Result<Self> {
        let transfer = transfer.settings(config)?;
        let cancel = run.cancel_on_signal()?;
        let restore = RestoreOptions { threads: default_threads(), force: false, cancel };
        let engine = open_engine(run, config)?;
        let abilities = Abilities::ask(&engine).advise(ErrorKind::Denied, ADVICE)?;
        Ok(Self { engine, abilities, transfer, restore })
    }

    pub(super) fn to<'a>(&'a self, repo: &'a Repository) -> Destination<'a> {
        let Self { engine, abilities, transfer, restore } = self;
        Destination { engine, repo, abilities: *abilities, transfer, restore }
    }
}

impl ToVmArgs {
    pub(super) fn run(&self, run: &Run, point: &PointSelector, disk: &str) -> Result<Exit> {
        let config = run.engine_config()?;
        let repo = run.open_repo()?;
        let point = repo.find_point(point)?;
        let disk = find_disk(&point, disk)?;
        tell_what_is_missing(run, &point);
        let way = EngineWay::open(run, &config, &self.transfer)?;
        let restored = restore_disk_to_vm(&way.to(&repo), &point, disk, &self.wanted())
            .advise(ErrorKind::Denied, ADVICE)
            .advise(ErrorKind::NotFound, "see what the engine shows, and name it by an option")
            .advise(ErrorKind::Full, "name another one by --storage-domain, or make room there")
            .advise(ErrorKind::Cancelled, "nothing of the run is left on the engine")?;
        let document = RestoreDocument {
            restore: ToVmDocument {
                point: point.id,
                disk: &disk.name,
                vm: VmDocument { id: &restored.vm_id, name: &restored.vm_name },
                uploaded: UploadedDocument::new(&restored.disk),
            },
        };
        run.answer(&document, &text(&point, disk, &restored, self.activate))?;
        Ok(Exit::Done)
    }

    fn wanted(&self) -> DiskToVm {
        DiskToVm {
            // Clap asks for one of the two targets.
            vm: self.to_vm.clone().unwrap_or_default(),
            name: self.name.clone(),
            storage_domain: self.storage_domain.clone(),
            format: self.format.map(DiskFormat::from),
            interface: self.interface.clone(),
            activate: self.activate,
        }
    }
}

/// What the restore point does not hold of its VM.
pub(super) fn tell_what_is_missing(run: &Run, point: &PointRecord) {
    for left in &point.left_out {
        let name = point_name(point);
        let what = format!("{name} is incomplete: it lacks disk {} ({})", left.name, left.reason);
        run.problem(&Error::new(ErrorKind::Refused, what));
    }
    for warning in point.engine.iter().flat_map(|engine| &engine.warnings) {
        run.problem(&Error::new(ErrorKind::Unsupported, warning.clone()));
    }
}

fn text(
    point: &PointRecord,
    disk: &DiskRecord,
    restored: &RestoredDisk,
    is_active: bool,
) -> String {
    let RestoredDisk { vm_name, disk: new, .. } = restored;
    let report = &new.report;
    let (bytes, millis) = (report.size_bytes(), report.duration_ms);
    let proof = match new.is_verified {
        true => "the host's checksum is that of the restore point",
        false => "not by the host, which computes no checksums",
    };
    let next = match is_active {
        true => String::new(),
        false => {
            format!("\nnext: activate the disk {:?} of VM {vm_name} in the engine\n", new.name)
        }
    };
    let head = format!(
        "restored disk {:?} of {} as disk {:?} of VM {vm_name}\n\n",
        disk.name,
        point_name(point),
        new.name
    );
    let zeros = format!("{}, of which {} are zero", Size(bytes), Size(report.zero_bytes));
    let seconds = millis as f64 / 1000.0;
    head + &fields([
        ("Disk id", new.id.clone()),
        ("Storage domain", new.storage_domain.clone()),
        ("Size", zeros),
        ("Sent", format!("{} ({})", Size(new.sent_bytes), new.transport)),
        ("Verified", proof.to_owned()),
        ("Duration", format!("{seconds:.1} s, {} of disk", Rate { bytes, millis })),
    ]) + &next
}
