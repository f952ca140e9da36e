//! Index segments: entries, and footers with the length that they imply and another.
#![no_main]

#[path = "../../../tests/support/format_checks.rs"]
#[expect(dead_code, reason = "each target uses a part")]
mod checks;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    checks::index_entry(bytes);
    checks::segment_footer(bytes);
});
