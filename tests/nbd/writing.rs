//! Disks that are written over NBD.

use std::fs;

use backstop::vfs::Access;
use proptest::prelude::*;

use crate::bench::{Bench, disk_bytes};
use crate::client::{
    BLOCK_STATUS, Client, FAST_ZERO, FLUSH, FUA, NO_HOLE, Part, TRIM, WRITE_ZEROES, Wish,
};
use crate::repo::{MIB, noise};

const DONE: [Part; 1] = [Part::None];

#[derive(Debug, Clone)]
enum Change {
    Write(u8),
    Zero,
    ZeroKept,
    Trim,
    Flush,
}

fn changes() -> impl Strategy<Value = Vec<(usize, usize, Change)>> {
    let size = disk_bytes().len();
    let change = prop_oneof![
        4 => (1u8..).prop_map(Change::Write),
        1 => Just(Change::Zero),
        1 => Just(Change::ZeroKept),
        1 => Just(Change::Trim),
        1 => Just(Change::Flush),
    ];
    let one = (0..size, prop_oneof![1usize..5000, 1usize..3 * MIB], change);
    prop::collection::vec(one, 1..20)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn what_is_written_over_several_connections_reads_as_the_model(changes in changes()) {
        let bench = Bench::new();
        let server = bench.serve_writable();
        let mut clients = [0; 3].map(|_| Client::connect(&bench.socket(), Wish::Structured));
        let mut model = bench.bytes.clone();
        let size = model.len();
        for (step, (at, len, change)) in changes.into_iter().enumerate() {
            let len = len.min(size - at);
            let client = &mut clients[step % 3];
            let (offset, count) = (at as u64, len as u32);
            let done = match change {
                Change::Write(byte) => {
                    model[at..at + len].fill(byte);
                    client.write(if byte % 2 == 0 { FUA } else { 0 }, offset, &vec![byte; len])
                }
                Change::Zero => {
                    model[at..at + len].fill(0);
                    client.ask(0, WRITE_ZEROES, offset, count)
                }
                Change::ZeroKept => {
                    model[at..at + len].fill(0);
                    client.ask(NO_HOLE, WRITE_ZEROES, offset, count)
                }
                Change::Trim => {
                    let end = if at + len == size { size } else { (at + len) / 4096 * 4096 };
                    let start = at.next_multiple_of(4096).min(end);
                    model[start..end].fill(0);
                    client.ask(0, TRIM, offset, count)
                }
                Change::Flush => client.ask(0, FLUSH, 0, 0),
            };
            prop_assert_eq!(done, DONE.to_vec());
            let reader = &mut clients[(step + 1) % 3];
            let found = reader.read(offset, count).unwrap();
            prop_assert!(found == model[at..at + len], "step {}", step);
        }
        // A server that ends in order leaves everything durable.
        drop(server);
        let server = bench.serve_writable();
        let mut again = Client::connect(&bench.socket(), Wish::Structured);
        prop_assert!(again.read(0, size as u32).unwrap() == model);
        drop(server);
    }
}

#[test]
fn zeros_become_a_hole_and_fast_ones_are_fast() {
    let bench = Bench::new();
    let _server = bench.serve_writable();
    let mut client = Client::connect(&bench.socket(), Wish::Allocation);
    let mib = MIB as u32;
    assert_eq!(client.ask(FAST_ZERO, WRITE_ZEROES, 0, mib), DONE);
    assert_eq!(client.ask(0, BLOCK_STATUS, 0, 2 * mib), [Part::Status(vec![(mib, 3), (mib, 0)])]);
    assert_eq!(client.ask(NO_HOLE, WRITE_ZEROES, 2 * MIB as u64, mib), DONE);
    let kept = client.ask(0, BLOCK_STATUS, 2 * MIB as u64, mib);
    assert_eq!(kept, [Part::Status(vec![(mib, 0)])], "it has its space");
    let tail = 9 * MIB as u64;
    assert_eq!(client.ask(FAST_ZERO, WRITE_ZEROES, tail, 5000), DONE, "up to the end of the disk");
}

/// What a view would read if the process was killed now.
fn read_after_a_crash(bench: &Bench, name: &str, offset: u64) -> Vec<u8> {
    let copy = bench.path(name);
    fs::create_dir(&copy).unwrap();
    for file in fs::read_dir(bench.path("overlay")).unwrap() {
        let path = file.unwrap().path();
        fs::copy(&path, copy.join(path.file_name().unwrap())).unwrap();
    }
    let tree = bench.tree(Some(&copy));
    let disk = tree.disk(bench.point.id, "disk").unwrap();
    let handle = tree.open(disk, Access::Read).unwrap();
    tree.read(handle, offset, 8192, <[u8]>::to_vec).unwrap()
}

#[test]
fn what_was_forced_or_flushed_on_any_connection_is_durable() {
    let bench = Bench::new();
    let _server = bench.serve_writable();
    let mut first = Client::connect(&bench.socket(), Wish::Structured);
    let mut second = Client::connect(&bench.socket(), Wish::Structured);
    let (forced, flushed) = (noise(8192, 4), noise(8192, 5));
    assert_eq!(first.write(FUA, 4096, &forced), DONE);
    assert!(read_after_a_crash(&bench, "forced", 4096) == forced);
    assert_eq!(first.write(0, MIB as u64, &flushed), DONE);
    assert!(read_after_a_crash(&bench, "neither", MIB as u64) != flushed);
    assert_eq!(second.ask(0, FLUSH, 0, 0), DONE);
    assert!(read_after_a_crash(&bench, "flushed", MIB as u64) == flushed);
}
