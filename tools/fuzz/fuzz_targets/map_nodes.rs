//! Nodes of disk maps.
#![no_main]

#[path = "../../../tests/support/format_checks.rs"]
#[expect(dead_code, reason = "each target uses a part")]
mod checks;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| checks::map_node(bytes));
