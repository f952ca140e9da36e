//! Damage is an error that names it; nothing else fails.

use std::io::Read;

use backstop::base::limits::SLICE_BYTES;
use backstop::base::units::ChunkIndex;
use backstop::format::layout::ObjectName;
use backstop::store::testing::{Damage, Gate};

use crate::bench::Bench;
use crate::client::{BLOCK_STATUS, Client, DF, DISC, Part, READ, Reply, Wish};
use crate::repo::{MIB, noise};
use crate::run::attempt;

/// Flips a bit of the chunk, of which nothing compresses.
fn damage_chunk(bench: &Bench, index: u64) {
    let reader = bench.repo.reader().unwrap();
    let map = bench.repo.disk_map(&reader, &bench.point.disks[0]);
    let chunk = map.leaf(ChunkIndex(index)).unwrap().unwrap();
    let location = reader.index().locations(chunk).unwrap()[0];
    let offset_bytes = u64::from(location.offset + location.entry_len - location.plain_len) + 5;
    let pack = ObjectName::pack(location.pack);
    bench.store.damage(&pack, Damage::FlippedBit { offset_bytes, bit: 0 });
}

#[test]
fn damage_is_an_error_with_its_place_and_all_that_comes_before_and_behind_is_read() {
    let bench = Bench::of(noise(4 * MIB, 1));
    damage_chunk(&bench, 2);
    let _server = bench.serve();
    let mut client = Client::connect(&bench.socket(), Wish::Allocation);
    let parts = client.ask(0, READ, MIB as u64, 3 * MIB as u32);
    assert!(parts[0] == Part::Data(MIB as u64, bench.bytes[MIB..2 * MIB].to_vec()));
    let [_, Part::Error { errno: 5, text, offset }] = &parts[..] else { panic!("{parts:?}") };
    assert_eq!(*offset, Some(2 * MIB as u64));
    for word in ["disk \"disk\" of VM \"vm\"", "at byte 2097152", "packs/"] {
        assert!(text.contains(word), "{text}");
    }
    let whole = client.ask(DF, READ, MIB as u64, 3 * MIB as u32);
    assert!(matches!(whole[..], [Part::Error { errno: 5, .. }]));
    let slice = SLICE_BYTES as u64;
    let behind = client.read(2 * MIB as u64 + slice, 4096).unwrap();
    assert!(behind == bench.bytes[2 * MIB + slice as usize..][..4096], "another slice is whole");
    assert!(client.read(3 * MIB as u64, MIB as u32).unwrap() == bench.bytes[3 * MIB..]);
    let status = client.ask(0, BLOCK_STATUS, 0, 4 * MIB as u32);
    assert_eq!(status, [Part::Status(vec![(4 * MIB as u32, 0)])]);
    let mut simple = Client::connect(&bench.socket(), Wish::Simple);
    simple.request(0, READ, 1, 2 * MIB as u64, 4096);
    assert_eq!(simple.reply(), Reply::Simple { cookie: 1, errno: 5 });
    simple.request(0, READ, 2, 0, 4096);
    assert_eq!(simple.reply(), Reply::Simple { cookie: 2, errno: 0 });
    assert_eq!(bench.monitor.recorded().problems.len(), 1);
}

#[test]
fn a_copy_of_a_damaged_disk_fails() {
    let bench = Bench::of(noise(4 * MIB, 1));
    damage_chunk(&bench, 2);
    let server = bench.serve();
    let (uri, out) = (server.address().uri(), bench.path("out"));
    for copy in [
        attempt("qemu-img", ["convert", "-O", "raw", &uri, out.to_str().unwrap()]),
        attempt("nbdcopy", [&uri, out.to_str().unwrap()]),
    ] {
        assert!(!copy.status.success(), "{copy:?}");
    }
}

#[test]
fn a_read_that_waits_for_the_store_stops_no_other() {
    let bench = Bench::of(noise(9 * MIB, 1));
    let server = bench.serve();
    let mut client = Client::connect(&bench.socket(), Wish::Structured);
    // What is decoded is kept.
    client.read(0, 4096).unwrap();
    let gate = Gate::default();
    let packs = bench.repo.store().list(backstop::format::layout::Area::Packs).unwrap();
    packs.iter().for_each(|pack| bench.store.damage(pack, Damage::Gated(gate.clone())));
    client.request(0, READ, 1, 5 * MIB as u64, 4096);
    gate.wait_for(1);
    client.request(0, READ, 2, 0, 4096);
    let Reply::Part { cookie: 2, part: Part::Data(0, bytes), .. } = client.reply() else {
        panic!("the read that can be answered comes first");
    };
    assert!(bytes == bench.bytes[..4096]);
    assert_eq!(server.connections(), 1);
    gate.open();
    let Reply::Part { cookie: 1, part: Part::Data(_, bytes), .. } = client.reply() else {
        panic!("then the other");
    };
    assert!(bytes == bench.bytes[5 * MIB..][..4096]);
}

#[test]
fn a_hundred_reads_that_wait_for_the_store_stop_no_other_of_their_connection() {
    const HELD: usize = 100;
    const APART: usize = 128 << 10;
    // So few bytes in a row that the reader is not taken for one in order, who wants whole chunks.
    const LEN: usize = 512;
    let bench = Bench::of(noise(HELD * APART + MIB, 1));
    let _server = bench.serve();
    let mut client = Client::connect(&bench.socket(), Wish::Structured);
    let last = (HELD * APART) as u64;
    client.read(last, LEN as u32).unwrap();
    let gate = Gate::default();
    let packs = bench.repo.store().list(backstop::format::layout::Area::Packs).unwrap();
    packs.iter().for_each(|pack| bench.store.damage(pack, Damage::Gated(gate.clone())));
    (0..HELD).for_each(|n| client.request(0, READ, n as u64, (n * APART) as u64, LEN as u32));
    gate.wait_for(HELD);
    client.request(0, READ, 1000, last, LEN as u32);
    let Reply::Part { cookie: 1000, part: Part::Data(_, bytes), .. } = client.reply() else {
        panic!("the read that can be answered comes first");
    };
    assert!(bytes == bench.bytes[HELD * APART..][..LEN]);
    gate.open();
    for _ in 0..HELD {
        let Reply::Part { cookie, part: Part::Data(offset, bytes), .. } = client.reply() else {
            panic!("all are answered");
        };
        assert_eq!(offset, cookie * APART as u64);
        assert!(bytes == bench.bytes[offset as usize..][..LEN]);
    }
    client.request(0, DISC, 0, 0, 0);
    assert_eq!(client.stream.read(&mut [0]).unwrap(), 0, "threads that came later end, too");
}
