//! Damage is an error that names it; nothing else fails.

use backstop::base::limits::SLICE_BYTES;
use backstop::base::units::ChunkIndex;
use backstop::format::layout::ObjectName;
use backstop::store::testing::{Damage, Gate};

use crate::bench::Bench;
use crate::client::{BLOCK_STATUS, Client, DF, Part, READ, Reply, Wish};
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
