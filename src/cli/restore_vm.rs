//! `backstop restore vm`

use serde::Serialize;

use crate::base::id::PointId;
use crate::cli::exit::Exit;
use crate::cli::failure::{Advise, Failure, Result};
use crate::cli::output::{Column, table};
use crate::cli::point_document::point_name;
use crate::cli::repo_arg::Run;
use crate::cli::restore_to_vm::{ADVICE, EngineWay, UploadedDocument, tell_what_is_missing};
use crate::cli::size::Size;
use crate::cli::transfer_arg::TransferArgs;
use crate::error::ErrorKind;
use crate::format::commit::PointRecord;
use crate::job::restore::{RestoredVm, restore_vm};
use crate::ovirt::restore::{Macs, VmWishes};
use crate::point::PointSelector;

/// Restore a restore point as a new VM of the engine
///
/// All disks become new disks, proven by checksums of their hosts; the VM is made from the
/// configuration that was stored with them, and is off in the end. Nothing that the engine has is
/// changed or replaced. What stands in the way is told at once, before anything is made; whatever
/// fails later is taken back.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  backstop restore vm web01@latest --name web01-restored
  backstop restore vm db01@2026-11-23T013000Z --cluster East --storage-domain fast
  backstop restore vm db01@latest --storage-domain old=new --vnic-profile lan=lan-east
  backstop restore vm web01@latest --name drill --vnic-profile ovirtmgmt= --json")]
pub(super) struct RestoreVmArgs {
    /// VM@latest, VM@2026-11-23T013000Z, or a prefix of an id
    point: PointSelector,

    /// Name of the new VM [default: as it was]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    /// Name or id of its cluster [default: as it was]
    #[arg(long, value_name = "CLUSTER")]
    cluster: Option<String>,

    /// Whether its network cards keep their addresses [default: if the old VM is gone]
    #[arg(long, value_name = "WHAT", value_enum)]
    mac: Option<MacWord>,

    /// Another vNIC profile for OLD, which may be NETWORK/PROFILE; none if NEW is empty
    #[arg(long = "vnic-profile", value_name = "OLD=NEW", value_parser = pair)]
    profiles: Vec<(String, String)>,

    /// Another storage domain for disks of OLD; without OLD=, for all others
    #[arg(long = "storage-domain", value_name = "[OLD=]NEW")]
    domains: Vec<String>,

    #[command(flatten)]
    transfer: TransferArgs,
}

#[derive(clap::ValueEnum, Debug, Clone, Copy)]
enum MacWord {
    /// As they were
    Keep,
    /// From the pool of the engine
    New,
}

fn pair(text: &str) -> std::result::Result<(String, String), String> {
    let (old, new) = text.split_once('=').ok_or("write it as OLD=NEW")?;
    match old.is_empty() {
        true => Err("write it as OLD=NEW".to_owned()),
        false => Ok((old.to_owned(), new.to_owned())),
    }
}

#[derive(Serialize)]
struct RestoreDocument<'a> {
    restore: VmDocument<'a>,
}

#[derive(Serialize)]
struct VmDocument<'a> {
    point: PointId,
    vm: NewVmDocument<'a>,
    disks: Vec<DiskDocument<'a>>,
    taken_out: &'a [String],
}

#[derive(Serialize)]
struct NewVmDocument<'a> {
    id: &'a str,
    name: &'a str,
    cluster: &'a str,
    keeps_macs: bool,
}

#[derive(Serialize)]
struct DiskDocument<'a> {
    disk: &'a str,
    #[serde(flatten)]
    uploaded: UploadedDocument<'a>,
}

pub(super) fn run(run: &Run, args: &RestoreVmArgs) -> Result<Exit> {
    let wishes = args.wishes()?;
    let config = run.engine_config()?;
    let repo = run.open_repo()?;
    let point = repo.find_point(&args.point)?;
    tell_what_is_missing(run, &point);
    let way = EngineWay::open(run, &config, &args.transfer)?;
    let restored = restore_vm(&way.to(&repo), &point, &wishes)
        .advise(ErrorKind::Denied, ADVICE)
        .advise(ErrorKind::Refused, "name other places by these options; nothing was changed")
        .advise(
            ErrorKind::Unsupported,
            "make a VM in the engine, and give it the disks by `backstop restore disk --to-vm`",
        )
        .advise(ErrorKind::Full, "name another one by --storage-domain, or make room there")
        .advise(ErrorKind::Cancelled, "nothing of the run is left on the engine")?;
    run.answer(&document(&point, &restored), &text(&point, &restored))?;
    Ok(Exit::Done)
}

impl RestoreVmArgs {
    fn wishes(&self) -> Result<VmWishes> {
        let (mapped, whole): (Vec<_>, Vec<_>) =
            self.domains.iter().partition(|given| given.contains('='));
        let domains = mapped.into_iter().map(|given| pair(given).map_err(Failure::usage));
        if whole.len() > 1 {
            return Err(Failure::usage("--storage-domain names two storage domains for all disks"));
        }
        Ok(VmWishes {
            name: self.name.clone(),
            cluster: self.cluster.clone(),
            macs: match self.mac {
                None => Macs::IfFree,
                Some(MacWord::Keep) => Macs::Keep,
                Some(MacWord::New) => Macs::New,
            },
            profiles: self.profiles.clone(),
            domains: domains.collect::<Result<_>>()?,
            domain: whole.first().map(|name| (*name).clone()),
        })
    }
}

fn document<'a>(point: &'a PointRecord, restored: &'a RestoredVm) -> RestoreDocument<'a> {
    let disks = point.disks.iter().zip(&restored.disks);
    let disks = disks.map(|(disk, uploaded)| DiskDocument {
        disk: &disk.name,
        uploaded: UploadedDocument::new(uploaded),
    });
    RestoreDocument {
        restore: VmDocument {
            point: point.id,
            vm: NewVmDocument {
                id: &restored.id,
                name: &restored.name,
                cluster: &restored.cluster,
                keeps_macs: restored.keeps_macs,
            },
            disks: disks.collect(),
            taken_out: &restored.taken_out,
        },
    }
}

fn text(point: &PointRecord, restored: &RestoredVm) -> String {
    use Column::{Left, Right};
    let columns = [
        Left("DISK"),
        Right("SIZE"),
        Right("SENT"),
        Left("STORAGE DOMAIN"),
        Left("VERIFIED"),
        Left("ID"),
    ];
    let row = |disk: &crate::job::restore::Uploaded| {
        let verified = if disk.is_verified { "by checksum" } else { "not by the host" };
        vec![
            disk.name.clone(),
            Size(disk.report.size_bytes()).to_string(),
            Size(disk.sent_bytes).to_string(),
            disk.storage_domain.clone(),
            verified.to_owned(),
            disk.id.clone(),
        ]
    };
    let macs = if restored.keeps_macs { "kept" } else { "new" };
    let taken_out = match restored.taken_out.is_empty() {
        true => String::new(),
        false => format!(
            "\nnot restored, because it is not stored: {}; set it again in the engine\n",
            restored.taken_out.join(", ")
        ),
    };
    format!(
        "restored {} as VM {} (id {}) in cluster {}; addresses of network cards: {macs}\n\n\
         {}{taken_out}\nnext: start the VM in the engine\n",
        point_name(point),
        restored.name,
        restored.id,
        restored.cluster,
        table(&columns, restored.disks.iter().map(row)),
    )
}
