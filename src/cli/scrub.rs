//! `backstop scrub`

use crate::cli::exit::Exit;
use crate::cli::failure::{Failure, Result};
use crate::cli::repo_arg::{Run, default_threads};
use crate::cli::scrub_document::ScrubDocument;
use crate::cli::scrub_text;
use crate::repo::read_config;
use crate::scrub::{ScrubLevel, ScrubOptions, ScrubReport, scrub, scrub_without_keys};
use crate::store::DirStore;

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
  backstop scrub --without-keys
  backstop scrub --level points --json | jq '.scrub.affected'")]
pub(super) struct ScrubArgs {
    /// How deep to look: list, hash, chunks or points [default: chunks]
    #[arg(long, value_name = "LEVEL", value_parser = parse_level)]
    level: Option<ScrubLevel>,

    /// Check an encrypted repository without its keys, at the level hash: finds every changed
    /// byte, and cannot tell which disks it hits. Writes nothing down
    #[arg(long)]
    without_keys: bool,

    /// Threads that read and check packs [default: one per processor]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: Option<u16>,
}

fn parse_level(typed: &str) -> crate::error::Result<ScrubLevel> {
    typed.parse()
}

pub(super) fn run(run: &Run, args: &ScrubArgs) -> Result<Exit> {
    let threads = args.threads.map_or_else(default_threads, usize::from);
    let level = args.level.unwrap_or_default();
    let options = ScrubOptions { level, threads, cancel: run.cancel_on_signal()? };
    let report = match args.without_keys {
        true => without_keys(run, args, &options)?,
        false => scrub(&run.open_repo()?, &options)?,
    };
    run.answer(&ScrubDocument::new(&report), &scrub_text::text(&report))?;
    Ok(match report.is_clean() {
        true => Exit::Done,
        false => Exit::Problems,
    })
}

fn without_keys(run: &Run, args: &ScrubArgs, options: &ScrubOptions) -> Result<ScrubReport> {
    if args.level.is_some_and(|level| level != ScrubLevel::Hash) {
        return Err(Failure::usage("without keys the level is hash, and no other"));
    }
    let store = DirStore::open(run.repo_path()?)?;
    let environment = run.environment();
    let config = read_config(&store, &environment)?;
    if !config.is_encrypted() {
        return Err(Failure::usage("the repository is not encrypted: scrub it without the option"));
    }
    Ok(scrub_without_keys(&store, &config, &*environment.monitor, options)?)
}
