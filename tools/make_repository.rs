//! Makes a synthetic repository: see `tools/make-repository`.

#[path = "../tests/support/synthetic/mod.rs"]
mod synthetic;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use synthetic::{Numbers, make};

const USAGE: &str =
    "usage: make-repository DIRECTORY [--chunks N] [--points N] [--vms N] [--packs]";

fn main() -> ExitCode {
    let Some((root, numbers)) = arguments(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let began = Instant::now();
    match make(&root, numbers) {
        Ok(_) => {
            let seconds = began.elapsed().as_secs_f64();
            println!("{}: {numbers:?}, in {seconds:.1} s", root.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("make-repository: {}", error.chain());
            ExitCode::FAILURE
        }
    }
}

/// The directory and the numbers; none if they make no sense.
fn arguments(mut given: impl Iterator<Item = String>) -> Option<(PathBuf, Numbers)> {
    let mut root = None;
    let mut numbers = Numbers { chunks: 1_000_000, points: 100, vms: 10, has_packs: false };
    while let Some(argument) = given.next() {
        let mut number = || given.next()?.parse().ok().filter(|number: &u64| *number > 0);
        match argument.as_str() {
            "--chunks" => numbers.chunks = number()?,
            "--points" => numbers.points = number()?,
            "--vms" => numbers.vms = number()?,
            "--packs" => numbers.has_packs = true,
            path if !path.starts_with('-') && root.is_none() => root = Some(PathBuf::from(path)),
            _ => return None,
        }
    }
    let is_even = numbers.points.is_multiple_of(numbers.vms);
    root.filter(|_| is_even).map(|root| (root, numbers))
}
