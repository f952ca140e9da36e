//! Damage on the medium: EIO where it lies, one line that names it, and nothing else.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use backstop::base::limits::SLICE_BYTES;

use crate::Place;
use crate::repo::{MIB, disk_input, noise};
use crate::run::attempt;

/// The files below a directory, by their lengths.
fn files_by_len(dir: &Path, found: &mut BTreeMap<u64, PathBuf>) {
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            files_by_len(&entry.path(), found);
        } else {
            found.insert(entry.metadata().unwrap().len(), entry.path());
        }
    }
}

/// Flips a bit of the largest pack where `part` of a disk is stored as it is.
fn damage(place: &Place, part: &[u8]) {
    let mut packs = BTreeMap::new();
    files_by_len(&place.path("repo/packs"), &mut packs);
    let (_, pack) = packs.pop_last().unwrap();
    let mut bytes = fs::read(&pack).unwrap();
    let at = bytes.windows(part.len()).position(|window| window == part).unwrap();
    bytes[at] ^= 1;
    fs::remove_file(&pack).unwrap();
    fs::write(&pack, bytes).unwrap();
}

#[test]
fn damage_is_eio_with_one_line_and_other_bytes_are_unaffected() {
    if crate::repo::is_encrypted() {
        let test = "damage_is_eio_with_one_line_and_other_bytes_are_unaffected";
        return crate::skip::skip(test, "bytes of a disk cannot be found in a sealed pack");
    }
    let Some(place) = Place::new("damage_is_eio_with_one_line_and_other_bytes_are_unaffected")
    else {
        return;
    };
    let bytes = noise(12 * MIB, 1);
    let point = place.back_up("vm one", vec![disk_input("sda", &bytes)]);
    place.back_up("other", vec![disk_input("sda", &noise(MIB, 2))]);
    let bad = 7 * MIB + 300_000;
    damage(&place, &bytes[bad..bad + 64]);
    let server = place.mount();
    let disk = server.path("vms/vm one/latest/sda.raw");
    assert_eq!(fs::read(&disk).unwrap_err().raw_os_error(), Some(libc::EIO));
    // The slice that holds the bad byte fails, and no page beside it.
    let start = bad / SLICE_BYTES * SLICE_BYTES;
    let slice = start..start + SLICE_BYTES;
    let file = File::open(&disk).unwrap();
    for offset in (0..bytes.len()).step_by(4096) {
        let mut page = [0; 4096];
        match file.read_exact_at(&mut page, offset as u64) {
            Ok(()) => assert!(page == bytes[offset..offset + 4096], "byte {offset}"),
            Err(error) => {
                assert_eq!(error.raw_os_error(), Some(libc::EIO));
                assert!(slice.contains(&offset), "byte {offset}");
            }
        }
    }
    let out = place.path("rescued");
    let args = [format!("if={}", disk.display()), format!("of={}", out.display())];
    let options = ["bs=4096", "conv=noerror,sync", "status=none"].map(str::to_owned);
    attempt("dd", args.into_iter().chain(options));
    assert!(fs::read(out).unwrap()[slice.end..] == bytes[slice.end..]);
    assert!(fs::read(server.path("vms/other/latest/sda.raw")).unwrap() == noise(MIB, 2));
    let problems = server.problems();
    assert_eq!(problems.len(), 1, "{problems:#?}");
    let time = point.time.to_string();
    for word in ["\"vm one\"", &time, "\"sda\"", "at byte 7340032", "chunk ", "packs/"] {
        assert!(problems[0].contains(word), "{word} in {problems:?}");
    }
}
