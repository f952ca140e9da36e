//! Names of objects, ids and times.
#![no_main]

#[path = "../../../tests/support/format_checks.rs"]
#[expect(dead_code, reason = "each target uses a part")]
mod checks;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| checks::names(text));
