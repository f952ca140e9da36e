//! `backstop backup vm`

use std::time::Duration;

use serde::Serialize;

use crate::chunk::CompressionLevel;
use crate::cli::config::EngineConfig;
use crate::cli::duration;
use crate::cli::eligibility::{ChoiceArgs, report_left_out};
use crate::cli::eligibility_document::{FindingDocument, finding_document};
use crate::cli::eligibility_text::text as eligibility_text;
use crate::cli::engine_arg::open_engine;
use crate::cli::exit::Exit;
use crate::cli::failure::{Advise, ErrorDocument, Failure, Result};
use crate::cli::output::{Column, shell_word, table};
use crate::cli::point_document::{
    PointDocument, disk_table, engine_text, point_name, stats_fields,
};
use crate::cli::repo_arg::{Run, default_threads};
use crate::cli::size::Size;
use crate::cli::transfer_arg::TransferArgs;
use crate::error::{Error, ErrorKind};
use crate::format::commit::PointRecord;
use crate::ingest::BackupOptions;
use crate::job::backup_vm::{
    BackupVmOptions, Consistency, NOT_CHOSEN, Outcome, Refusal, Site, VmReport, back_up_vms,
};
use crate::ovirt::backup::abilities::Abilities;
use crate::ovirt::client::Engine;
use crate::ovirt::eligibility::CloudInit;
use crate::ovirt::gather::find_vms;
use crate::ovirt::wire::Vm;

/// Back up VMs of the engine, each as one restore point
///
/// VM is a name, an id, or a search of the engine, which has a `=` in it. What has changed since
/// the last restore point of a VM is read, or everything where that cannot be known; the restore
/// point is complete in both cases. The rules that `backstop eligibility` explains come first: a VM
/// that they refuse is not touched. A VM that fails does not stop the others.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  backstop backup vm web01
  backstop backup vm 'name=web*' db01 --at-once 2 --wait 1h
  backstop backup vm db01 --exclude-disk scratch --consistency required
  backstop backup vm web01 --full --bandwidth 100MiB --json")]
pub(super) struct BackupVmArgs {
    /// Names or ids of VMs, or searches of the engine such as 'name=web*'
    #[arg(required = true, value_name = "VM")]
    vms: Vec<String>,

    #[command(flatten)]
    choice: ChoiceArgs,

    /// Whether the file systems of a running guest are frozen for a moment by its agent
    #[arg(long, value_name = "WHAT", value_enum, default_value_t = ConsistencyWord::Preferred)]
    consistency: ConsistencyWord,

    /// Read everything, changed or not
    #[arg(long)]
    full: bool,

    /// Wait that long for other backups and restores of a VM, as in 30m
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    wait: Option<Duration>,

    /// VMs that are backed up at a time
    #[arg(long, value_name = "N", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=64))]
    at_once: u16,

    #[command(flatten)]
    transfer: TransferArgs,

    /// Keep passwords and keys of the VM's configuration; needs an encrypted repository
    #[arg(long)]
    keep_secrets: bool,

    /// How hard to compress, from -7 (fast) to 19 (small) [default: 1]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    #[arg(value_parser = clap::value_parser!(i32).range(-7..=19))]
    compression_level: Option<i32>,

    /// Threads that compress and store, for each VM [default: one per processor]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: Option<u16>,
}

#[derive(clap::ValueEnum, Debug, Clone, Copy)]
enum ConsistencyWord {
    /// No backup without
    Required,
    /// Where there is an agent
    Preferred,
    /// As after a power failure
    Off,
}

#[derive(Serialize)]
struct BackupVmDocument<'a> {
    vms: Vec<VmDocument<'a>>,
}

#[derive(Serialize)]
struct VmDocument<'a> {
    id: &'a str,
    name: &'a str,
    outcome: &'static str,
    point: Option<PointDocument<'a>>,
    findings: Vec<FindingDocument<'a>>,
    error: Option<ErrorDocument>,
}

pub(super) fn run(run: &Run, args: &BackupVmArgs) -> Result<Exit> {
    let config = run.engine_config()?;
    let repo = run.open_repo()?;
    if args.keep_secrets && !repo.config().is_encrypted() {
        let what = "--keep-secrets needs an encrypted repository, and this one is not: whoever can \
                    read it could read the passwords and keys of the VM";
        return Err(Failure::usage(what));
    }
    let options = options(run, args, &config)?;
    let engine = open_engine(run, &config)?;
    let advice = "check user, password and permissions with `backstop engine test`";
    let vms = named_vms(&engine, &args.vms).advise(ErrorKind::Denied, advice)?;
    let abilities = Abilities::ask(&engine).advise(ErrorKind::Denied, advice)?;
    let site = Site { engine: &engine, repo: &repo, abilities, options: &options };
    let mut reports = back_up_vms(&site, &vms, args.at_once.into());
    let is_one = args.vms.len() == 1 && reports.len() == 1 && !args.vms[0].contains('=');
    if is_one && reports[0].result.is_err() {
        let VmReport { result, .. } = reports.remove(0);
        result.map(drop).advise(
            ErrorKind::Cancelled,
            "what is stored is kept, and nothing of the run is left on the engine",
        )?;
    }
    reports.iter().for_each(|report| tell(run, report));
    let document = BackupVmDocument { vms: reports.iter().map(vm_document).collect() };
    let text = if is_one { text_of_one(&reports[0]) } else { text_of_many(&reports) };
    run.answer(&document, &text)?;
    Ok(exit(&reports))
}

fn options(run: &Run, args: &BackupVmArgs, config: &EngineConfig) -> Result<BackupVmOptions> {
    // Out of range is refused by the parser.
    let level = args.compression_level.and_then(CompressionLevel::new).unwrap_or_default();
    let threads = args.threads.map_or_else(default_threads, usize::from);
    let mut choice = args.choice.choice();
    if args.keep_secrets {
        choice.cloud_init = CloudInit::Keep;
    }
    Ok(BackupVmOptions {
        choice,
        consistency: match args.consistency {
            ConsistencyWord::Required => Consistency::Required,
            ConsistencyWord::Preferred => Consistency::Preferred,
            ConsistencyWord::Off => Consistency::Off,
        },
        full: args.full,
        wait: args.wait.unwrap_or_default(),
        transfer: args.transfer.settings(config)?,
        backup: BackupOptions { level, threads, cancel: run.cancel_on_signal()? },
        sites: config.sites.clone(),
        keep_secrets: args.keep_secrets,
    })
}

/// All VMs that are named, each once.
fn named_vms(engine: &Engine, names: &[String]) -> Result<Vec<Vm>> {
    let mut vms: Vec<Vm> = Vec::new();
    for name in names {
        let advice = "look for the VM in the engine; a user with too few rights does not see it";
        for vm in find_vms(engine, name).advise(ErrorKind::NotFound, advice)? {
            if vms.iter().all(|known| known.id != vm.id) {
                vms.push(vm);
            }
        }
    }
    Ok(vms)
}

/// Disks that are left out and VMs that have no restore point are problems.
fn tell(run: &Run, report: &VmReport) {
    match &report.result {
        Ok(Outcome::Made(point)) => {
            for left in point.left_out.iter().filter(|left| left.reason != NOT_CHOSEN) {
                let VmReport { name, .. } = report;
                let what = format!("VM {name}: disk {} is left out: {}", left.name, left.reason);
                run.problem(&Error::new(ErrorKind::Refused, what));
            }
        }
        Ok(Outcome::Refused(refusal)) => report_left_out(run, &refusal.verdict),
        Err(error) => {
            let what = format!("VM {} is not backed up: {}", report.name, error.chain());
            run.problem(&Error::new(error.kind(), what));
        }
    }
}

fn exit_of(report: &VmReport) -> Exit {
    match &report.result {
        Ok(Outcome::Made(_)) => Exit::Done,
        Ok(Outcome::Refused(_)) => Exit::Refused,
        Err(error) => Exit::of_error(error.kind()),
    }
}

/// The worst that has become of a VM.
fn exit(reports: &[VmReport]) -> Exit {
    let exits: Vec<_> = reports.iter().map(exit_of).collect();
    let order = [Exit::Failed, Exit::Busy, Exit::Refused];
    order.into_iter().find(|exit| exits.contains(exit)).unwrap_or(Exit::Done)
}

fn outcome_word(report: &VmReport) -> &'static str {
    match (&report.result, exit_of(report)) {
        (Ok(Outcome::Made(point)), _) if point.is_incomplete() => "incomplete",
        (Ok(Outcome::Made(_)), _) => "done",
        (Ok(Outcome::Refused(_)), _) => "refused",
        (Err(error), _) if error.kind() == ErrorKind::Cancelled => "cancelled",
        (Err(_), Exit::Busy) => "busy",
        (Err(_), _) => "failed",
    }
}

fn vm_document(report: &VmReport) -> VmDocument<'_> {
    let (point, refusal, error) = match &report.result {
        Ok(Outcome::Made(point)) => (Some(point), None, None),
        Ok(Outcome::Refused(refusal)) => (None, Some(refusal), None),
        Err(error) => (None, None, Some(error)),
    };
    let findings = refusal.map(|refusal| refusal.verdict.findings.as_slice()).unwrap_or_default();
    VmDocument {
        id: &report.vm_id,
        name: &report.name,
        outcome: outcome_word(report),
        point: point.map(|point| PointDocument::new(point)),
        findings: findings.iter().map(finding_document).collect(),
        error: error.map(ErrorDocument::new),
    }
}

fn text_of_one(report: &VmReport) -> String {
    match &report.result {
        Ok(Outcome::Made(point)) => point_text(point),
        Ok(Outcome::Refused(refusal)) => {
            let Refusal { facts, verdict } = &**refusal;
            eligibility_text(facts, verdict)
        }
        Err(_) => String::new(),
    }
}

fn point_text(point: &PointRecord) -> String {
    let name = point_name(point);
    let word = shell_word(&name);
    format!(
        "backed up {name}\n\n{}\n{}{}\nnext: backstop show {word}\n",
        disk_table(&point.disks),
        engine_text(point),
        stats_fields(&point.stats)
    )
}

fn text_of_many(reports: &[VmReport]) -> String {
    use Column::{Left, Right};
    let columns = [
        Left("VM"),
        Left("OUTCOME"),
        Left("RESTORE POINT"),
        Right("SIZE"),
        Right("READ"),
        Right("STORED"),
    ];
    let row = |report: &VmReport| {
        let name = report.name.clone();
        let outcome = outcome_word(report).to_owned();
        let (point, sizes) = match &report.result {
            Ok(Outcome::Made(point)) => (
                point.time.to_string(),
                [point.size_bytes(), point.stats.read_bytes, point.stats.stored_bytes]
                    .map(|bytes| Size(bytes).to_string()),
            ),
            _ => ("-".to_owned(), ["-", "-", "-"].map(ToOwned::to_owned)),
        };
        [vec![name, outcome, point], sizes.to_vec()].concat()
    };
    let refused = reports.iter().filter_map(|report| match &report.result {
        Ok(Outcome::Refused(refusal)) => {
            Some(format!("\n{}", eligibility_text(&refusal.facts, &refusal.verdict)))
        }
        _ => None,
    });
    let refused: String = refused.collect();
    table(&columns, reports.iter().map(row)) + &refused
}
