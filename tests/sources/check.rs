//! A source must read what the disk holds: in a row, in pieces, by several threads.

use std::path::Path;

use backstop::ingest::open::{Backing, OpenedImage, open_image};
use backstop::ingest::source::{ExtentKind, ImageSource};

/// Opens an image with all that it needs.
pub(crate) fn open(path: &Path) -> OpenedImage {
    open_image(path, None, Backing::Follow).unwrap_or_else(|error| panic!("{error:?}"))
}

/// Checks everything about a source; returns how many bytes it says are zero.
pub(crate) fn check_source(source: &dyn ImageSource, disk: &[u8]) -> u64 {
    assert_eq!(source.size_bytes(), disk.len() as u64);
    let zero_bytes = check_extents(source, disk);
    for piece in [1 << 20, 64 << 10, 5000] {
        check_in_a_row(source, disk, piece);
    }
    check_scattered(source, disk);
    source.finish().unwrap();
    zero_bytes
}

fn check_extents(source: &dyn ImageSource, disk: &[u8]) -> u64 {
    let mut at = 0;
    let mut zero_bytes = 0;
    while at < disk.len() {
        let extent = source.extent_at(at as u64).unwrap();
        assert!(extent.len_bytes > 0, "an empty extent at {at}");
        let end = at + extent.len_bytes as usize;
        assert!(end <= disk.len(), "an extent from {at} to {end} leaves the disk");
        if extent.kind == ExtentKind::Zero {
            assert!(disk[at..end].iter().all(|byte| *byte == 0), "data in the zeros at {at}");
            zero_bytes += extent.len_bytes;
        }
        at = end;
    }
    zero_bytes
}

fn check_in_a_row(source: &dyn ImageSource, disk: &[u8], piece: usize) {
    let mut out = vec![0xa5; piece];
    for (number, expected) in disk.chunks(piece).enumerate() {
        let out = &mut out[..expected.len()];
        source.read_at((number * piece) as u64, out).unwrap();
        assert!(out == expected, "piece {number} of {piece} bytes differs");
    }
}

fn check_scattered(source: &dyn ImageSource, disk: &[u8]) {
    std::thread::scope(|scope| {
        for seed in 1..=4_u64 {
            scope.spawn(move || read_scattered(source, disk, seed));
        }
    });
}

fn read_scattered(source: &dyn ImageSource, disk: &[u8], seed: u64) {
    let mut state = seed;
    let mut below = |limit: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as usize % limit.max(1)
    };
    let mut out = vec![0; 150_000];
    for _ in 0..60 {
        let at = below(disk.len());
        let len = below((disk.len() - at).min(out.len())) + usize::from(!disk.is_empty());
        source.read_at(at as u64, &mut out[..len]).unwrap();
        assert!(out[..len] == disk[at..at + len], "{len} bytes at {at} differ");
        if at < disk.len() {
            let extent = source.extent_at(at as u64).unwrap();
            let end = at + (extent.len_bytes as usize).min(100_000);
            let zero = disk[at..end].iter().all(|byte| *byte == 0);
            assert!(zero || extent.kind == ExtentKind::Data, "data in the zeros at {at}");
        }
    }
}
