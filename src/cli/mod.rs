//! The command line: one file per command, and what they share.
//!
//! Nothing here decides anything about backups. What is typed becomes options of the library in
//! functions without side effects; answers go to stdout, everything else to stderr.

mod attach;
mod attach_loop;
mod attach_nbd;
mod attachments;
mod background;
mod backup_image;
mod backup_vm;
mod config;
mod detach;
mod doctor;
mod duration;
mod eligibility;
mod eligibility_document;
mod eligibility_text;
mod engine_arg;
mod engine_test;
mod engine_trust;
pub mod exit;
mod failure;
mod forget;
mod hint;
mod hold;
mod init;
mod key;
mod list;
mod logger;
mod mount;
mod mount_helper;
mod notify;
mod output;
mod password;
mod point_document;
mod prompt;
mod prune;
mod rebuild_index;
mod repair;
mod repo_arg;
mod restore_disk;
mod restore_to_vm;
mod restore_vm;
mod scrub;
mod scrub_document;
mod scrub_text;
mod secret_arg;
mod show;
mod signals;
mod size;
mod stats;
mod stdin;
mod sys;
mod terminal;
mod transfer_arg;
mod trust_file;
mod writable_arg;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::cli::exit::Exit;
use crate::cli::failure::{Failure, Result};
use crate::cli::repo_arg::{GlobalArgs, Run};
use crate::cli::terminal::say;

/// Back up disks of virtual machines, every distinct piece once
///
/// A repository holds restore points: the disks of one VM at one moment. Every restore point is
/// complete by itself, every read of it is verified, and a new one costs only what is new.
#[derive(Parser, Debug)]
#[command(name = "backstop", version, arg_required_else_help = true, after_help = EXAMPLES)]
#[command(subcommand_required = true, infer_long_args = false, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    global: GlobalArgs,
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  backstop -r /backup/vms init
  export BACKSTOP_REPO=/backup/vms
  backstop backup image --vm web /var/lib/libvirt/images/web.qcow2
  backstop list
  backstop restore disk web@latest web /tmp/web.raw";

#[derive(Subcommand, Debug)]
enum Command {
    Init(init::InitArgs),
    #[command(subcommand)]
    Backup(BackupCommand),
    Eligibility(eligibility::EligibilityArgs),
    List(list::ListArgs),
    Show(show::ShowArgs),
    Mount(mount::MountArgs),
    Attach(attach::AttachArgs),
    Detach(detach::DetachArgs),
    #[command(subcommand)]
    Restore(RestoreCommand),
    Forget(forget::ForgetArgs),
    Hold(hold::HoldArgs),
    Unhold(hold::UnholdArgs),
    Prune(prune::PruneArgs),
    Scrub(scrub::ScrubArgs),
    Repair(repair::RepairArgs),
    RebuildIndex(rebuild_index::RebuildIndexArgs),
    Stats(stats::StatsArgs),
    Doctor(doctor::DoctorArgs),
    #[command(subcommand)]
    Key(KeyCommand),
    #[command(subcommand)]
    Engine(EngineCommand),
}

/// Make a restore point
#[derive(Subcommand, Debug)]
enum BackupCommand {
    Image(backup_image::BackupImageArgs),
    Vm(backup_vm::BackupVmArgs),
}

/// See to what opens an encrypted repository
#[derive(Subcommand, Debug)]
enum KeyCommand {
    Add(key::KeyAddArgs),
    Remove(key::KeyRemoveArgs),
    Passwd(key::KeyPasswdArgs),
    List(key::KeyListArgs),
    Test(key::KeyTestArgs),
    ExportRecovery(key::KeyExportArgs),
    Rotate(key::KeyRotateArgs),
}

/// See to the way to the engine
#[derive(Subcommand, Debug)]
enum EngineCommand {
    Trust(engine_trust::EngineTrustArgs),
    Test(engine_test::EngineTestArgs),
}

/// Bring back what a restore point holds
#[derive(Subcommand, Debug)]
enum RestoreCommand {
    Disk(restore_disk::RestoreDiskArgs),
    Vm(restore_vm::RestoreVmArgs),
}

/// Runs the program with these arguments, the first of which is its own name.
#[must_use]
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    sys::restrict_new_files();
    let typed: Vec<_> = args.into_iter().collect();
    let typed = mount_helper::translate(&typed).unwrap_or(typed);
    match Cli::try_parse_from(&typed) {
        Ok(cli) => execute(cli).into(),
        Err(error) => explain(&typed, &error).into(),
    }
}

/// The definition of the command line, for whoever documents or tests it.
#[must_use]
pub fn definition() -> clap::Command {
    Cli::command()
}

fn execute(cli: Cli) -> Exit {
    logger::install(cli.global.verbose);
    let run = Run::new(cli.global);
    let ended = dispatch(&run, &cli.command);
    run.terminal().clear();
    match ended {
        Ok(exit) => run.exit(exit),
        Err(failure) => report(&failure, run.is_json() && !run.has_answered()),
    }
}

fn dispatch(run: &Run, command: &Command) -> Result<Exit> {
    match command {
        Command::Init(args) => init::run(run, args),
        Command::Backup(BackupCommand::Image(args)) => backup_image::run(run, args),
        Command::Backup(BackupCommand::Vm(args)) => backup_vm::run(run, args),
        Command::Eligibility(args) => eligibility::run(run, args),
        Command::Key(command) => dispatch_key(run, command),
        Command::Engine(EngineCommand::Trust(args)) => engine_trust::run(run, args),
        Command::Engine(EngineCommand::Test(args)) => engine_test::run(run, args),
        Command::List(args) => list::run(run, args),
        Command::Show(args) => show::run(run, args),
        Command::Mount(args) => mount::run(run, args),
        Command::Attach(args) => attach::run(run, args),
        Command::Detach(args) => detach::run(run, args),
        Command::Restore(RestoreCommand::Disk(args)) => restore_disk::run(run, args),
        Command::Restore(RestoreCommand::Vm(args)) => restore_vm::run(run, args),
        Command::Forget(args) => forget::run(run, args),
        Command::Hold(args) => hold::run(run, args),
        Command::Unhold(args) => hold::run_unhold(run, args),
        Command::Prune(args) => prune::run(run, args),
        Command::Scrub(args) => scrub::run(run, args),
        Command::Repair(args) => repair::run(run, args),
        Command::RebuildIndex(args) => rebuild_index::run(run, args),
        Command::Stats(args) => stats::run(run, args),
        Command::Doctor(args) => doctor::run(run, args),
    }
}

fn dispatch_key(run: &Run, command: &KeyCommand) -> Result<Exit> {
    match command {
        KeyCommand::Add(args) => key::add(run, args),
        KeyCommand::Remove(args) => key::remove(run, args),
        KeyCommand::Passwd(args) => key::passwd(run, args),
        KeyCommand::List(args) => key::list(run, args),
        KeyCommand::Test(args) => key::test(run, args),
        KeyCommand::ExportRecovery(args) => key::export_recovery(run, args),
        KeyCommand::Rotate(args) => key::rotate(run, args),
    }
}

/// Tells people on stderr, and scripts on stdout, that a command did not do what it was asked to.
fn report(failure: &Failure, is_json: bool) -> Exit {
    say(&failure.to_string());
    if is_json {
        // There is nobody left to tell that even this failed.
        let _ = output::print_json(&failure.document());
    }
    failure.exit()
}

/// Ends a run whose command line asks for help or makes no sense.
fn explain(typed: &[OsString], error: &clap::Error) -> Exit {
    // A reader that went away has seen enough.
    let _ = error.print();
    if !error.use_stderr() {
        return Exit::Done;
    }
    let is_json = typed.iter().take_while(|arg| *arg != "--").any(|arg| arg == "--json");
    if is_json {
        let text = error.render().to_string();
        let what = text.lines().next().unwrap_or_default();
        let failure = Failure::usage(what.trim_start_matches("error: "));
        let _ = output::print_json(&failure.document());
    }
    Exit::Usage
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_line_definition_is_consistent() {
        definition().debug_assert();
    }
}
