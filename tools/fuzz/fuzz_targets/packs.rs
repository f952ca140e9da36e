//! Heads of entries, and packs: any bytes, and any header and table under a right checksum.
#![no_main]

#[path = "../../../tests/support/format_checks.rs"]
#[expect(dead_code, reason = "each target uses a part")]
mod checks;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    checks::entry_head(bytes);
    checks::pack(bytes);
    let mut sealed = bytes.to_vec();
    checks::reseal_pack(&mut sealed);
    checks::pack(&sealed);
});
