//! `backstop eligibility`

use crate::cli::eligibility_document::EligibilityDocument;
use crate::cli::eligibility_text::text;
use crate::cli::engine_arg::open_engine;
use crate::cli::exit::Exit;
use crate::cli::failure::{Advise, Result};
use crate::cli::repo_arg::Run;
use crate::error::{Error, ErrorKind};
use crate::ovirt::client::Engine;
use crate::ovirt::eligibility::{Choice, CloudInit, Effect, ObjectKind, Verdict, evaluate};
use crate::ovirt::facts::OwnSession;
use crate::ovirt::gather::{self, facts, find_vm};
use crate::ovirt::wire::Vm;

/// Say whether a VM can be backed up, and if not, why
///
/// Asks the engine of the configuration and changes nothing there. Applies all rules and shows
/// everything they find, each with the engine's word that decided and a remedy. With a repository,
/// sessions that have the VM count as well.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  backstop eligibility web01
  backstop eligibility web01 --exclude-disk scratch --cloud-init redact
  backstop eligibility web01 --json | jq -r '.findings[].remedy'")]
pub(super) struct EligibilityArgs {
    /// Name or id of the VM in the engine
    vm: String,
    #[command(flatten)]
    choice: ChoiceArgs,
}

/// Which disks are wanted, and what may be missing.
#[derive(clap::Args, Debug)]
pub(super) struct ChoiceArgs {
    /// Only this disk, by name or id; may be repeated
    #[arg(long, value_name = "DISK", conflicts_with = "exclude_disk")]
    disk: Vec<String>,

    /// All disks but this, by name or id; may be repeated
    #[arg(long, value_name = "DISK")]
    exclude_disk: Vec<String>,

    /// Leave out disks that can never be backed up as they are
    #[arg(long)]
    skip_ineligible: bool,

    /// What becomes of a cloud-init script, which may hold passwords
    #[arg(long, value_name = "WHAT", value_enum, default_value_t = CloudInitWord::Refuse)]
    cloud_init: CloudInitWord,
}

#[derive(clap::ValueEnum, Debug, Clone, Copy)]
enum CloudInitWord {
    /// A VM that has one is refused
    Refuse,
    /// It is left out of what is stored
    Redact,
}

impl ChoiceArgs {
    pub(super) fn choice(&self) -> Choice {
        Choice {
            only: self.disk.clone(),
            except: self.exclude_disk.clone(),
            skip_ineligible: self.skip_ineligible,
            cloud_init: match self.cloud_init {
                CloudInitWord::Refuse => CloudInit::Refuse,
                CloudInitWord::Redact => CloudInit::Redact,
            },
        }
    }
}

pub(super) fn run(run: &Run, args: &EligibilityArgs) -> Result<Exit> {
    let engine = open_engine(run, &run.engine_config()?)?;
    let advice = "check user, password and permissions with `backstop engine test`";
    let vm = named_vm(&engine, &args.vm).advise(ErrorKind::Denied, advice)?;
    let own = own_sessions(run, &vm.name)?;
    let facts = facts(&engine, vm, own).advise(ErrorKind::Denied, advice)?;
    let advice = "`backstop eligibility VM` without choosing disks shows all of them";
    let verdict = evaluate(&facts, &args.choice.choice()).advise(ErrorKind::NotFound, advice)?;
    report_left_out(run, &verdict);
    let document = EligibilityDocument::new(&facts, &verdict);
    run.answer(&document, &text(&facts, &verdict))?;
    Ok(if verdict.is_eligible() { Exit::Done } else { Exit::Refused })
}

fn named_vm(engine: &Engine, name: &str) -> Result<Vm> {
    let advice = "look for the VM in the engine; a user with too few rights does not see it";
    find_vm(engine, name).advise(ErrorKind::NotFound, advice)
}

/// Our own sessions that have the VM, if there is a repository to look into.
fn own_sessions(run: &Run, vm: &str) -> Result<Vec<OwnSession>> {
    if !run.has_repo() {
        return Ok(Vec::new());
    }
    Ok(gather::own_sessions(&run.open_repo()?, vm)?)
}

/// A disk that would be missing is a problem, once.
pub(super) fn report_left_out(run: &Run, verdict: &Verdict) {
    let left_out = verdict.findings.iter().filter(|finding| {
        finding.effect == Effect::LeavesOut && finding.object.kind == ObjectKind::Disk
    });
    for finding in left_out {
        let (attribute, value) = (finding.attribute, &finding.value);
        let what = format!("{} is left out: {attribute} is {value}", finding.object);
        run.problem(&Error::new(ErrorKind::Refused, what));
    }
}
