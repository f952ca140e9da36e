//! Catalogues of commits: any bytes, and any header, rows and commits under a right checksum.
#![no_main]

#[path = "../../../tests/support/format_checks.rs"]
#[expect(dead_code, reason = "each target uses a part")]
mod checks;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    checks::catalogue(bytes);
    let mut sealed = bytes.to_vec();
    checks::reseal_catalogue(&mut sealed);
    checks::catalogue(&sealed);
});
