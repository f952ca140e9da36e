//! `backstop scrub`

use crate::cli::exit::Exit;
use crate::cli::failure::Result;
use crate::cli::repo_arg::{Run, default_threads};
use crate::cli::scrub_document::ScrubDocument;
use crate::cli::scrub_text;
use crate::scrub::{ScrubLevel, ScrubOptions, scrub};

/// Check that everything stored is as it was stored
///
/// Reads, and reports what is damaged and which disks of which restore points it reaches. Deletes
/// nothing. What is damaged is written down, and the next backup that meets the same bytes stores
/// them again. Exits with 3 if anything is damaged.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Levels, each with what those before it do:
  list    small objects, and the lists of packs, index and restore points against each other
  hash    the bytes of every pack against its name
  chunks  every chunk decoded and hashed
  points  every restore point proven readable, chunk by chunk

Examples:
  backstop scrub
  backstop scrub --level list
  backstop scrub --level points --json | jq '.scrub.affected'")]
pub(super) struct ScrubArgs {
    /// How deep to look: list, hash, chunks or points
    #[arg(long, value_name = "LEVEL", default_value_t, value_parser = parse_level)]
    level: ScrubLevel,

    /// Threads that read and check packs [default: one per processor]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: Option<u16>,
}

fn parse_level(typed: &str) -> crate::error::Result<ScrubLevel> {
    typed.parse()
}

pub(super) fn run(run: &Run, args: &ScrubArgs) -> Result<Exit> {
    let repo = run.open_repo()?;
    let threads = args.threads.map_or_else(default_threads, usize::from);
    let options = ScrubOptions { level: args.level, threads, cancel: run.cancel_on_signal()? };
    let report = scrub(&repo, &options)?;
    run.answer(&ScrubDocument::new(&report), &scrub_text::text(&report))?;
    Ok(match report.is_clean() {
        true => Exit::Done,
        false => Exit::Problems,
    })
}
