//! Envelopes: any bytes, and any payload in a right envelope of every kind.
#![no_main]

#[path = "../../../tests/support/format_checks.rs"]
#[expect(dead_code, reason = "each target uses a part")]
mod checks;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for (kind, check) in checks::SMALL {
        check(bytes);
        check(&checks::seal(kind, bytes));
    }
});
