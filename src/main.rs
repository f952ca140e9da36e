//! The `backstop` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    backstop::cli::run(std::env::args_os())
}
