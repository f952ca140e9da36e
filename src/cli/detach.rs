//! `backstop detach`

use serde::Serialize;

use crate::attach::{Attachment, Registry, detach};
use crate::cli::attachments::{AttachmentDocument, clear, is_called, registry};
use crate::cli::exit::Exit;
use crate::cli::failure::{Advise, Failure, Result};
use crate::cli::repo_arg::Run;
use crate::error::{Error, ErrorKind};

/// End what `attach` has begun
///
/// What was written to the disk is handed down first. A device that is mounted, or open in some
/// program, and a server that clients are connected to, is left alone, and the message says who
/// that is. What killed processes have left is cleared on the way.
#[derive(clap::Args, Debug)]
#[command(group = clap::ArgGroup::new("which").required(true).args(["device", "all"]))]
#[command(after_help = "\
Examples:
  backstop detach /dev/loop3
  backstop detach --all
  backstop detach --all --json")]
pub(super) struct DetachArgs {
    /// The device or address that `attach` has printed
    device: Option<String>,

    /// Everything that this user has attached
    #[arg(long)]
    all: bool,
}

#[derive(Serialize)]
struct DetachDocument {
    detached: Vec<AttachmentDocument>,
}

pub(super) fn run(run: &Run, args: &DetachArgs) -> Result<Exit> {
    let registry = registry();
    let attachments = registry.list()?;
    let called = |typed: &String| {
        let found = attachments.iter().find(|attachment| is_called(attachment, typed));
        found.ok_or_else(|| not_attached(typed))
    };
    let mut detached = match &args.device {
        Some(typed) => {
            let attachment = called(typed)?;
            end(&registry, attachment)?;
            vec![attachment.clone()]
        }
        None => end_all(run, &registry, &attachments)?,
    };
    detached.extend(clear(run, &registry)?);
    let documents = detached.iter().map(AttachmentDocument::new).collect();
    run.answer(&DetachDocument { detached: documents }, &text(&detached))?;
    Ok(Exit::Done)
}

/// One that cannot be ended does not keep the others.
fn end_all(run: &Run, registry: &Registry, all: &[Attachment]) -> Result<Vec<Attachment>> {
    let (mut detached, mut kept) = (Vec::new(), None);
    for attachment in all.iter().filter(|attachment| attachment.is_alive) {
        match end(registry, attachment) {
            Ok(()) => detached.push(attachment.clone()),
            Err(failure) if kept.is_none() => kept = Some(failure),
            Err(Failure::Work { error, .. }) => run.problem(&error),
            Err(failure @ Failure::Usage(_)) => return Err(failure),
        }
    }
    kept.map_or(Ok(detached), Err)
}

fn end(registry: &Registry, attachment: &Attachment) -> Result<()> {
    detach(registry, attachment).advise(
        ErrorKind::Busy,
        "unmount it, or end the programs that have it open or connect to it, and try again",
    )
}

fn not_attached(typed: &str) -> Failure {
    let what = format!("nothing is attached as {typed:?}");
    let hint = Some("`backstop attach --list` says what is".to_owned());
    Failure::Work { error: Error::new(ErrorKind::NotFound, what), hint }
}

fn text(detached: &[Attachment]) -> String {
    if detached.is_empty() {
        return "nothing was attached\n".into();
    }
    let line = |attachment: &Attachment| match (&attachment.facts, attachment.is_alive) {
        (Some(facts), true) => format!("detached {}\n", facts.place.name()),
        (Some(facts), false) => {
            format!("cleared what a killed process had left of {}\n", facts.place.name())
        }
        (None, _) => "cleared what a killed process had left\n".to_owned(),
    };
    detached.iter().map(line).collect()
}
